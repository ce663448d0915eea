"""By simulation: the intervals cover as they claim, tests reject as seldom as they claim, equal victims share a rank.

The quick version watches for gross errors. The full one makes 1,000 boards a setting (some ten minutes):

    pytest tests/unit/test_stats_coverage.py -m slow -s
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from robustnoise import stats
from robustnoise.stats import resampling
from tests.unit.stats_boards import DRAWS, Population, coverage, false_splits
from tests.unit.stats_helpers import generator

KINDS = ("deterministic", "noisy pair", "noise added", "vote added")
SIZES = (200, 500, 2_000)
DISCORDANCES = (0.02, 0.05, 0.2)
SETTINGS = [
    (kind, n, discordance, lean)
    for kind, n, discordance, lean in itertools.product(KINDS, SIZES, DISCORDANCES, (0.0, 0.4))
    if n * discordance >= 10 and not (kind == "vote added" and discordance > 0.1)  # no image is that undecided
]


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coverage hardly depends on their number, time does."""
    monkeypatch.setattr(resampling, "RESAMPLES", 999)


def band(level: float, boards: int) -> float:
    """Four standard errors of a measured share."""
    return 4 * math.sqrt(level * (1 - level) / boards)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lean", [0.0, 0.4])
def test_the_truth_of_a_population_is_what_it_says(kind: str, lean: float) -> None:
    n, discordance = 400_000, 0.05
    found = stats.resolution(*Population(kind, discordance, lean).draw(n, generator(1)))
    assert found.delta == pytest.approx(discordance * lean, abs=4 * math.sqrt(discordance / n))
    assert found.discordant / n == pytest.approx(discordance, rel=0.02)


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("kind", KINDS)
def test_the_paired_interval_covers_quick(kind: str) -> None:
    boards = 150
    found = coverage(Population(kind, 0.05, 0.4), 300, boards, generator(2))
    assert abs(found - 0.95) < band(0.95, boards)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n", "discordance", "lean"), SETTINGS)
def test_the_paired_interval_covers(
    kind: str, n: int, discordance: float, lean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 1_999)
    found = coverage(Population(kind, discordance, lean), n, 1_000, generator(3))
    print(f"coverage {100 * found:.1f} %")  # noqa: T201 - for the docs
    assert 0.93 <= found <= 0.97


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("undecided", [0.05, 1.0])
def test_the_interval_of_an_accuracy_covers(undecided: float) -> None:
    rng, boards, n = generator(4), 300, 300
    truth = 1 - undecided * 0.25  # the mean of beta(3, 1) on undecided images, else 1
    held = 0
    for _ in range(boards):
        p = np.where(rng.random(n) < undecided, rng.beta(3, 1, n), 1.0)
        low, high = stats.mean_interval(rng.binomial(DRAWS, p) / DRAWS, rng)
        held += low <= truth <= high
    assert abs(held / boards - 0.95) < band(0.95, boards)


@pytest.mark.usefixtures("few_resamples")
def test_the_interval_of_an_accuracy_covers_where_hardly_an_image_is_wrong() -> None:
    """One image in 1,000 is always wrong, two at times: of n = 1,000 often none of the first kind is met."""
    rng, boards, n = generator(8), 200, 1_000
    held = 0
    for _ in range(boards):
        u = rng.random(n)
        right = rng.binomial(DRAWS, np.where(u < 0.001, 0.0, np.where(u < 0.003, 0.9, 1.0)))
        low, high = stats.mean_interval(right / DRAWS, rng)
        held += low <= 0.9988 <= high
    assert held / boards > 0.95 - band(0.95, boards)


@pytest.mark.parametrize("kind", KINDS)
def test_non_inferiority_is_claimed_at_the_margin_as_seldom_as_it_says(kind: str) -> None:
    population, rng, boards = Population(kind, 0.05, -0.4), generator(5), 1_000
    p = [stats.non_inferiority(*population.draw(500, rng), margin=0.02) for _ in range(boards)]
    assert np.mean(np.array(p) <= 0.05) < 0.05 + band(0.05, boards)
    better = [stats.non_inferiority(*population.draw(500, rng), margin=0.06) for _ in range(50)]
    assert np.mean(np.array(better) <= 0.05) > 0.8


