"""robustnoise.stats: the split of a variance into images, draws and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from robustnoise import stats
from robustnoise.errors import BadParameter
from robustnoise.stats import Repeat
from tests.unit.stats_helpers import generator


def repeats(cells: list[tuple[int, int]], sd: dict[str, float], rng: np.random.Generator, n: int) -> list[Repeat]:
    """Right counts of 20 draws: a chance of 0.6 + image + training + attack."""
    image = rng.normal(0, sd["image"], n)
    training, attack = (rng.normal(0, sd[k], 100) for k in ("training", "attack"))
    found = []
    for t, a in cells:
        p = np.clip(0.6 + image + training[t] + attack[a], 0, 1)
        found.append(Repeat(rng.binomial(20, p), 20, True, t, a))
    return found


def test_a_crossed_design_tells_every_part() -> None:
    rng, n, sd = generator(1), 800, {"image": 0.1, "training": 0.03, "attack": 0.02}
    cells = [(t, a) for t in range(6) for a in range(6)]
    splits = [stats.variance_split(repeats(cells, sd, rng, n)) for _ in range(10)]
    mean = {k: np.mean([getattr(s, k) for s in splits]) for k in stats.VarianceSplit._fields}
    assert mean["images"] == pytest.approx(0.1**2 / n, rel=0.1)
    assert mean["draws"] == pytest.approx((0.6 * 0.4 - 0.1**2) / 20 / n, rel=0.05)
    assert mean["training"] == pytest.approx(0.03**2, rel=0.5)
    assert mean["attack"] == pytest.approx(0.02**2, rel=0.5)
    assert mean["seeds"] == pytest.approx(0.03**2 + 0.02**2, rel=0.5)


def test_what_no_two_repeats_tell_apart_is_none() -> None:
    rng, sd = generator(2), {"image": 0.1, "training": 0.03, "attack": 0.02}
    confounded = stats.variance_split(repeats([(0, 0), (1, 1), (2, 2)], sd, rng, 500))
    assert (confounded.training, confounded.attack) == (None, None)
    assert confounded.seeds is not None
    assert confounded.seeds > 0
    weights = stats.variance_split(repeats([(0, 0), (1, 0), (2, 0)], sd, rng, 500))
    assert (weights.attack, weights.seeds) == (None, None)
    assert weights.training is not None
    one = stats.variance_split(repeats([(0, 0)], sd, rng, 500))
    assert one[2:] == (None, None, None)
    assert one.images is not None
    assert one.images > 0


def test_a_single_draw_tells_nothing_of_the_draws_unless_the_victim_is_deterministic() -> None:
    right = generator(3).binomial(1, 0.8, (2, 300))
    noisy = stats.variance_split([Repeat(right[0], 1, True, 0, 0), Repeat(right[1], 1, True, 1, 0)])
    assert (noisy.draws, noisy.training, noisy.seeds) == (None, None, None)
    fixed = stats.variance_split([Repeat(right[0], 1, False, 0, 0), Repeat(right[1], 1, False, 1, 0)])
    assert fixed.draws == 0
    assert fixed.training == pytest.approx(np.var(right.mean(axis=1), ddof=1))
    alone = stats.variance_split([Repeat(right[0], 1, False, 0, 0)])
    assert alone.images == pytest.approx(right[0].var(ddof=1) / 300)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no repeats"),
        ([Repeat(np.ones(3, int), 1, False, 0, 0)] * 2, "same training and attack"),
        ([Repeat(np.ones(3, int), 1, False, 0, 0), Repeat(np.ones(4, int), 1, False, 1, 0)], r"\[3, 4\] images"),
        ([Repeat(np.ones(1, int), 1, False, 0, 0)], r"\[1\] images"),
    ],
)
def test_bad_repeats_are_refused(given: list[Repeat], message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        stats.variance_split(given)
