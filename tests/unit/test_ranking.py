"""Worst cases are ranked with their ties."""

from __future__ import annotations

import numpy as np
import pytest

from robustnoise.records import EvaluationRecord
from robustnoise.report.ranking import Rank, ranks, worst_of
from robustnoise.report.tables import summary_table
from robustnoise.report.views import Summary, summary
from tests.unit.stats_helpers import generator
from tests.unit.toy_rows import row, tally

N = 400


def right(share: float, offset: int = 0) -> np.ndarray:
    """That share of the images, beginning at `offset`."""
    found = np.zeros(N, int)
    found[(np.arange(int(share * N)) + offset) % N] = 1
    return found


def board(**shares: float) -> list[EvaluationRecord]:
    return [row(name, "one", tally(right(share))) for name, share in shares.items()]


def by_name(records: list[EvaluationRecord], blocked: tuple[str, ...] = ()) -> dict[str, Summary]:
    return {s.victim: s for s in summary(records, blocked)}


def test_victims_that_differ_get_places_and_those_that_do_not_share_one() -> None:
    found = by_name(board(best=0.8, same=0.8, worse=0.5, little=0.495))
    assert found["best"].rank_shared == found["same"].rank_shared == Rank(1, 2)
    assert found["worse"].rank_shared == found["little"].rank_shared == Rank(3, 2)
    table = summary_table(list(found.values()))
    assert [line[table.head.index("rank shared")] for line in table.lines] == ["1=", "1=", "3=", "3="]


def test_a_group_is_told_by_its_leader_alone() -> None:
    # Each differs from the next by 5 pairs, all in one direction: too little; from the next but one by 10: enough.
    found = by_name([row(f"v{i}", "one", tally(right(0.8 - 5 / N * i))) for i in range(4)])
    assert [found[f"v{i}"].rank_shared for i in range(4)] == [Rank(1, 2)] * 2 + [Rank(3, 2)] * 2


def test_ranks_do_not_depend_on_the_order_of_the_rows() -> None:
    rng = generator(1)
    records = [row(f"v{i}", "one", tally(rng.binomial(10, 0.5 + 0.05 * (i // 2), (N)), 10)) for i in range(6)]
    worst = [worst_of([r]) for r in records]
    forth, back = ranks(worst), ranks(worst[::-1])[::-1]
    assert forth == back
    assert {r.place for r in forth} == {1, 3, 5}


def test_more_victims_ask_for_a_clearer_difference() -> None:
    two = board(a=0.8, b=0.8 - 8 / N)
    # Eight discordant pairs: the 95 % interval leaves 0 out, that of 1 in 15 pairs holds it.
    assert by_name(two)["b"].rank_shared == Rank(2, 1)
    many = two + board(**{f"v{i}": 0.2 for i in range(4)})
    assert by_name(many)["b"].rank_shared == Rank(1, 2)


def test_threat_models_are_ranked_apart() -> None:
    records = [
        *board(a=0.8, b=0.5),
        *(row(n, "asks", tally(right(s)), scope="per-victim") for n, s in (("a", 0.3), ("b", 0.7))),
    ]
    found = by_name(records)
    assert (found["a"].rank_shared, found["a"].rank_per_victim) == (Rank(1, 1), Rank(2, 1))
    assert (found["b"].rank_shared, found["b"].rank_per_victim) == (Rank(2, 1), Rank(1, 1))


def test_whoever_lacks_an_attack_or_is_blocked_is_listed_but_not_ranked() -> None:
    records = [*board(a=0.8, b=0.5, c=0.4), row("a", "two", tally(right(0.7))), row("b", "two", tally(right(0.45)))]
    found = by_name(records)
    assert found["c"].rank_shared is None
    assert found["c"].shared is not None
    assert (found["a"].rank_shared, found["b"].rank_shared) == (Rank(1, 1), Rank(2, 1))
    assert by_name(records, (records[0].digest,))["a"].rank_shared is None
    assert by_name(records, (records[0].digest,))["b"].rank_shared == Rank(1, 1)


@pytest.mark.parametrize(("scope", "ranked"), [("control", False), ("per-victim", True)])
def test_a_blocked_control_keeps_its_victim_out_of_every_ranking(scope: str, ranked: bool) -> None:
    blocked = row("a", "null", tally(right(0.9)), scope=scope)
    found = by_name([*board(a=0.8, b=0.5), blocked], (blocked.digest,))
    assert (found["a"].rank_shared is not None) == ranked


def test_seeds_are_ranked_apart() -> None:
    records = [row(n, "one", tally(right(s)), seed=seed) for seed in (0, 1) for n, s in (("a", 0.8), ("b", 0.5))]
    places = [(s.victim, s.seed, s.rank_shared.place) for s in summary(records) if s.rank_shared]
    assert sorted(places) == [("a", 0, 1), ("a", 1, 1), ("b", 0, 2), ("b", 1, 2)]
