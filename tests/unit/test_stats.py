"""robustnoise.stats against closed forms, published examples, statsmodels, scipy, brute force and simulation."""

from __future__ import annotations

import importlib
import math
import time
import tracemalloc
from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from robustnoise import stats
from robustnoise.errors import BadParameter

Z = scipy.stats.norm.ppf(0.975)
Ints = npt.NDArray[np.int64]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def statsmodels(module: str) -> Any:
    return importlib.import_module(f"statsmodels.stats.{module}")


# verdicts


def test_verdicts_of_known_counts() -> None:
    right = np.array([0, 1, 3, 4])
    assert stats.single(right, 4) == 0.5
    assert stats.any_fail(right, 4, 1) == 0.5
    assert stats.any_fail(right, 4, 2) == pytest.approx((0 + 0 + 3 / 6 + 1) / 4)
    assert stats.any_fail(right, 4, 4) == 0.25
    assert stats.always_wrong(right) == 0.25
    assert stats.single(np.array([True, False]), 1) == 0.5
    assert str(stats.any_fail(np.array([0]), 4, 2)) == "0.0"


def test_any_fail_is_the_share_of_subsets_that_are_right_throughout() -> None:
    draws = [1, 0, 1, 1, 0, 1, 1]
    for m in range(1, 8):
        share = np.mean([all(subset) for subset in combinations(draws, m)])
        assert stats.any_fail(np.array([5]), 7, m) == pytest.approx(share, abs=1e-15)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("m", [1, 3, 5])
def test_any_fail_is_unbiased_and_the_plug_in_is_not(p: float, m: int) -> None:
    counts = np.arange(6)
    weights = scipy.stats.binom.pmf(counts, 5, p)
    expected = sum(w * stats.any_fail(np.array([k]), 5, m) for k, w in zip(counts, weights, strict=True))
    assert expected == pytest.approx(p**m, rel=1e-12)
    if m > 1:
        assert weights @ (counts / 5) ** m > p**m * 1.01


@pytest.mark.parametrize("p", [0.3, 0.9])
def test_a_coin_comes_back_as_a_coin(p: float) -> None:
    n, draws = 20_000, 20
    counts = np.arange(draws + 1)
    weights = scipy.stats.binom.pmf(counts, draws, p)
    right = generator(1).binomial(draws, p, n)

    def check(verdict: Callable[[Ints], float], expected: float) -> None:
        each = np.array([verdict(np.array([k])) for k in counts])
        error = math.sqrt((weights @ each**2 - (weights @ each) ** 2) / n)
        assert abs(verdict(right) - expected) <= 4 * error

    check(lambda r: stats.single(r, draws), p)
    for m in (1, 5, 20):
        check(lambda r, m=m: stats.any_fail(r, draws, m), p**m)  # type: ignore[misc]
    check(stats.always_wrong, (1 - p) ** draws)


# worst case over attacks


def test_worst_case_chooses_per_image_and_averages_ties() -> None:
    select = [np.array([3, 1, 2]), np.array([1, 1, 5]), np.array([2, 4, 2])]
    score = [np.array([9, 4, 6]), np.array([5, 7, 0]), np.array([1, 1, 9])]
    assert stats.worst_case(select, score).tolist() == [5.0, 5.5, 7.5]
    assert stats.worst_case(np.array(select), np.array(score)).tolist() == [5.0, 5.5, 7.5]


def test_worst_case_of_a_deterministic_victim_is_the_minimum() -> None:
    table = generator().integers(0, 2, (5, 200))
    worst = stats.worst_case(table, table)
    assert worst.dtype == np.float64
    assert (worst == table.min(axis=0)).all()
    delta = stats.paired_delta(worst, 1, table[0], 1, generator())
    assert delta.method == "tango+mcnemar"


