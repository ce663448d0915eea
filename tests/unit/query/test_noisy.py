"""On noisy victims: the attacks finish, what they claim holds in fresh draws, and luck is worth nothing."""

from __future__ import annotations

import math

import pytest
import torch

from robustnoise.protocols import BlackBoxAttack, Targets
from robustnoise.testing.toys import linear_toy, toy_split
from robustnoise.threat import Linf
from robustnoise_attacks import NES, SimBA, Square
from tests.unit.query.victims import Counting, NoisyInput, ScoreCoin, attack, right_targets, wrong_rate

ATTACKS: list[BlackBoxAttack] = [
    Square(queries=300),
    Square(queries=300, draws=3),
    NES(queries=300, sigma=0.1),
    SimBA(queries=300),
]


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1])
def test_claims_hold_in_fresh_draws(plugin: BlackBoxAttack, sigma: float) -> None:
    victim = Counting(NoisyInput(linear_toy(), sigma))
    targets = right_targets(30, margin=0.1)
    result, oracle = attack(plugin, victim, targets, Linf(0.2))
    assert victim.rows == oracle.spent == result.queries
    assert max(oracle.counts.values()) <= 300
    assert result.claimed is not None
    assert result.claimed.sum() >= 5
    rate = wrong_rate(victim, result.x, targets.y)
    claimed = rate[result.claimed]
    assert claimed.mean() >= 0.5
    assert (claimed >= 0.5 - 1.96 * math.sqrt(0.25 / 200)).float().mean() > 0.9
    assert rate.mean() > wrong_rate(victim, targets.x, targets.y).mean() + 0.1


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
def test_small_noise_does_not_cost_the_whole_budget(plugin: BlackBoxAttack) -> None:
    """An image is done when a trial of 20 draws is all wrong."""
    targets = right_targets(20, margin=0.1)
    _, oracle = attack(plugin, NoisyInput(linear_toy(), 0.001), targets, Linf(0.3))
    assert oracle.spent < 20 * 150


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
@pytest.mark.parametrize("p", [0.9, 0.6])
def test_a_coin_yields_nothing(plugin: BlackBoxAttack, p: float) -> None:
    """No claim on a coin that is mostly right, and fresh draws of what is handed in come back as p."""
    data = toy_split(40, num_classes=2)
    targets = Targets(torch.arange(40), torch.from_numpy(data.floats()), torch.zeros(40, dtype=torch.int64))
    result, _ = attack(plugin, ScoreCoin(p), targets, Linf(0.1))
    assert result.claimed is not None
    assert result.claimed.sum() <= 4
    rate = wrong_rate(ScoreCoin(p), result.x, targets.y, 100)
    assert rate.mean().item() == pytest.approx(1 - p, abs=4.5 * math.sqrt(p * (1 - p) / (100 * 40)))


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
def test_a_coin_that_is_mostly_wrong_is_claimed_as_it_is(plugin: BlackBoxAttack) -> None:
    data = toy_split(20, num_classes=2)
    targets = Targets(torch.arange(20), torch.from_numpy(data.floats()), torch.zeros(20, dtype=torch.int64))
    result, oracle = attack(plugin, ScoreCoin(0.0), targets, Linf(0.1))
    assert result.claimed is not None
    assert result.claimed.all()
    assert torch.equal(result.x, targets.x)
    assert set(oracle.counts.values()) <= {20, 21}


@pytest.mark.parametrize("plugin", ATTACKS, ids=str)
@pytest.mark.parametrize("total", [0, 7, 100, 1001])
def test_the_total_ends_a_noisy_attack_too(plugin: BlackBoxAttack, total: int) -> None:
    targets = right_targets(12)
    victim = Counting(NoisyInput(linear_toy(), 0.05))
    result, oracle = attack(plugin, victim, targets, Linf(0.05), total=total)
    assert victim.rows == oracle.spent == result.queries <= total
    if total < 12:
        assert torch.equal(result.x, targets.x)