def test_holm_keeps_the_family_wise_error_where_single_tests_do_not() -> None:
    rng, boards, family, false = generator(6), 2_000, 6, Population("deterministic", 0.1, 0.0)
    true = Population("deterministic", 0.1, 0.9)
    holm = unadjusted = found = 0
    for _ in range(boards):
        p = []
        for population in [false] * (family - 1) + [true]:
            a, _, b, _ = population.draw(500, rng)
            p.append(stats.mcnemar(int((a > b).sum()), int((a < b).sum())))
        adjusted = stats.holm(p)
        holm += bool((adjusted[:-1] < 0.05).any())
        unadjusted += min(p[:-1]) < 0.05
        found += bool(adjusted[-1] < 0.05)
    assert holm / boards < 0.05 + band(0.05, boards)
    assert unadjusted / boards > 0.1
    assert found / boards > 0.9


@pytest.mark.parametrize(("k", "draws", "undecided"), [(2, 1, 0.2), (5, 1, 0.2), (5, 10, 0.2), (30, 10, 0.05)])
def test_equal_victims_are_seldom_parted(k: int, draws: int, undecided: float) -> None:
    boards = 300 if k < 30 else 100
    assert false_splits(k, 300, draws, boards, undecided) < 0.05 + band(0.05, boards)


def test_a_difference_is_told_at_any_level() -> None:
    rng = generator(8)
    better, worse = rng.binomial(10, 0.9, 400), rng.binomial(10, 0.7, 400)
    assert stats.superiority(better, 10, worse, 10) < 1e-12
    theirs = scipy.stats.ttest_1samp(worse[:40] / 10 - better[:40] / 10 + 0.19, 0, alternative="greater").pvalue
    ours = stats.superiority(worse[:40] + 1.9, 12, better[:40], 12)
    assert ours == pytest.approx(theirs, rel=0.1)
    a, b = np.ones(500, int), np.ones(500, int)
    b[:30] = 0
    assert stats.superiority(a, 1, b, 1) == pytest.approx(0.5**30)
    assert stats.superiority(b, 1, a, 1) == stats.superiority(a, 1, a, 1) == 1.0
    assert stats.superiority(a * 10, 10, a * 10, 10) >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("k", "draws"), [(k, draws) for k in (2, 5, 10, 30) for draws in (1, 10)])
@pytest.mark.parametrize(("n", "undecided"), [(500, 0.2), (300, 0.05)])
def test_equal_victims_are_seldom_parted_in_full(k: int, draws: int, n: int, undecided: float) -> None:
    boards = 1_000
    found = false_splits(k, n, draws, boards, undecided)
    print(f"{k} equal victims, {draws} draws, n = {n}: parted on {100 * found:.1f} %")  # noqa: T201 - for the docs
    assert found < 0.05 + band(0.05, boards)


def test_tango_is_the_score_test_inverted() -> None:
    for b, c, n in ((3, 9, 100), (0, 7, 60), (12, 12, 1_000), (0, 0, 50)):
        a, other = np.zeros(n, int), np.zeros(n, int)
        a[:b] = 1
        other[b : b + c] = 1
        low = stats.tango(b, c, n, 0.9).low
        assert stats.non_inferiority(a, 1, other, 1, -low) == pytest.approx(0.05, abs=1e-6)


def test_non_inferiority_of_many_images_is_students_test() -> None:
    rng = generator(7)
    a, b = rng.binomial(10, 0.8, 5_000), rng.binomial(10, 0.81, 5_000)
    theirs = scipy.stats.ttest_1samp(a / 10 - b / 10, -0.015, alternative="greater").pvalue
    assert stats.non_inferiority(a, 10, b, 10, 0.015) == pytest.approx(theirs, rel=0.01)