def test_worst_case_of_twelve_coins_is_the_coin_but_not_on_the_same_draws() -> None:
    n, half = 4_000, 10
    rng = generator(2)
    select, score = rng.binomial(half, 0.9, (2, 12, n))
    fair = stats.worst_case(select, score) / half
    assert abs(fair.mean() - 0.9) <= 4 * fair.std() / math.sqrt(n)
    same = stats.worst_case(select, select) / half
    expected = sum(scipy.stats.binom.sf(k - 1, half, 0.9) ** 12 for k in range(1, half + 1)) / half
    assert abs(same.mean() - expected) <= 4 * same.std() / math.sqrt(n)
    assert same.mean() < 0.75


def test_worst_case_finds_an_attack_that_works() -> None:
    rng = generator(3)
    p = np.full((4, 500), 0.9)
    p[2] = 0.2
    assert stats.worst_case(rng.binomial(10, p), rng.binomial(10, p)).mean() / 10 == pytest.approx(0.2, abs=0.02)


# single proportions and means


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_wilson_is_the_one_of_statsmodels(confidence: float) -> None:
    confint = statsmodels("proportion").proportion_confint
    for right, n in [(0, 1), (1, 1), (0, 50), (50, 50), (1, 10), (81, 263), (9_300, 10_000)]:
        expected = confint(right, n, alpha=1 - confidence, method="wilson")
        assert stats.wilson(right, n, confidence) == pytest.approx(expected, abs=1e-12)


def test_wilson_gives_the_published_example() -> None:
    # R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statist. Med. 17, 1998, table I.
    assert stats.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert stats.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_wilson_reaches_its_ends_exactly() -> None:
    for n, confidence in product(range(1, 200), (0.5, 0.9, 0.95, 0.999)):
        assert stats.wilson(0, n, confidence).low == 0.0
        assert stats.wilson(n, n, confidence).high == 1.0


@pytest.mark.parametrize("shape", [(0.97, 20, 500), (0.5, 10, 60), (0.999, 20, 400)])
def test_mean_interval_is_the_bca_interval_of_scipy(shape: tuple[float, int, int]) -> None:
    p, draws, n = shape
    values = generator(4).binomial(draws, p, n) / draws
    mine = stats.mean_interval(values, generator(5))
    theirs = scipy.stats.bootstrap((values,), np.mean, batch=500, rng=generator(6)).confidence_interval
    step = 1.01 / (draws * n)  # means lie on a lattice
    assert mine == pytest.approx((theirs.low, theirs.high), abs=max(step, 0.04 * (theirs.high - theirs.low)))


def test_mean_interval_of_many_distinct_values_is_the_one_of_scipy_too() -> None:
    values = generator(7).random(300) ** 9
    mine = stats.mean_interval(values, generator(5), 0.9)
    theirs = scipy.stats.bootstrap((values,), np.mean, batch=500, confidence_level=0.9, rng=generator(6))
    low, high = theirs.confidence_interval
    assert mine == pytest.approx((low, high), abs=0.04 * (high - low))


def test_limits_of_a_few_skewed_values_are_the_ones_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "RESAMPLES", 50_000)
    values = generator(5).random(12) ** 12  # one value dominates: bias and acceleration both matter
    mine = stats.mean_interval(values, generator(5))
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=50_000, rng=generator(6)).confidence_interval
    assert mine == pytest.approx((theirs.low, theirs.high), rel=0.03)


def test_both_ways_to_resample_have_the_same_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.repeat([0.0, 0.5, 0.9, 1.0], [3, 10, 20, 67])
    grouped = stats._resampled_means(values, generator(8))
    jittered = stats._resampled_means(values + 1e-13 * np.arange(100), generator(9))
    assert jittered.mean() == pytest.approx(grouped.mean(), abs=4 * grouped.std() / math.sqrt(stats.RESAMPLES / 2))
    assert jittered.std() == pytest.approx(grouped.std(), rel=0.04)
    monkeypatch.setattr(stats, "_CELLS", 50)  # chunks of a few rows, or of one, change nothing but the memory
    assert (stats._resampled_means(values, generator(8)) == grouped).all()
    assert (stats._resampled_means(values + 1e-13 * np.arange(100), generator(9)) == jittered).all()


