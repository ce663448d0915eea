"""Somebody else's attack that crashes costs its own cells and nothing more."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import robustnoise as rn
from robustnoise import cli
from robustnoise.api import (
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Oracle,
    SeedStream,
    Split,
    Targets,
    ThreatModel,
)
from robustnoise.building import build
from robustnoise.compose import Identity
from robustnoise.errors import AttackFailed
from robustnoise.harness.bench import Bench
from robustnoise.harness.cells import NotCached
from robustnoise.harness.executors.base import Executor
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.executors.serial import Serial
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.records import EvaluationRecord
from robustnoise.store import Store
from robustnoise.testing import toy_dataset, toy_model
from robustnoise.testing.toys import CoinClassifier

CRASH = "art(GeoDA)"
CRASHING_CRAFTER = "transfer(independent(model=mlp(hidden=8)), art-crafter(CarliniL2Method, 'max_iter=-1'))"
BOARD = f"""
schema = 1
name = "tiny"
[data]
name = "digits"
evaluation = 30
[threat]
norm = "linf"
eps = 0.2
[budget]
per_image = 20
[victims]
plain = "plain-training(epochs=1)"
[attacks]
null = "null"
crash = "{CRASH}"
[run]
model = "mlp(hidden=8)"
threads = 1
"""


@dataclass(frozen=True)
class NotOnNoise(BlackBoxAttack):
    """Crashes on noisy victims, as Foolbox's HopSkipJump does."""

    @property
    def traits(self) -> AttackTraits:
        return AttackTraits()

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        assert oracle is not None
        if oracle.stochastic:
            raise AttackFailed("it asserts")
        return AttackResult(targets.x.clone(), 0)


def experiment(attacks: dict[str, str]) -> Experiment:
    return Experiment(
        dataset=toy_dataset(20),
        sizes={},
        threat=rn.Linf(0.1),
        budget=rn.Budget(per_image=30),
        victims=(
            Victim("first", Identity(), classifier=toy_model(seed=1)),
            Victim("second", Identity(), reference="first", classifier=toy_model(seed=2)),
        ),
        attacks=tuple(Attack(name, build(text, "attack")) for name, text in attacks.items()),
        threads=1,
    )


def pairs(records: list[EvaluationRecord]) -> set[tuple[str, str]]:
    return {(r.victim.victim["name"], r.attack["name"]) for r in records if r.attack}


@pytest.mark.parametrize("executor", [Serial(), pytest.param(Processes(2), marks=pytest.mark.slow)])
def test_the_rest_of_a_run_is_made(tmp_path: Path, executor: Executor) -> None:
    failures: list[str] = []
    attacks = {"null": "null", "crash": CRASH, "transfer": "transfer(independent(model=mlp(hidden=8)), fgsm)"}
    found = run(experiment(attacks), Store(tmp_path), executor=executor, failures=failures)
    assert pairs(found) == {(v, a) for v in ("first", "second") for a in ("null", "transfer")}
    assert sorted(line.split(" failed: ")[0] for line in failures) == ["craft first crash", "craft second crash"]
    assert all("ART" in line and "GeoDA" in line and "np.mat" in line for line in failures)


def test_a_failed_cell_is_tried_again(tmp_path: Path) -> None:
    for _ in range(2):
        failures: list[str] = []
        assert len(run(experiment({"null": "null", "crash": CRASH}), Store(tmp_path), failures=failures)) == 2
        assert len(failures) == 2


def test_without_a_list_it_raises_once_the_rest_is_stored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(AttackFailed, match="craft first crash failed: ART"):
        run(experiment({"crash": CRASH, "null": "null"}), store)
    assert len(run(experiment({"null": "null"}), store)) == 2


def test_a_failure_on_the_reference_takes_the_records_compared_with_it(tmp_path: Path) -> None:
    """A record without its reference would be another one under the same identity, in the way of the next run's."""
    whole = experiment({"null": "null"})
    victims = (replace(whole.victims[0], classifier=CoinClassifier(0.5, num_classes=3)), *whole.victims[1:])
    mixed = replace(whole, victims=victims, attacks=(*whole.attacks, Attack("picky", NotOnNoise())))
    failures: list[str] = []
    assert pairs(run(mixed, Store(tmp_path), failures=failures)) == {("first", "null"), ("second", "null")}
    assert failures == ["craft first picky failed: it asserts"]


