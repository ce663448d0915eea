"""Rows of several seeds: what a report says of their variance."""

from __future__ import annotations

import numpy as np
import pytest

from robustnoise import stats
from robustnoise.report.statistics import resolution_notes, variance_table, verdict_tables
from robustnoise.report.variance import variance_views
from robustnoise.report.views import row_view
from tests.unit.stats_helpers import generator
from tests.unit.toy_rows import row, tally


def counts(seed: int) -> np.ndarray:
    return generator(seed).binomial(10, 0.8, 200)


def test_seeds_that_change_weights_and_attack_together_tell_their_sum() -> None:
    rows = [row("a", "one", tally(counts(s), 10), seed=s, digest=f"w{s}") for s in range(3)]
    (view,) = variance_views(rows)
    assert view.seeds == 3
    assert (view.split.training, view.split.attack) == (None, None)
    assert view.split.seeds is not None
    table = variance_table([view])
    assert "SD of both seeds" in table.head
    assert not {"SD of attack seed", "SD of training seed"} & set(table.head)


def test_weights_that_stay_tell_the_attack_and_an_attack_that_does_nothing_the_training() -> None:
    fixed = [row("a", "one", tally(counts(s), 10), seed=s) for s in range(3)]
    trained = [row("b", "null", tally(counts(s), 10), seed=s, digest=f"w{s}", scope="control") for s in range(3)]
    clean = [row("c", None, tally(counts(s), 10), seed=s, digest=f"w{s}") for s in range(3)]
    attack, training, nothing = (v.split for v in variance_views([*fixed, *trained, *clean]))
    assert attack.attack is not None
    assert attack.training is None
    for split in (training, nothing):
        assert split.training is not None
        assert (split.attack, split.seeds) == (None, None)
    assert attack == stats.variance_split([stats.Repeat(counts(s), 10, True, "w", s) for s in range(3)])


def test_one_seed_or_other_images_show_nothing() -> None:
    assert variance_views([row("a", "one", tally(counts(0), 10))]) == []
    other = row("a", "one", tally(counts(1), 10), seed=1)
    other.setting["data"]["digest"] = "other"  # type: ignore[index]
    assert variance_views([row("a", "one", tally(counts(0), 10)), other]) == []


def test_verdicts_of_clean_images_stand_beside_those_of_the_attacks() -> None:
    rng = generator(3)
    clean, attacked = tally(rng.binomial(20, 0.9, 100), 20), tally(rng.binomial(20, 0.6, 100), 20)
    rows = [row_view(row("a", name, attacked, clean=clean), ranked=True) for name in ("one", "two")]
    (table,) = verdict_tables(rows)
    assert table.head == ("victim", "images of", "n", "draws", "single", "any_fail_5", "any_fail_20", "always_wrong")
    assert [line[1] for line in table.lines] == ["clean", "one", "two"]
    assert table.lines[0][5] == f"{100 * stats.any_fail(clean.right, 20, 5):.1f}"
    assert list(verdict_tables([row_view(row("a", "one", tally(np.ones(5))), ranked=True)])) == []


def test_any_fail_100_is_shown_where_there_are_100_draws() -> None:
    right = generator(4).binomial(100, 0.99, 50)
    (table,) = verdict_tables([row_view(row("a", None, tally(right, 100)), ranked=True)])
    assert "any_fail_100" in table.head


@pytest.mark.parametrize("n", [200, 1000])
def test_a_board_says_what_its_images_resolve(n: int) -> None:
    (note,) = resolution_notes([row_view(row("a", None, tally(np.ones(n))), ranked=True)])
    assert note.startswith(f"n = {n} resolves")
    assert f"{100 * stats.smallest_delta(n, 0.05):.2f} points at 5 %" in note  # type: ignore[operator]