@pytest.mark.parametrize("n", [1, 2, 50])
def test_mean_interval_of_equal_values_is_wilson(n: int) -> None:
    assert stats.mean_interval(np.ones(n), generator()) == stats.wilson(n, n)
    assert stats.mean_interval(np.zeros(n), generator()) == stats.wilson(0, n)
    low, high = stats.mean_interval(np.full(n, 0.3), generator())
    assert 0 < low < 0.3 < high < 1


def test_extreme_skew_gives_finite_limits_without_warnings() -> None:
    for n, confidence in product((2, 3, 10, 1_000), (0.5, 0.95, 0.999999, 1 - 1e-16)):
        for odd in (0.0, 0.5, 1 - 1e-6):
            values = np.ones(n)
            values[0] = odd
            low, high = stats.mean_interval(values, generator(), confidence)
            assert 0 <= low <= values.mean() <= high <= 1


def test_percentile_limits_stand_in_where_bca_has_none() -> None:
    values = np.zeros(1_000)
    values[0] = 1.0
    interval, method = stats._bootstrap(values, generator(), 1 - 1e-12)
    assert method == "percentile"
    assert interval.low == 0
    assert 0.001 < interval.high < 0.02


# paired proportions


def test_tango_gives_published_examples() -> None:
    # Airway hyper-responsiveness, table 1, 1, 7, 12: Fagerland, Lydersen and Laake, Recommended tests and confidence
    # intervals for paired binomial proportions, Statist. Med. 33, 2014.
    assert stats.tango(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    # R's PropCIs::scoreci.mp(25, 28, 618, 0.9), whose first count is the subtracted one.
    assert stats.tango(28, 25, 618, 0.9) == pytest.approx((-0.0148, 0.0247), abs=5e-5)


def tango_score(delta: npt.NDArray[np.float64], b: int, c: int, n: int) -> npt.NDArray[np.float64]:
    """Tango's statistic, its nuisance share q found by maximising the likelihood on a grid and not by a closed form."""
    least, most = np.maximum(-delta, 0), (1 - delta) / 2
    q = least + (most - least) * np.linspace(0, 1, 2_001)[:, None]
    shares = np.clip([q + delta, q, 1 - 2 * q - delta], 0, 1)
    likelihood = sum(scipy.special.xlogy(k, share) for k, share in zip((b, c, n - b - c), shares, strict=True))
    best = np.take_along_axis(q, np.argmax(likelihood, axis=0)[None, :], axis=0)[0]
    return np.asarray((b - c - n * delta) / np.sqrt(n * (2 * best + delta * (1 - delta))))


@pytest.mark.parametrize(
    ("b", "c", "n"), [(1, 7, 21), (0, 0, 10), (3, 0, 10), (0, 9, 10), (5, 5, 10), (12, 30, 50), (10, 0, 10), (0, 1, 1)]
)
def test_tango_inverts_the_score_test(b: int, c: int, n: int) -> None:
    low, high = stats.tango(b, c, n)
    grid = np.linspace(-0.9995, 0.9995, 800)
    accepted = np.abs(tango_score(grid, b, c, n)) <= Z
    assert accepted[(grid > low + 0.002) & (grid < high - 0.002)].all()
    assert not accepted[(grid < low - 0.002) | (grid > high + 0.002)].any()


def test_tango_without_discordant_pairs_is_a_legal_interval() -> None:
    for n in (1, 44, 10_000):
        bound = Z**2 / (n + Z**2)
        assert stats.tango(0, 0, n) == pytest.approx((-bound, bound), rel=1e-12)


def test_tango_where_every_pair_is_discordant_in_one_direction() -> None:
    for n, z in product((1, 44, 10_000), (0.1, Z, 6)):
        confidence = 1 - 2 * scipy.stats.norm.sf(z)
        low, high = stats.tango(n, 0, n, confidence)
        assert low == pytest.approx((n - z**2) / (n + z**2), abs=1e-9)
        assert high == 1.0


def test_mcnemar_is_the_exact_one_of_statsmodels() -> None:
    mcnemar = statsmodels("contingency_tables").mcnemar
    for b, c in [(1, 7), (7, 1), (0, 5), (3, 3), (30, 60), (400, 500)]:
        assert stats.mcnemar(b, c) == pytest.approx(mcnemar([[5, b], [c, 5]], exact=True).pvalue, rel=1e-9)
    assert stats.mcnemar(1, 7) == 18 / 256
    assert stats.mcnemar(0, 0) == 1.0
    assert stats.mcnemar(np.int64(20_000), np.int64(0)) == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [1, 2, 6, 20])
