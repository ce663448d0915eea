"""Noisy answers choose nothing by luck: the tests behind comparisons, and what more queries are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from torch import Tensor

from robustnoise.protocols import Answer
from robustnoise.seeds import SeedStream
from robustnoise.testing.toys import linear_toy
from robustnoise.threat import Linf
from robustnoise_attacks import RayS, Square
from robustnoise_attacks.query import square
from robustnoise_attacks.query.duels import LEVEL, MOST, Duels, Running
from robustnoise_attacks.query.rays_noisy import PRO, Wald
from tests.unit.query.victims import NoisyInput, attack, margins, right_targets


class NoisyLogits:
    """`linear_toy` with Gaussian noise on its logits, so that every image's margin is noisy alike."""

    stochastic, passes, digest = True, 1, "noisy-logits"

    def __init__(self, sigma: float) -> None:
        self.inner, self.sigma = linear_toy(), sigma
        self.num_classes, self.input_shape = self.inner.num_classes, self.inner.input_shape

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        clean = self.inner.predict(x, noise=noise).logits
        assert clean is not None
        logits = clean + self.sigma * torch.randn(clean.shape, generator=noise.generator("logits"))
        return Answer(logits.argmax(1), logits.softmax(1), logits)


def drawn(*parts: int) -> Tensor:
    return torch.randn(*parts, generator=torch.Generator().manual_seed(3))


# ------------------------------------------------------------------------------------------------------ one comparison


def test_running_is_mean_and_scatter_of_all_draws() -> None:
    values, running = drawn(5, 12), Running(6)
    rows = torch.tensor([4, 0, 2, 1, 5])
    for part in values.split([1, 3, 8], 1):
        running.add(rows, part)
    assert running.count.tolist() == [12, 12, 12, 0, 12, 12]
    np.testing.assert_allclose(running.mean[rows].numpy(), values.double().mean(1).numpy())
    np.testing.assert_allclose(running.scatter[rows].numpy(), 12 * np.var(values.double().numpy(), axis=1))
    running.clear(rows[:1])
    assert running.count[4] == running.mean[4] == running.scatter[4] == 0


def test_a_duel_is_students_test_of_two_means() -> None:
    ours, theirs, duels = drawn(200, 5), drawn(200, 3).sub(0.5), Duels(200)
    rows = torch.arange(200)
    duels.incumbent.add(rows, ours)
    duels.rival.add(rows, theirs)
    won, lost = duels.verdict(rows)
    p = ttest_ind(theirs.double().numpy(), ours.double().numpy(), axis=1, alternative="less").pvalue
    assert won.tolist() == (p < 1 - LEVEL).tolist()
    assert lost.tolist() == (theirs.double().mean(1) >= ours.double().mean(1)).tolist()
    assert won.any()
    assert not (won & lost).any()


def test_a_duel_knows_no_unit() -> None:
    """Margins in another unit, from another zero, end every duel alike; the noise of earlier candidates counts too."""
    rows, verdicts = torch.arange(100), []
    for unit, zero in ((1.0, 0.0), (1000.0, -5.0)):
        duels = Duels(100)
        duels.incumbent.add(rows, zero + unit * drawn(100, 6))
        duels.crown(rows)
        duels.incumbent.add(rows, zero + unit * drawn(100, 2))
        duels.rival.add(rows, zero + unit * (drawn(100, 4) - 0.5))
        verdicts.append(torch.stack(duels.verdict(rows)))
    assert torch.equal(*verdicts)


@pytest.mark.parametrize(("lead", "least", "most"), [(-1.0, 0.0, 0.06), (0.0, 0.0, 0.35), (2.0, 0.75, 1.0)])
def test_worse_challengers_hardly_ever_win_a_duel(lead: float, least: float, most: float) -> None:
    """Leads in standard deviations of one draw, an incumbent of four draws; both are asked in turns."""
    n, numbers = 2000, torch.Generator().manual_seed(0)
    duels, open_ = Duels(n), torch.arange(n)
    duels.incumbent.add(open_, torch.randn(n, 4, generator=numbers))
    wins = 0
    for _ in range(2 * MOST):
        theirs = duels.rival.count[open_] <= duels.incumbent.count[open_]
        value = torch.randn(len(open_), 1, generator=numbers)
        duels.rival.add(open_[theirs], value[theirs] - lead)
        duels.incumbent.add(open_[~theirs], value[~theirs])
        won, lost = duels.verdict(open_)
        wins += int(won.sum())
        open_ = open_[~(won | lost)]
    assert least <= wins / n <= most


def test_walds_bound_holds() -> None:
    """One that fools no more often than the incumbent passes at most once in PRO tests, one that does often passes."""
    numbers = np.random.default_rng(0)
    test = Wald.between(0.5, 0.8, 0.0, math.log(PRO))
    passed = {}
    for rate in (0.5, 0.8):
        evidence, live = np.zeros(4000), np.ones(4000, bool)
        for _ in range(50):
            wrong = numbers.random(4000) < rate
            evidence[live] += np.where(wrong, test.wrong, test.right)[live]
            live &= (evidence > test.least) & (evidence < test.most)
        passed[rate] = (evidence >= test.most).mean()
    assert passed[0.5] < 1 / PRO
    assert passed[0.8] > 0.4


# ------------------------------------------------------------------------------------------------------ whole attacks


def test_square_loses_nothing_to_more_queries() -> None:
    """Noise far above what one square is worth: who keeps lucky squares goes up again after some hundred queries."""
    targets = right_targets(32, margin=0.3)
    result, _ = attack(Square(queries=600), NoisyLogits(0.3), targets, Linf(0.03), stops=(60, 200))
    *early, late = (margins(x, targets.y).mean().item() for x in (*result.trace.values(), result.x))
    assert late < min(early)


def test_without_noise_a_random_victim_yields_what_another_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look decides, so only the repeated incumbents cost anything; with the same pace."""
    monkeypatch.setattr(square, "LONG_IN_NOISE", square.LONG)
    targets = right_targets(24, margin=0.3)
    plain, _ = attack(Square(queries=300), linear_toy(), targets, Linf(0.02))
    quiet, _ = attack(Square(queries=600), NoisyInput(linear_toy(), 0.0), targets, Linf(0.02))
    assert margins(quiet.x, targets.y).mean() <= margins(plain.x, targets.y).mean() + 0.01


def test_rays_yields_more_to_more_queries() -> None:
    targets = right_targets(32, margin=0.3)
    result, _ = attack(RayS(queries=600, draws=1), NoisyLogits(0.3), targets, Linf(0.1), stops=(60, 200))
    found = [margins(x, targets.y).mean().item() for x in (targets.x, *result.trace.values(), result.x)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.5 * found[0]
