"""Square, NES and SimBA: near the known optimum, exact in their budget, and each image on its own."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from robustnoise.errors import BadParameter
from robustnoise.protocols import BlackBoxAttack, Targets
from robustnoise.testing.toys import linear_optimum, linear_toy
from robustnoise.threat import L2, Linf, ThreatModel
from robustnoise_attacks import NES, SimBA, Square
from tests.unit.query.victims import Counting, NoisyInput, as_scored, attack, margins, right_targets

ATTACKS: list[BlackBoxAttack] = [Square(), NES(), NES(tile=3), SimBA(), SimBA(basis="dct")]
THREATS = [Linf(0.05), L2(0.3)]


@pytest.mark.parametrize(
    ("plugin", "threat", "share"),
    [
        (Square(queries=300), Linf(5 / 255), 0.9),
        (SimBA(queries=400), Linf(5 / 255), 0.99),
        (NES(queries=3000), Linf(5 / 255), 0.95),
        (Square(queries=300), L2(0.12), 0.5),
        (SimBA(queries=400), L2(0.12), 0.88),
        (SimBA(queries=400, basis="dct", frequencies=1.0), L2(0.12), 0.88),
        (NES(queries=3000), L2(0.12), 0.95),
    ],
    ids=str,
)
def test_comes_near_the_optimum_of_a_linear_model(plugin: BlackBoxAttack, threat: ThreatModel, share: float) -> None:
    """The optimum doesn't cross the boundary here, so no attack stops early."""
    targets = right_targets(8, margin=0.3)
    result, _ = attack(plugin, linear_toy(), targets, threat)
    start = margins(targets.x, targets.y)
    reach = start - margins(linear_optimum(linear_toy(), targets.x, targets.y, threat), targets.y)
    found = (start - margins(result.x, targets.y)) / reach
    assert found.mean() > share
    assert found.max() < 1 + 1e-4
    assert result.claimed is not None
    assert not result.claimed.any()


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("per_image", [1, 2, 60, 130])
def test_the_budget_is_exact_and_the_claims_hold(plugin: BlackBoxAttack, threat: ThreatModel, per_image: int) -> None:
    targets = right_targets(10)
    victim = Counting(linear_toy())
    result, oracle = attack(plugin, victim, targets, threat, per_image=per_image)
    assert victim.rows == oracle.spent == result.queries
    assert max(oracle.counts.values()) <= per_image
    assert not (threat.violation(targets.x, result.x) > 1e-6).any()
    assert torch.equal(as_scored(targets, result.x, threat), result.x)
    wrong = margins(result.x, targets.y) < 0
    assert torch.equal(result.claimed, wrong)
    asked = torch.tensor([oracle.counts[i] for i in targets.ids.tolist()])
    assert (asked[~wrong] > per_image - 53).all()  # the images still right have used their budget up to a gradient's


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
def test_wrong_from_the_start_costs_one_query_and_is_claimed(plugin: BlackBoxAttack) -> None:
    targets = right_targets(6, margin=0.3)
    y = torch.cat([1 - targets.y[:2], targets.y[2:]])
    result, oracle = attack(plugin, linear_toy(), Targets(targets.ids, targets.x, y), Linf(0.01), per_image=100)
    assert [oracle.counts[i] for i in targets.ids[:2].tolist()] == [1, 1]
    assert result.claimed is not None
    assert result.claimed.tolist() == [True, True, False, False, False, False]
    assert torch.equal(result.x[:2], targets.x[:2])


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
@pytest.mark.parametrize("limits", [{"per_image": 0}, {"total": 0}, {"total": 5}], ids=str)
def test_no_budget_returns_the_input(plugin: BlackBoxAttack, limits: dict[str, int]) -> None:
    targets = right_targets(6)
    result, oracle = attack(plugin, linear_toy(), targets, Linf(0.1), **limits)  # type: ignore[arg-type]
    assert torch.equal(result.x, targets.x)
    assert oracle.spent == 0
    assert result.claimed is not None
    assert not result.claimed.any()


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
def test_no_radius_asks_nothing(plugin: BlackBoxAttack) -> None:
    targets = right_targets(6)
    result, oracle = attack(plugin, linear_toy(), targets, Linf(0.0))
    assert torch.equal(result.x, targets.x)
    assert oracle.spent == 0


@pytest.mark.parametrize("sigma", [0.0, 0.01], ids=["quiet", "noisy"])
@pytest.mark.parametrize("basis", ["pixel", "dct"])
@pytest.mark.parametrize(("threat", "step"), [(Linf(0.001), None), (Linf(8 / 255), 0.05), (L2(0.3), 0.005)], ids=str)
def test_simba_ends_where_no_step_reaches_a_level(
    basis: Literal["pixel", "dct"], threat: ThreatModel, step: float | None, sigma: float
) -> None:
    """Steps that rounding undoes cost no query, so no budget would ever end the search."""
    targets = right_targets(3, margin=0.3)
    victim = NoisyInput(linear_toy(), sigma) if sigma else linear_toy()
    result, _ = attack(SimBA(basis=basis, relative_step=step), victim, targets, threat, per_image=60)
    assert torch.equal(result.x, targets.x)
    assert result.claimed is not None
    assert not result.claimed.any()


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_an_image_is_attacked_alike_in_any_batch(plugin: BlackBoxAttack, threat: ThreatModel) -> None:
    """Split, permuted and among enough others to be put off to a later block."""
    targets = right_targets(150, margin=0.1)
    budget = 110 if isinstance(plugin, NES) else 30
    whole, _ = attack(plugin, linear_toy(), targets, threat, per_image=budget)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    for rows in (torch.arange(7), torch.arange(7, 150), order):
        part = Targets(*(field[rows] for field in targets))
        result, _ = attack(plugin, linear_toy(), part, threat, per_image=budget)
        assert torch.equal(result.x, whole.x[rows])
        assert result.claimed is not None
        assert whole.claimed is not None
        assert torch.equal(result.claimed, whole.claimed[rows])


@pytest.mark.parametrize("plugin", [Square(queries=80), SimBA(queries=80)], ids=str)
def test_the_trace_at_a_stop_is_the_same_search_cut_short(plugin: BlackBoxAttack) -> None:
    """SimBA's search doesn't look at its budget; Square's does, so for it the trace is only inside and in order."""
    targets = right_targets(12, margin=0.3)
    result, _ = attack(plugin, linear_toy(), targets, Linf(0.03), stops=(1, 40))
    assert torch.equal(result.trace[1], targets.x)
    early, late, last = (margins(x, targets.y) for x in (targets.x, result.trace[40], result.x))
    assert (late < early).all()
    assert (last <= late).all()
    if isinstance(plugin, SimBA):
        cut, _ = attack(plugin, linear_toy(), targets, Linf(0.03), per_image=40)
        assert torch.equal(cut.x, result.trace[40])


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(BadParameter, match="samples = 5: expected an even number"):
        NES(samples=5)
    assert NES(samples=5, antithetic=False).samples == 5
