"""robustnoise.stats: paired differences, against scipy, exact values and simulation."""

from __future__ import annotations

import math
import time
import tracemalloc
from itertools import product

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from robustnoise import stats
from robustnoise.stats import resampling
from tests.unit.stats_helpers import Ints, generator


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
    assert delta.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / resampling.RESAMPLES))


def test_the_sign_flip_p_is_valid_under_the_null() -> None:
    rng, boards = generator(13), 250
    p = rng.beta(4, 1, (boards, 60))
    pairs = zip(rng.binomial(10, p), rng.binomial(10, p), strict=True)
    p_values = np.array([resampling.sign_flip((a - b) / 10, rng) for a, b in pairs])
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


def test_the_bootstrap_covers_the_true_difference_of_stochastic_victims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 1_999)  # coverage hardly depends on it, time does
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
