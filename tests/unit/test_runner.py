"""What a run says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from robustnoise.building import build
from robustnoise.compose import Identity
from robustnoise.errors import AttackFailed
from robustnoise.harness import bench, claims, provenance
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.limits import TimeLimit
from robustnoise.harness.runner import run
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Answer, Meter, Silent
from robustnoise.seeds import SeedStream
from robustnoise.store import Cell, Store
from robustnoise.testing.toys import CLASSES, SHAPE, CoinClassifier, toy_dataset, toy_model
from robustnoise.threat import Access, Budget, Norm, ThreatModel


def experiment(*victims: Victim, **changes: Any) -> Experiment:
    """Victims on clean images; a ready net where none is given."""
    known = {"threat": None, "budget": Budget(), "attacks": (), "draws": 2}
    return Experiment(
        dataset=toy_dataset(),
        sizes={},
        victims=victims or (Victim("net", Identity(), classifier=toy_model()),),
        **(known | changes),
    )


@pytest.mark.parametrize(
    ("device", "ready", "alone"), [("cpu", False, True), ("meta", False, False), ("cpu", True, False)]
)
def test_an_accelerator_or_a_net_of_somebody_else_is_not_self_contained(device: str, ready: bool, alone: bool) -> None:
    own = Victim("own", build("plain-training(epochs=1)", "defense"), model=build("mlp(hidden=4)", "model"))
    victims = (own, Victim("net", Identity(), classifier=toy_model())) if ready else (own,)
    assert experiment(*victims, device=device).self_contained == alone


class Committing:
    """A progress display during whose first stage the checkout gets another commit."""

    commit = "at the start"

    def start(self, label: str, total: int) -> Meter:
        self.commit = "later"
        return Silent().start(label, total)


def test_a_record_names_the_commit_at_the_start_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Committing()
    monkeypatch.setattr(provenance, "commit_of", lambda _: checkout.commit)
    records = run(experiment(), Store(tmp_path), progress=checkout)
    assert checkout.commit == "later"
    assert records[0].provenance["commit"] == "at the start"
    assert records[0].provenance["seconds"] >= 0


def test_a_run_clears_the_claims_that_a_killed_one_left(tmp_path: Path) -> None:
    left = tmp_path / claims.FOLDER / "score-of-a-killed-run"
    left.parent.mkdir()
    left.touch()
    run(experiment(), Store(tmp_path))
    assert not list(left.parent.iterdir())


def test_a_run_clears_the_notes_that_a_killed_one_left_and_no_others(tmp_path: Path) -> None:
    left, limit = tmp_path / "overruns" / "of-a-killed-run", TimeLimit(60, Store(tmp_path))
    left.mkdir(parents=True)
    (left / "note.txt").touch()
    with limit.noting(), limit.watching("craft x"):  # another run, in the middle of a cell
        run(experiment(), Store(tmp_path))
        assert [p.parent for p in tmp_path.glob("overruns/*/*")] == [limit.folder]
    assert not left.parent.exists()


def test_cells_whose_names_read_alike_are_all_made_and_fail_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clean score of "net null" and the score of "net" under "null"."""
    victims = [Victim(name, Identity(), classifier=toy_model(seed=i)) for i, name in enumerate(("net", "net null"))]
    attacks, threat = (Attack("null", build("null", "attack")),), ThreatModel(Norm.LINF, 0.1, Access.LABELS)
    usual = bench.Bench.score

    def failing(found: bench.Bench, victim: Victim, attack: Attack | None, stop: int | None = None) -> Cell:
        if found.compute and victim.name == "net" and attack is not None:
            raise AttackFailed("it asserts")
        return usual(found, victim, attack, stop)

    monkeypatch.setattr(bench.Bench, "score", failing)
    failures: list[str] = []
    (record,) = run(experiment(*victims, attacks=attacks, threat=threat), Store(tmp_path), failures=failures)
    assert record.victim.victim["name"] == "net null"
    assert failures == ["score net null failed: it asserts"]


class Counting(CoinClassifier):
    """Counts the passes that it is asked for."""

    asked = 0

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.asked += 1
        return super().predict(x, noise=noise)


def test_points_of_a_board_with_attacks_share_their_passes(tmp_path: Path) -> None:
    coin = Counting(0.6, SHAPE, CLASSES)
    votes = [Victim(f"{n} votes", build(f"vote({n})", "defense"), classifier=coin, clean_only=True) for n in (4, 8, 6)]
    null = Attack("null", build("null", "attack"))
    threat = ThreatModel(Norm.LINF, 0.1, Access.LABELS)
    run(experiment(Victim("net", Identity(), classifier=toy_model()), *votes, attacks=(null,), threat=threat),
        Store(tmp_path))  # fmt: skip
    assert coin.asked == 8 * 2  # of 64 images, one block, in two draws


def test_a_total_budget_is_shared_by_the_parts_of_an_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A victim that nothing fools: whoever comes first could eat it all."""
    given: list[int] = []

    class Noting(CountingOracle):
        def __init__(self, *parts: Any, total: int, **limits: Any) -> None:
            given.append(total)
            super().__init__(*parts, total=total, **limits)

    monkeypatch.setattr(bench, "CountingOracle", Noting)
    monkeypatch.setattr(bench, "CHUNK", 16)
    square = Attack("square", build("square", "attack"))
    threat = ThreatModel(Norm.LINF, 0.0001, Access.SCORES)
    net = Victim("net", Identity(), classifier=toy_model())
    (record,) = run(experiment(net, attacks=(square,), threat=threat, budget=Budget(total=64 * 20)), Store(tmp_path))

    assert given[0] == 16 * 20
    assert len(given) == 4
    assert given == sorted(given)  # what is left over is passed on
    assert record.victim.queries <= 64 * 20