def test_a_crash_on_a_shared_substitute_is_one_failure(tmp_path: Path) -> None:
    failures: list[str] = []
    found = run(experiment({"null": "null", "crash": CRASHING_CRAFTER}), Store(tmp_path), failures=failures)
    assert pairs(found) == {("first", "null"), ("second", "null")}
    assert len(failures) == 1


@pytest.mark.parametrize("stage", ["score", "agreement"])
def test_a_victim_that_cant_be_scored_takes_its_own_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    attacks = {"null": "null", "transfer": "transfer(independent(model=mlp(hidden=8)), fgsm)"}
    usual = getattr(Bench, stage)

    def failing(bench: Bench, *parts: Any) -> Any:
        names = {part.name for part in parts if isinstance(part, Victim | Attack)}
        if bench.compute and names == {"second", "transfer"}:
            raise AttackFailed("it asserts")
        return usual(bench, *parts)

    monkeypatch.setattr(Bench, stage, failing)
    failures: list[str] = []
    found = run(experiment(attacks), Store(tmp_path), failures=failures)
    assert pairs(found) == {("first", "null"), ("second", "null"), ("first", "transfer")}
    assert failures == [f"{stage} second transfer failed: it asserts"]


@pytest.mark.parametrize("executor", [Serial(), pytest.param(Processes(2), marks=pytest.mark.slow)])
def test_a_crash_in_a_training_takes_the_rows_of_its_victims(tmp_path: Path, executor: Executor) -> None:
    crashing = "pgd-training(epochs=1, ramp=0, inner=art-crafter(CarliniL2Method, 'max_iter=-1'))"
    mlp = build("mlp(hidden=8)", "model")
    whole = experiment({"null": "null", "transfer": "transfer(independent(model=mlp(hidden=8)), fgsm)"})
    trained = tuple(
        Victim(name, build(stack, "defense"), model=mlp)
        for name, stack in (("broken", crashing), ("noisy", f"{crashing} | gaussian-input-noise(sigma=0.1)"))
    )
    failures: list[str] = []
    # They come first, so that what all victims share would be made under the name of one that failed.
    found = run(
        replace(whole, victims=(*trained, *whole.victims)),
        Store(tmp_path),
        executor=executor,
        failures=failures,
    )
    assert pairs(found) == {(v, a) for v in ("first", "second") for a in ("null", "transfer")}
    assert sorted(line.split(" failed: ")[0] for line in failures) == ["train broken", "train noisy"]
    assert all("ART" in line and "CarliniL2Method" in line for line in failures)


def test_a_training_that_victims_share_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def fail(bench: Bench, victim: Victim) -> None:
        if not bench.compute:
            raise NotCached("train")
        tried.append(victim.name)
        raise AttackFailed("it asserts")

    monkeypatch.setattr(Bench, "weights", fail)
    whole, model = experiment({"null": "null"}), build("mlp(hidden=8)", "model")
    victims = tuple(Victim(name, build("plain-training", "defense"), model=model) for name in ("a", "b"))
    failures: list[str] = []
    assert run(replace(whole, victims=victims), Store(tmp_path), failures=failures) == []
    assert failures == ["train a failed: it asserts", "train b failed: it asserts"]
    assert tried == ["a"]


def test_evaluate_raises_it() -> None:
    with pytest.raises(AttackFailed, match="GeoDA"):
        rn.evaluate(toy_model(), build(CRASH, "attack"), data=toy_dataset(8), threat=rn.Linf(0.1), threads=1)


def test_the_command_writes_the_other_rows_and_exits_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "board.toml").write_text(BOARD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["robustnoise", "run", "board", "--output", "out"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    assert len(list((tmp_path / "out" / "rows").glob("*.json"))) == 1
    said = capsys.readouterr().err
    assert "AttackFailed: craft plain crash failed: ART" in said
    assert "tries them again" in said
