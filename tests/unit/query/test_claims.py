"""What an attack may say of an image: exact tests at 5 %, on draws that nothing was chosen by."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom, binomtest

from robustnoise.protocols import BlackBoxAttack, Targets
from robustnoise.testing.toys import toy_split
from robustnoise.threat import Linf
from robustnoise_attacks import NES, HopSkipJump, RayS, SignFlip, SimBA, Square
from robustnoise_attacks.query.claims import exceeds, least_draws
from tests.unit.query.victims import ScoreCoin, attack

EVERY: list[BlackBoxAttack] = [
    Square(), Square(draws=5), SimBA(draws=5), NES(samples=10), HopSkipJump(), RayS(), SignFlip()
]  # fmt: skip


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [1, 4, 5, 20, 60])
def test_the_test_is_the_exact_binomial(rate: float, n: int) -> None:
    wrong = torch.arange(n + 1)
    expected = [binomtest(int(w), n, rate, alternative="greater").pvalue <= 0.05 for w in wrong]
    assert exceeds(wrong, torch.full_like(wrong, n), rate).tolist() == expected


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.99])
def test_the_least_draws_are_just_enough(rate: float) -> None:
    n = least_draws(rate)
    assert exceeds(torch.tensor([n]), torch.tensor([n]), rate).all()
    assert not exceeds(torch.tensor([n - 1]), torch.tensor([n - 1]), rate).any()


def _targets(n: int) -> Targets:
    data = toy_split(n, num_classes=2)
    return Targets(torch.arange(n), torch.from_numpy(data.floats()), torch.zeros(n, dtype=torch.int64))


@pytest.mark.parametrize("plugin", EVERY, ids=str)
def test_a_coin_at_the_rate_itself_is_claimed_in_five_per_cent(plugin: BlackBoxAttack) -> None:
    """Selection would make it many more: each attack had thousands of lucky draws to choose from."""
    n = 400
    result, _ = attack(plugin, ScoreCoin(0.5), _targets(n), Linf(0.1), per_image=250)
    assert result.claimed is not None
    assert int(result.claimed.sum()) <= binom.ppf(0.999, n, 0.06)


@pytest.mark.parametrize("plugin", EVERY, ids=str)
@pytest.mark.parametrize("limits", [{"per_image": 300}, {"total": 60 * 300}], ids=str)
def test_claims_are_made_also_where_the_total_is_what_ends(plugin: BlackBoxAttack, limits: dict[str, int]) -> None:
    result, oracle = attack(plugin, ScoreCoin(0.1), _targets(60), Linf(0.1), **limits)  # type: ignore[arg-type]
    assert result.claimed is not None
    assert result.claimed.float().mean() > 0.9
    assert oracle.spent <= 60 * 300


@pytest.mark.parametrize("plugin", EVERY, ids=str)
def test_a_budget_of_a_few_queries_is_spent_on_an_attack(plugin: BlackBoxAttack) -> None:
    """The trial never takes more than a tenth."""
    result, oracle = attack(plugin, ScoreCoin(0.9), _targets(40), Linf(0.1), per_image=60)
    assert oracle.spent >= 40 * 40
    assert not torch.equal(result.x, _targets(40).x)