def test_holm_is_the_one_of_statsmodels(k: int) -> None:
    p_values = np.round(generator(k).random(k) ** 3, 1)  # with ties, zeros and ones
    expected = statsmodels("multitest").multipletests(p_values, method="holm")[1]
    assert stats.holm(p_values) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_as_the_step_down_procedure_does(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert adjusted.shape == (len(p_values),)
    for level in (0.01, 0.05, 0.2, 0.9):
        rejected: list[int] = []
        for at in sorted(range(len(p_values)), key=p_values.__getitem__):
            if p_values[at] * (len(p_values) - len(rejected)) > level:
                break
            rejected.append(at)
        assert set(np.flatnonzero(adjusted <= level)) == set(rejected)


def test_holm_of_a_worked_example() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


# resolution


@pytest.mark.parametrize(
    ("delta", "discordance", "images"),
    [(0.005, 0.01, 3_138), (0.005, 0.03, 9_418), (0.0113, 0.05, 3_073), (0.0113, 0.15, 9_219)],
)
def test_smallest_delta_agrees_with_the_design_table(delta: float, discordance: float, images: int) -> None:
    resolved = stats.smallest_delta(images, discordance)
    assert resolved is not None
    assert resolved == pytest.approx(delta, rel=1e-3)
    z_power = scipy.stats.norm.ppf(0.8)
    connor = (Z * math.sqrt(discordance) + z_power * math.sqrt(discordance - resolved**2)) ** 2 / resolved**2
    assert connor == pytest.approx(images, rel=1e-9)


def test_smallest_delta_has_the_power_it_promises() -> None:
    n, discordance, boards = 2_000, 0.1, 4_000
    delta = stats.smallest_delta(n, discordance)
    assert delta is not None
    shares = [(discordance + delta) / 2, (discordance - delta) / 2, 1 - discordance]
    b, c, _ = generator(10).multinomial(n, shares, boards).T
    detected = ((b - c) ** 2 / (b + c) > Z**2).mean()
    assert abs(detected - 0.8) < 4 * math.sqrt(0.8 * 0.2 / boards) + 0.005


def test_smallest_delta_where_nothing_is_resolved() -> None:
    assert stats.smallest_delta(10_000, 0.0) is None
    assert stats.smallest_delta(1, 1.0) is None
    assert stats.smallest_delta(3, 0.5) is None
    deltas = [stats.smallest_delta(n, 0.1) or 9.0 for n in (50, 500, 5_000)]
    assert deltas == sorted(deltas, reverse=True)


# paired differences


def test_deterministic_pairs_use_tango_and_mcnemar() -> None:
    a, b = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [1, 1, 7, 12], axis=0).T
    rng = generator()
    delta = stats.paired_delta(a, 1, b, 1, rng)
    assert delta.estimate == pytest.approx(-6 / 21)
    assert delta[1:] == (*stats.tango(1, 7, 21), stats.mcnemar(1, 7), 21, "tango+mcnemar")
    assert rng.random() == generator().random()


