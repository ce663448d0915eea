"""robustnoise.stats: verdicts and the worst case, by brute force and simulation; what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from robustnoise import stats
from robustnoise.errors import BadParameter
from robustnoise.stats import resampling
from tests.unit.stats_helpers import Ints, generator


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


def test_the_interval_of_one_draw_knows_halves_from_whole_counts() -> None:
    whole, halves = np.array([1.0] * 30 + [0.0] * 20), np.array([1.0] * 30 + [0.5] * 20)
    assert stats.accuracy_interval(whole, 1, generator(1)) == stats.wilson(30, 50)
    low, high = stats.accuracy_interval(halves, 1, generator(1))
    assert low < 0.8 < high
    assert stats.accuracy_interval(halves * 2, 2, generator(1)) == (low, high)


def test_worst_case_gives_ties_to_the_attack_that_leaves_less_over_all_images() -> None:
    select, score = [[5, 9, 9], [5, 0, 9]], [[1, 2, 3], [4, 5, 6]]
    assert stats.worst_case(select, score).tolist() == [4.0, 5.0, 6.0]


def test_attacks_that_do_nothing_hardly_lift_the_worst_case_of_a_strong_one() -> None:
    rng, n, draws = generator(3), 4000, 10
    chance = rng.beta(2, 1.2, n)
    p = np.stack([chance, *[np.full(n, 0.9)] * 5])
    alone = chance.mean()
    # Were ties averaged, it would rise by 2.5 points.
    assert stats.worst_case(rng.binomial(draws, p), rng.binomial(draws, p)).mean() / draws < alone + 0.019


def test_worst_case_chooses_per_image_and_averages_ties() -> None:
    # Attacks that leave as much of an image and of all images.
    select = [np.array([3, 1, 2]), np.array([1, 1, 4]), np.array([2, 2, 2])]
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


@pytest.mark.parametrize("idle", [False, True])
def test_the_interval_of_a_worst_case_holds_the_truth_however_it_is_chosen(
    monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    """Of 21 attacks 20 do as much as the first, or less: one way to choose is far off the truth either time."""
    monkeypatch.setattr(resampling, "RESAMPLES", 499)
    rng, boards, n, draws = generator(9), 20, 5_000, 10
    held = alone = 0
    for _ in range(boards):
        strong = rng.beta(2, 1.2, n)
        p = np.stack([strong] + [strong ** (0.7 if idle else 1.0)] * 20)
        select, score = rng.binomial(draws, p), rng.binomial(draws, p)
        right, least = stats.worst_case(select, score), stats.least_case(select, score)
        low, high = stats.worst_interval(right, least, draws, rng)
        held += low <= 2 / 3.2 <= high
        low, high = stats.accuracy_interval(right if idle else least, draws, rng)
        alone += low <= 2 / 3.2 <= high
    assert held >= 18
    assert alone == 0


def test_of_one_attack_and_of_a_deterministic_victim_nothing_is_chosen() -> None:
    rng = generator(1)
    table = rng.binomial(10, 0.7, (3, 50))
    assert np.array_equal(stats.least_case(table[:1], table[1:2]), table[1])
    answers = 10 * rng.binomial(1, 0.7, (3, 50))
    right, least = stats.worst_case(answers, answers), stats.least_case(answers, answers)
    assert np.array_equal(right, least)
    assert stats.worst_interval(right, least, 10, generator()) == stats.accuracy_interval(right, 10, generator())


def test_worst_case_finds_an_attack_that_works() -> None:
    rng = generator(3)
    p = np.full((4, 500), 0.9)
    p[2] = 0.2
    assert stats.worst_case(rng.binomial(10, p), rng.binomial(10, p)).mean() / 10 == pytest.approx(0.2, abs=0.02)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_verdicts_are_ordered(counts: list[int]) -> None:
    right = np.array(counts)
    falling = [stats.any_fail(right, 20, m) for m in range(1, 21)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == pytest.approx(stats.single(right, 20))
    assert falling[-1] == pytest.approx((right == 20).mean())
    assert stats.single(right, 20) <= 1 - stats.always_wrong(right) + 1e-12


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
