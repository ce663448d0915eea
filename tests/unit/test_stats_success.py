"""robustnoise.stats: attack success over initially right images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robustnoise import stats
from robustnoise.errors import BadParameter
from robustnoise.stats import resampling
from tests.unit.stats_boards import DRAWS
from tests.unit.stats_helpers import generator


def test_a_deterministic_victim_loses_a_share_of_what_it_had() -> None:
    clean, attacked = np.array([1, 1, 1, 1, 0, 0]), np.array([1, 0, 0, 0, 1, 0])
    found = stats.attack_success(clean, 1, attacked, 1, generator())
    assert found == (3 / 4, *stats.wilson(3, 4), 4.0)


def test_counts_of_a_deterministic_victim_in_many_draws_give_the_same_share() -> None:
    clean, attacked = np.array([1, 1, 1, 1, 0, 0]), np.array([1, 0, 0, 0, 1, 0])
    once = stats.attack_success(clean, 1, attacked, 1, generator())
    often = stats.attack_success(clean * 10, 10, attacked * 10, 10, generator())
    assert once is not None
    assert often is not None
    assert (often.estimate, often.initially) == (once.estimate, once.initially)


def test_the_attack_that_does_nothing_has_no_success_on_a_coin() -> None:
    rng, n = generator(1), 20_000
    clean, attacked = rng.binomial(10, 0.7, (2, n))
    found = stats.attack_success(clean, 10, attacked, 10, rng)
    assert found is not None
    assert abs(found.estimate) < 0.01
    assert found.low <= 0 <= found.high
    assert found.initially == pytest.approx(0.7 * n, rel=0.01)
    # The images that one draw has right would have shown regression to the mean: 30 % are wrong in the next.
    chosen = rng.random(n) < clean / 10
    assert (1 - attacked[chosen] / 10).mean() == pytest.approx(0.3, abs=0.03)


def test_a_total_loss_is_1_and_nothing_to_lose_is_none() -> None:
    clean = generator(2).binomial(10, 0.7, 100)
    found = stats.attack_success(clean, 10, np.zeros(100, int), 10, generator())
    assert found is not None
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert 0.9 < found.low < 1
    assert stats.attack_success(np.zeros(5, int), 1, np.ones(5, int), 1, generator()) is None
    assert stats.attack_success(np.eye(5, dtype=int)[0], 10, np.ones(5, int), 10, generator()) is None
    assert stats.attack_success(clean, 10, np.ones(100, int), 1, generator()) is None


def test_the_interval_covers_the_true_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 999)
    rng, boards, n = generator(3), 200, 200
    # Undecided images are right with chance u before and u^2 after: 1 - sum u^3 / sum u^2, others 0 of 1.
    truth = 0.3 * (1 / 3 - 1 / 4) / (0.7 + 0.3 / 3)
    held = 0
    for _ in range(boards):
        u = np.where(rng.random(n) < 0.3, rng.random(n), 1.0)
        found = stats.attack_success(rng.binomial(DRAWS, u), DRAWS, rng.binomial(DRAWS, u**2), DRAWS, rng)
        assert found is not None
        held += found.low <= truth <= found.high
    assert abs(held / boards - 0.95) < 4 * math.sqrt(0.95 * 0.05 / boards)


def test_the_interval_covers_where_hardly_an_image_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image in 1,000 is lost for good, two at times: of n = 1,000 often none of the first kind is met."""
    monkeypatch.setattr(resampling, "RESAMPLES", 999)
    rng, boards, n = generator(4), 200, 1_000
    held = 0
    for _ in range(boards):
        u = rng.random(n)
        attacked = rng.binomial(DRAWS, np.where(u < 0.001, 0.0, np.where(u < 0.003, 0.9, 1.0)))
        found = stats.attack_success(np.full(n, DRAWS), DRAWS, attacked, DRAWS, rng)
        assert found is not None
        held += found.low <= 0.0012 <= found.high
    assert held / boards > 0.95 - 4 * math.sqrt(0.95 * 0.05 / boards)


def test_images_are_paired() -> None:
    with pytest.raises(BadParameter, match="pair them by image id"):
        stats.attack_success(np.ones(3, int), 1, np.ones(4, int), 1, generator())