@pytest.mark.parametrize("draws", [1, 20])
def test_no_difference_is_a_legal_answer(draws: int) -> None:
    right = generator().binomial(draws, 0.7, 80)
    delta = stats.paired_delta(right, draws, right, draws, generator())
    assert delta[:5] == (0.0, *stats.tango(0, 0, 80), 1.0, 80)


def test_a_constant_difference_is_a_legal_answer() -> None:
    eight = np.full(50, 8)
    delta = stats.paired_delta(eight, 10, eight // 2, 10, generator())
    assert -1 <= delta.low < delta.estimate < delta.high <= 1
    assert delta.estimate == pytest.approx(0.4)
    assert delta.p_value == 1e-4
    assert delta.method == "tango+sign-flip"
    sure = stats.paired_delta(np.full(50, 10), 10, np.zeros(50, int), 20, generator())
    assert sure[1:3] == stats.tango(50, 0, 50)
    one = stats.paired_delta(np.array([3]), 10, np.array([1]), 10, generator())
    assert (one.p_value, one.n) == (1.0, 1)


def test_the_estimate_is_the_mean_difference_and_resampling_is_reproducible() -> None:
    rng = generator(11)
    a, b = rng.binomial(20, 0.9, 300), rng.binomial(1, 0.85, 300)
    delta = stats.paired_delta(a, 20, b, 1, generator(1))
    assert delta.estimate == pytest.approx((a / 20 - b).mean())
    assert delta.method == "bca+sign-flip"
    assert delta == stats.paired_delta(a, 20, b, 1, generator(1))
    narrow = stats.paired_delta(a, 20, b, 1, generator(1), confidence=0.5)
    assert delta.low < narrow.low < delta.estimate < narrow.high < delta.high


def test_swapping_large_boards_negates_too() -> None:
    rng = generator(17)
    a, b = rng.binomial(4, 0.9, 500), rng.binomial(4, 0.8, 500)  # few distinct values: the multinomial path
    forth, back = stats.paired_delta(a, 4, b, 4, generator()), stats.paired_delta(b, 4, a, 4, generator())
    assert back[:3] == pytest.approx((-forth.estimate, -forth.high, -forth.low), abs=1e-12)


def test_averaged_counts_of_one_draw_are_not_deterministic() -> None:
    worst = stats.worst_case([np.array([1, 1, 0, 1])] * 2, [np.array([1, 0, 0, 1]), np.array([0, 1, 0, 1])])
    assert worst.tolist() == [0.5, 0.5, 0.0, 1.0]
    delta = stats.paired_delta(worst, 1, np.array([1, 0, 0, 1]), 1, generator())
    assert (delta.estimate, delta.method) == (0.0, "bca+sign-flip")


def test_the_interval_of_a_stochastic_pair_is_the_bca_interval_of_scipy() -> None:
    rng = generator(12)
    a, b = rng.binomial(20, 0.95, 400), rng.binomial(10, 0.9, 400)
    delta = stats.paired_delta(a, 20, b, 10, generator())
    theirs = scipy.stats.bootstrap((a / 20 - b / 10,), np.mean, batch=500, rng=generator(6)).confidence_interval
    assert delta[1:3] == pytest.approx((theirs.low, theirs.high), abs=0.04 * (theirs.high - theirs.low))


def test_the_sign_flip_p_is_the_exact_one() -> None:
    d = np.array([3, 2, 2, 1, 0, -1, 4, 1, 1, -2, 3, 5])
    flips = np.array(list(product([-1, 1], repeat=d.size))) @ d
    exact = (np.abs(flips) >= d.sum()).mean()
    delta = stats.paired_delta(np.maximum(d, 0), 5, np.maximum(-d, 0), 5, generator())
    assert delta.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / stats.RESAMPLES))


