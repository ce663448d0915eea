"""Searches that begin where another attack has ended, and the hybrid attack that makes them do so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from robustnoise.api import Linf, SearchAttack, Targets, build
from robustnoise.compose import Identity
from robustnoise.errors import BadParameter
from robustnoise.harness import attacking
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.planning import plan
from robustnoise.harness.runner import run
from robustnoise.oracle import CountingOracle
from robustnoise.records import EvaluationRecord
from robustnoise.seeds import SeedStream
from robustnoise.store import Store
from robustnoise.testing import toy_dataset, toy_model
from robustnoise.testing.toys import linear_optimum, linear_toy, toy_split
from robustnoise.threat import L2, Access, Budget, ThreatModel
from robustnoise_attacks import NES, RayS, SimBA, Square
from tests.unit.query.victims import SEEDS, NoisyInput, as_scored, margins, right_targets

SEARCHES: list[SearchAttack] = [Square(), NES(samples=10), SimBA(), RayS()]
STOLEN = "knockoff(queries=20, training=plain-training(epochs=1), model=mlp(hidden=16))"
OWN = "independent(training=plain-training(epochs=1), model=mlp(hidden=16))"


def searched(
    search: SearchAttack, targets: Targets, start: torch.Tensor, threat: ThreatModel, per_image: int, sigma: float = 0.0
) -> tuple[torch.Tensor, CountingOracle]:
    victim = NoisyInput(linear_toy(), sigma) if sigma else linear_toy()
    shown = dataclasses.replace(threat, access=Access.SCORES)
    oracle = CountingOracle(victim, shown, SeedStream(7), per_image=per_image, stops=(1,))
    result = search.run_from(start, oracle, toy_split(8), targets, shown, SEEDS)
    assert torch.equal(result.trace[1], as_scored(targets, start, threat)) or per_image > 1
    return result.x, oracle


@pytest.mark.parametrize("search", SEARCHES, ids=str)
@pytest.mark.parametrize("sigma", [0.0, 0.01], ids=["quiet", "noisy"])
def test_without_queries_the_start_is_handed_in(search: SearchAttack, sigma: float) -> None:
    targets, threat = right_targets(6, margin=0.3), Linf(5 / 255)
    start = linear_optimum(linear_toy(), targets.x, targets.y, threat)
    x, oracle = searched(search, targets, start, threat, 0, sigma)
    assert torch.equal(x, as_scored(targets, start, threat))
    assert oracle.spent == 0


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_a_start_that_fools_costs_one_query(search: SearchAttack) -> None:
    targets, threat = right_targets(6), Linf(0.2)
    start = as_scored(targets, linear_optimum(linear_toy(), targets.x, targets.y, threat), threat)
    assert (margins(start, targets.y) < 0).all()
    x, oracle = searched(search, targets, start, threat, 50)
    assert torch.equal(x, start)
    assert set(oracle.counts.values()) == {1}


@pytest.mark.parametrize("search", [s for s in SEARCHES if not isinstance(s, RayS)], ids=str)
@pytest.mark.parametrize("threat", [Linf(5 / 255), L2(0.12)], ids=str)
def test_a_better_start_never_ends_worse_than_it_was(search: SearchAttack, threat: ThreatModel) -> None:
    targets = right_targets(6, margin=0.3)
    best = linear_optimum(linear_toy(), targets.x, targets.y, threat)
    start = as_scored(targets, targets.x + 0.7 * (best - targets.x), threat)
    x, _ = searched(search, targets, start, threat, 60)
    assert (margins(x, targets.y) <= margins(start, targets.y) + 1e-6).all()
    assert margins(x, targets.y).mean() < margins(start, targets.y).mean() - 1e-3
    from_afar, _ = searched(search, targets, targets.x, threat, 60)
    assert margins(x, targets.y).mean() < margins(from_afar, targets.y).mean()


def test_rays_takes_the_direction_of_its_start_first() -> None:
    """In so many queries it doesn't find the optimum's corner by itself."""
    targets, threat = right_targets(6, margin=0.3), Linf(5 / 255)
    best = linear_optimum(linear_toy(), targets.x, targets.y, threat)
    x, _ = searched(RayS(), targets, targets.x + 0.3 * (best - targets.x), threat, 20)
    assert torch.allclose(x, as_scored(targets, best, threat), atol=1e-6)


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_begun_at_the_images_themselves_it_is_the_search_alone(search: SearchAttack) -> None:
    targets, threat = right_targets(6, margin=0.3), Linf(5 / 255, Access.SCORES)
    x, _ = searched(search, targets, targets.x, threat, 40)
    oracle = CountingOracle(linear_toy(), threat, SeedStream(7), per_image=40)
    assert torch.equal(x, search.run(oracle, toy_split(8), targets, threat, SEEDS).x)


# ------------------------------------------------------------------------------------------------------ in the harness


def experiment(attacks: dict[str, str], budget: Budget) -> Experiment:
    nets = [toy_model(), toy_model(seed=1)]
    return Experiment(
        dataset=toy_dataset(),
        sizes={},
        threat=Linf(0.1, Access.SCORES),
        budget=budget,
        victims=tuple(Victim(f"net-{i}", Identity(), classifier=net) for i, net in enumerate(nets)),
        attacks=tuple(Attack(name, build(text, "attack")) for name, text in attacks.items()),
        draws=2,
    )


def by_attack(records: list[EvaluationRecord], victim: str = "net-0") -> dict[str, EvaluationRecord]:
    return {r.attack["name"]: r for r in records if r.attack and r.victim.victim["name"] == victim}


@pytest.mark.parametrize("substitute", [STOLEN, OWN], ids=["asking", "independent"])
def test_the_start_is_the_transfer_attack_s_own_cell(
    tmp_path: Path, substitute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attacking, "CHUNK", 16)  # several parts, each with its own share of the start
    texts = {"transfer": f"transfer({substitute}, pgd)", "hybrid": f"hybrid({substitute}, pgd, square(queries=30))"}
    store = Store(tmp_path)
    found = by_attack(run(experiment(texts, Budget(per_image=30, stops=(1, 10))), store))
    transfer, hybrid = found["transfer"].victim, found["hybrid"].victim
    fitted, crafted = (
        {f.name for f in (tmp_path / "cells" / stage).rglob("*.json")} for stage in ("substitute", "craft")
    )
    own = substitute == OWN
    assert len(fitted) == (1 if own else 2)  # of each victim
    assert len(crafted) == (1 if own else 2) + 2
    assert transfer.adversarial is not None
    assert hybrid.adversarial is not None
    assert set(hybrid.curve) == {1, 10}
    assert np.array_equal(hybrid.curve[1].right, transfer.adversarial.right)  # one question: the start, as it was
    assert (hybrid.adversarial.right <= transfer.adversarial.right).all()
    assert hybrid.queries > transfer.queries == (0 if own else 20)
    assert hybrid.agreement == transfer.agreement


def test_a_total_is_for_substitute_and_search(tmp_path: Path) -> None:
    texts = {"hybrid": f"hybrid({STOLEN}, pgd, square)"}
    (record, _) = run(experiment(texts, Budget(total=100)), Store(tmp_path))
    assert 20 < record.victim.queries <= 100


def test_the_plan_counts_start_and_search(tmp_path: Path) -> None:
    texts = {"transfer": f"transfer({OWN}, pgd)", "hybrid": f"hybrid({OWN}, pgd, square)"}
    lines = {
        name: {line.stage: line for line in plan(experiment({name: text}, Budget(per_image=30)), Store(tmp_path))}
        for name, text in texts.items()
    }
    images = len(toy_dataset().evaluation)
    transfer, hybrid = lines["transfer"]["craft"], lines["hybrid"]["craft"]
    assert hybrid.backward == 2 * transfer.backward
    assert hybrid.forward == 2 * (transfer.forward + 30 * images)


@pytest.mark.parametrize("search", ["hop-skip-jump", "sign-flip", "null", f"transfer({OWN}, pgd)"])
def test_what_can_t_begin_elsewhere_is_refused(search: str) -> None:
    with pytest.raises(BadParameter, match=r"search = .* Expected an attack that can begin at other images: square"):
        build(f"hybrid({OWN}, pgd, {search})", "attack")
