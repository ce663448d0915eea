"""robustnoise.stats: whether two sets of draws are of the same chances."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from robustnoise import stats
from robustnoise.errors import BadParameter
from robustnoise.stats import again
from tests.unit.stats_helpers import generator


def test_the_spreads_are_those_of_all_orders_of_the_draws() -> None:
    """Three images of two and two draws, each with two right of four: every order of every image's draws, counted."""
    orders = [(0, 2), (2, 0), *[(1, 1)] * 4]
    a, b = np.array([2, 2, 1]), np.array([0, 0, 1])
    found = [np.array([x - y for x, y in case]) / 2 for case in product(orders, repeat=3)]
    means = np.mean([abs(d.sum()) >= abs((a - b).sum() / 2) for d in found])
    squares = np.mean([(d**2).sum() >= (((a - b) / 2) ** 2).sum() for d in found])
    expected = 2 * min(means, squares)
    assert stats.same_chances(a, 2, b, 2, generator(1)) == pytest.approx(expected, abs=0.01)


def test_equal_chances_are_seldom_refused_and_moved_answers_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "SPREADS", 1_999)
    rng, boards = generator(2), 60
    p = np.where(rng.random(200) < 0.3, rng.random(200), 1.0)
    found = [stats.same_chances(rng.binomial(10, p), 10, rng.binomial(5, p), 5, rng) for _ in range(boards)]
    assert np.mean(np.array(found) < 0.1) < 0.1 + 4 * np.sqrt(0.09 / boards)
    right = rng.binomial(10, p)
    assert stats.same_chances(right, 10, rng.permutation(right), 10, rng) == 2 / 2_000


def test_draws_without_noise_say_nothing() -> None:
    right = np.array([0, 10, 10])
    assert stats.same_chances(right, 10, right, 10, generator(3)) == 1.0
    with pytest.raises(BadParameter, match="pair them"):
        stats.same_chances(right, 10, right[:2], 10, generator(3))


def test_thousands_of_draws_are_counted_too() -> None:
    """Their binomial coefficients are beyond floats, in either way of spreading."""
    rng = generator(4)
    for images, draws in ((3, 10_000), (700, 600)):
        p = np.full(images, 0.999)
        right = rng.binomial(draws, p)
        assert stats.same_chances(right, draws, rng.binomial(draws, p), draws, rng) > 0.01
        assert stats.same_chances(right, draws, right - right // 2, draws, rng) < 0.001