def test_the_sign_flip_p_is_valid_under_the_null() -> None:
    rng, boards = generator(13), 250
    p = rng.beta(4, 1, (boards, 60))
    pairs = zip(rng.binomial(10, p), rng.binomial(10, p), strict=True)
    p_values = np.array([stats._sign_flip((a - b) / 10, rng) for a, b in pairs])
    for level in (0.05, 0.2, 0.5):
        assert abs((p_values <= level).mean() - level) < 4 * math.sqrt(level * (1 - level) / boards)


@pytest.mark.parametrize("b_draws", [1, 20, 19])
def test_ten_thousand_images_are_quick_and_small(b_draws: int) -> None:
    rng = generator(14)
    a, b = rng.binomial(20, 0.9, 10_000), rng.binomial(b_draws, 0.895, 10_000)
    start = time.process_time()
    stats.paired_delta(a, 20, b, b_draws, generator())
    assert time.process_time() - start < 3
    tracemalloc.start()
    stats.paired_delta(a, 20, b, b_draws, generator())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


# properties


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Ints, int, Ints, int]:
    n = draw(st.integers(1, 30))
    a_draws, b_draws = draw(st.sampled_from([(1, 1), (20, 20), (1, 10), (5, 3)]))
    a, b = (draw(st.lists(st.integers(0, top), min_size=n, max_size=n)) for top in (a_draws, b_draws))
    return np.array(a), a_draws, np.array(b), b_draws


@settings(max_examples=60)
@given(pairs(), st.sampled_from([0.5, 0.95, 0.999]))
def test_any_pair_has_a_legal_delta_that_swapping_negates(pair: tuple[Ints, int, Ints, int], confidence: float) -> None:
    a, a_draws, b, b_draws = pair
    delta = stats.paired_delta(a, a_draws, b, b_draws, generator(), confidence)
    assert -1 <= delta.low <= delta.estimate <= delta.high <= 1
    assert 0 < delta.p_value <= 1
    assert delta.n == a.size
    swapped = stats.paired_delta(b, b_draws, a, a_draws, generator(), confidence)
    assert swapped[:3] == pytest.approx((-delta.estimate, -delta.high, -delta.low), abs=1e-9)
    assert swapped[3:] == delta[3:]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 10_000), st.sampled_from([0.5, 0.95, 0.999999]))
def test_tango_is_legal_antisymmetric_and_grows(b: int, c: int, rest: int, confidence: float) -> None:
    n = max(b + c + rest, 1)
    low, high = stats.tango(b, c, n, confidence)
    assert -1 <= low <= (b - c) / n <= high <= 1
    assert low < high
    assert stats.tango(c, b, n, confidence) == pytest.approx((-high, -low), abs=1e-12)
    wider = stats.tango(b, c, n, (1 + confidence) / 2)
    assert wider.low <= low
    assert wider.high >= high


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_any_mean_has_a_legal_interval(values: list[float]) -> None:
    low, high = stats.mean_interval(np.array(values), generator())
    assert 0 <= low <= np.mean(values) + 1e-12
    assert np.mean(values) - 1e-12 <= high <= 1


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_verdicts_are_ordered(counts: list[int]) -> None:
    right = np.array(counts)
    falling = [stats.any_fail(right, 20, m) for m in range(1, 21)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == pytest.approx(stats.single(right, 20))
    assert falling[-1] == pytest.approx((right == 20).mean())
    assert stats.single(right, 20) <= 1 - stats.always_wrong(right) + 1e-12


# coverage


def test_tango_covers_the_true_difference() -> None:
    boards, n = 1_000, 300
    for shares in ([0.03, 0.01, 0.96], [0.15, 0.15, 0.7], [0.2, 0.05, 0.75]):
        truth = shares[0] - shares[1]
        tables = generator(15).multinomial(n, shares, boards)
        limits = [stats.tango(int(b), int(c), n) for b, c, _ in tables]
        covered = np.mean([low <= truth <= high for low, high in limits])
        assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / boards)


