"""robustnoise.stats: intervals and tests of proportions and means, against published examples and other libraries."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from robustnoise import stats
from robustnoise.stats import resampling
from tests.unit.stats_helpers import Z, generator, statsmodels

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
def test_bca_limits_are_the_ones_of_scipy(shape: tuple[float, int, int]) -> None:
    p, draws, n = shape
    values = generator(4).binomial(draws, p, n) / draws
    mine, _ = resampling.bca(values, generator(5), Z)
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
    monkeypatch.setattr(resampling, "RESAMPLES", 50_000)
    values = generator(5).random(12) ** 12  # one value dominates: bias and acceleration both matter
    mine, _ = resampling.bca(values, generator(5), Z)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=50_000, rng=generator(6)).confidence_interval
    assert mine == pytest.approx((theirs.low, theirs.high), rel=0.03)


@pytest.mark.parametrize(("wrong", "wider"), [(12, True), (1_500, False)])
def test_the_interval_is_widened_where_it_rests_on_few_images(wrong: int, wider: bool) -> None:
    values = np.repeat([0.5, 1.0], [wrong, 3_000 - wrong])
    low, high = stats.mean_interval(values, generator(5))
    plain, _ = resampling.bca(values, generator(5), Z)
    m = ((values - values.mean()) ** 2).sum() ** 2 / ((values - values.mean()) ** 4).sum()
    student = -scipy.stats.t.ppf(0.025, 1 / (1 / m - 1 / 3_000)) / Z if wider else 1.0
    assert (high - low) / (plain.high - plain.low) == pytest.approx(student, abs=0.05 if wider else 0.0)
    assert student > 1.1 or not wider


def test_both_ways_to_resample_have_the_same_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.repeat([0.0, 0.5, 0.9, 1.0], [3, 10, 20, 67])
    grouped = resampling._resampled_means(values, generator(8))
    jittered = resampling._resampled_means(values + 1e-13 * np.arange(100), generator(9))
    assert jittered.mean() == pytest.approx(grouped.mean(), abs=4 * grouped.std() / math.sqrt(resampling.RESAMPLES / 2))
    assert jittered.std() == pytest.approx(grouped.std(), rel=0.04)
    monkeypatch.setattr(resampling, "_CELLS", 50)  # chunks of a few rows, or of one, change nothing but the memory
    assert (resampling._resampled_means(values, generator(8)) == grouped).all()
    assert (resampling._resampled_means(values + 1e-13 * np.arange(100), generator(9)) == jittered).all()


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
    interval, method = resampling.bootstrap(values, generator(), 1 - 1e-12)
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


def test_tango_covers_the_true_difference() -> None:
    boards, n = 1_000, 300
    for shares in ([0.03, 0.01, 0.96], [0.15, 0.15, 0.7], [0.2, 0.05, 0.75]):
        truth = shares[0] - shares[1]
        tables = generator(15).multinomial(n, shares, boards)
        limits = [stats.tango(int(b), int(c), n) for b, c, _ in tables]
        covered = np.mean([low <= truth <= high for low, high in limits])
        assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / boards)
