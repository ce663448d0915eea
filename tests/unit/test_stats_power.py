"""robustnoise.stats: what a number of images resolves, and when it is too few."""

from __future__ import annotations

import re

import numpy as np
import pytest

from robustnoise import stats
from robustnoise.errors import BadParameter
from tests.unit.stats_helpers import generator


def pair(only_a: int, only_b: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.ones(n, int), np.ones(n, int)
    b[:only_a] = 0
    a[only_a : only_a + only_b] = 0
    return a, b


def test_discordant_pairs_of_deterministic_victims_are_counted() -> None:
    a, b = pair(30, 12, 500)
    found = stats.resolution(a, 1, b, 1)
    assert (found.discordant, found.discordance, found.delta) == pytest.approx((42, 42 / 500, 18 / 500))
    assert found.smallest == stats.smallest_delta(500, 42 / 500)


def test_expected_discordant_pairs_of_stochastic_victims_are_unbiased() -> None:
    rng, p, q = generator(1), 0.9, 0.7
    a, b = rng.binomial(10, p, 20_000), rng.binomial(10, q, 20_000)
    expected = 20_000 * (p * (1 - q) + q * (1 - p))
    assert stats.resolution(a, 10, b, 10).discordant == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("only_a", "only_b", "n", "says"),
    [
        (9, 0, 100, "9 discordant pairs"),
        (0, 0, 100, "0 discordant pairs"),
        (10, 0, 100, None),
        (60, 20, 1000, None),
        (30, 28, 1000, "resolves deltas from 2.1 points on; the delta seen is .0.2 points"),
        (28, 30, 1000, "the delta seen is -0.2 points"),
    ],
)
def test_too_few_images_are_named(only_a: int, only_b: int, n: int, says: str | None) -> None:
    a, b = pair(only_a, only_b, n)
    found = stats.too_few(a, 1, b, 1)
    if says is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(says, found)


def test_more_draws_of_the_same_stochastic_victims_resolve_more() -> None:
    rng = generator(2)
    few, many = (stats.resolution(rng.binomial(r, 0.8, 2_000), r, rng.binomial(r, 0.7, 2_000), r) for r in (2, 20))
    assert many.smallest < few.smallest
    assert many.discordant == pytest.approx(few.discordant, rel=0.1)


def test_pairs_of_other_lengths_are_refused() -> None:
    with pytest.raises(BadParameter, match="pair them by image id"):
        stats.too_few(np.ones(3, int), 1, np.ones(4, int), 1)