def test_the_bootstrap_covers_the_true_difference_of_stochastic_victims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "RESAMPLES", 1_999)  # coverage hardly depends on it, time does
    boards, n, draws, gain = 300, 150, 20, 0.04
    rng = generator(16)
    p = rng.beta(6, 1, (boards, n))
    defended, baseline = rng.binomial(draws, p + gain * (1 - p)), rng.binomial(draws, p)
    truth = gain / 7  # gain times the mean of 1 - p
    deltas = [stats.paired_delta(a, draws, b, draws, rng) for a, b in zip(defended, baseline, strict=True)]
    band = 4 * math.sqrt(0.95 * 0.05 / boards)
    assert abs(np.mean([d.low <= truth <= d.high for d in deltas]) - 0.95) < band
    means = [stats.mean_interval(a / draws, rng) for a in baseline]
    assert abs(np.mean([low <= 6 / 7 <= high for low, high in means]) - 0.95) < band


# refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.single(np.array([], int), 1), r"shape \(0,\).*None"),
        (lambda: stats.single(np.array([[1]]), 1), r"shape \(1, 1\)"),
        (lambda: stats.single(np.array(["1"]), 1), "dtype"),
        (lambda: stats.single(np.array([0, 3]), 2), r"right\[1\] is 3.*0\.\.2"),
        (lambda: stats.single(np.array([np.nan]), 2), "nan"),
        (lambda: stats.single(np.array([1]), 0), "draws is 0"),
        (lambda: stats.any_fail(np.array([1]), 20, 21), r"m is 21.*1\.\.20.*more draws"),
        (lambda: stats.any_fail(np.array([1]), 20, 0), "m is 0"),
        (lambda: stats.any_fail(np.array([1.5]), 20, 2), "whole counts"),
        (lambda: stats.always_wrong(np.array([0.5])), "whole counts"),
        (lambda: stats.always_wrong(np.array([np.inf])), "inf"),
        (lambda: stats.worst_case([], []), "0 select and 0 score"),
        (lambda: stats.worst_case([np.array([1])], [np.array([1, 2])]), r"lengths \[1, 2\]"),
        (lambda: stats.worst_case([np.array([1])] * 2, [np.array([1])]), "2 select and 1 score"),
        (lambda: stats.wilson(3, 2), "right is 3"),
        (lambda: stats.wilson(0, 0), "n is 0"),
        (lambda: stats.wilson(1, 2, 1.0), "confidence 1.0"),
        (lambda: stats.mean_interval(np.array([]), generator()), "shape"),
        (lambda: stats.mean_interval(np.array([1.2]), generator()), r"0\.\.1"),
        (lambda: stats.mean_interval(np.array([0.2, 0.3]), generator(), math.nan), "confidence nan"),
        (lambda: stats.tango(2, 2, 3), r"c is 2.*0\.\.1"),
        (lambda: stats.tango(-1, 2, 3), "b is -1"),
        (lambda: stats.mcnemar(0, -1), "c is -1"),
        (lambda: stats.mcnemar(0.5, 1), "b is 0.5"),  # type: ignore[arg-type]
        (lambda: stats.holm([0.1, math.nan]), "nan"),
        (lambda: stats.holm([1.1]), "1.1"),
        (lambda: stats.smallest_delta(0, 0.1), "n is 0"),
        (lambda: stats.smallest_delta(10, 1.1), "discordance 1.1"),
        (lambda: stats.smallest_delta(10, 0.1, power=1.0), "power 1.0"),
        (lambda: stats.paired_delta(np.array([], int), 1, np.array([], int), 1, generator()), "None"),
        (lambda: stats.paired_delta(np.array([1]), 1, np.array([1, 0]), 1, generator()), "1 images, b_right 2"),
    ],
)
def test_bad_input_is_refused_with_its_value(call: Callable[[], object], message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        call()
