"""Worst cases are ranked with their ties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robustnoise import stats
from robustnoise.flags import Raised
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


def by_name(records: list[EvaluationRecord], flags: dict[str, str] | None = None) -> dict[str, Summary]:
    """`flags`: one by digest of a row."""
    return {s.victim: s for s in summary(records, {k: [Raised(v, "")] for k, v in (flags or {}).items()})}


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


def test_a_random_victim_is_not_above_by_how_its_worst_attack_is_chosen() -> None:
    """One attack in three leaves 0.4 of an image, which two draws seldom find; the other victim has 0.4 right."""
    rng, records = generator(5), []
    for i, attack in enumerate(("one", "two", "three")):
        counts = rng.binomial(2, np.where(np.arange(N) % 3 == i, 0.4, 0.6), (2, N))
        records += [row("random", attack, tally(counts[0], 2, counts[1])), row("fixed", attack, tally(right(0.4)))]
    found, worst = by_name(records), worst_of([r for r in records if r.victim.victim["name"] == "random"])
    assert stats.accuracy_interval(worst.right, worst.draws, generator()).low > 0.4
    assert worst.interval().low < 0.4
    assert found["random"].rank_shared == found["fixed"].rank_shared == Rank(1, 2)


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
    assert found["c"].why_shared == "lacks two"
    blocked = by_name(records, {records[0].digest: "BLACKBOX_BEATS_WHITEBOX"})
    assert (blocked["a"].rank_shared, blocked["a"].why_shared) == (None, "BLACKBOX_BEATS_WHITEBOX")
    assert blocked["b"].rank_shared == Rank(1, 1)
    table = summary_table(list(blocked.values()))
    cells = [line[table.head.index("rank shared")] for line in table.lines]
    assert cells == ["no: BLACKBOX_BEATS_WHITEBOX", "1", "no: lacks two"]


def test_an_attack_that_does_nothing_to_anybody_changes_no_ranking() -> None:
    rng = generator(5)

    def noisy(name: str, attack: str, p: float) -> EvaluationRecord:
        return row(name, attack, tally(rng.binomial(10, p, N), 10, rng.binomial(10, p, N)))

    records = [noisy("a", "one", 0.8), noisy("b", "one", 0.6)]
    useless = [noisy("a", "nothing", 0.9), noisy("b", "nothing", 0.9)]
    assert by_name([*records, *useless], {r.digest: "CONTROL_AS_STRONG" for r in useless}) == by_name(records)
    assert by_name([*records, *useless]) != by_name(records)


def test_one_on_which_no_attack_does_more_than_noise_is_not_ranked_though_others_are() -> None:
    coin = row("coin", "one", tally(right(0.9)))
    flags = {coin.digest: "CONTROL_AS_STRONG"}
    found = by_name([*board(a=0.8, b=0.5), coin], flags)
    assert (found["coin"].rank_shared, found["coin"].why_shared) == (None, "CONTROL_AS_STRONG")
    assert (found["a"].rank_shared, found["b"].rank_shared) == (Rank(1, 1), Rank(2, 1))
    # With one that does more beside it, it is; the weak one counts for it as for the others.
    both = [row(n, "two", tally(right(s))) for n, s in (("a", 0.7), ("b", 0.45), ("coin", 0.3))]
    assert by_name([*board(a=0.8, b=0.5), coin, *both], flags)["coin"].rank_shared == Rank(3, 1)


def test_where_an_attack_leaves_the_undefended_net_as_it_is_nobody_is_ranked_by_it() -> None:
    records = board(net=0.9, a=0.8)
    found = by_name(records, {records[1].digest: "BASELINE_NOT_HURT"})
    assert [s.rank_shared for s in found.values()] == [None, None]


def handed_in(name: str, share: float, scope: str) -> EvaluationRecord:
    record = row(name, "theirs", tally(right(share)), scope=scope)
    assert record.attack is not None
    return replace(record, attack={**record.attack, "submitted": {}})


def test_images_handed_in_for_one_victim_change_no_ranking() -> None:
    records = [row(n, "asks", tally(right(s)), scope="per-victim") for n, s in (("a", 0.8), ("b", 0.5), ("c", 0.3))]
    before = by_name(records)
    assert by_name([*records, handed_in("a", 0.1, "per-victim")]) == before
    # For all of the board's victims they count; a defense that was handed in must have met them.
    everyone = [handed_in(n, s, "per-victim") for n, s in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    found = by_name([*records, *everyone])
    assert [found[n].rank_per_victim for n in "abc"] == [Rank(3, 1), Rank(2, 1), Rank(1, 1)]
    newcomer = row("d", "asks", tally(right(0.9)), scope="per-victim")
    mine = replace(newcomer.victim, victim={**newcomer.victim.victim, "submitted": {}})
    found = by_name([*records, *everyone, replace(newcomer, victim=mine)])
    assert (found["d"].why_per_victim, found["c"].rank_per_victim) == ("lacks theirs", Rank(1, 1))


def test_shared_images_that_were_handed_in_are_met_by_all() -> None:
    found = by_name([*board(a=0.8, b=0.5), handed_in("a", 0.1, "shared")])
    assert (found["b"].why_shared, found["a"].rank_shared) == ("lacks theirs", Rank(1, 1))


@pytest.mark.parametrize(("scope", "ranked"), [("control", False), ("per-victim", True)])
def test_a_blocked_control_keeps_its_victim_out_of_every_ranking(scope: str, ranked: bool) -> None:
    blocked = row("a", "null", tally(right(0.9)), scope=scope)
    found = by_name([*board(a=0.8, b=0.5), blocked], {blocked.digest: "NULL_CONTROL_DROPS"})
    assert (found["a"].rank_shared is not None) == ranked


def test_an_audit_that_finds_attacks_as_weak_as_noise_speaks_of_the_victim() -> None:
    # Rows' own flag is never on a control: there it is the audit's.
    control = row("a", "noise", tally(right(0.9)), scope="control")
    assert by_name([*board(a=0.8), control], {control.digest: "CONTROL_AS_STRONG"})["a"].rank_shared is None


def test_seeds_are_ranked_apart() -> None:
    records = [row(n, "one", tally(right(s)), seed=seed) for seed in (0, 1) for n, s in (("a", 0.8), ("b", 0.5))]
    places = [(s.victim, s.seed, s.rank_shared.place) for s in summary(records) if s.rank_shared]
    assert sorted(places) == [("a", 0, 1), ("a", 1, 1), ("b", 0, 2), ("b", 1, 2)]
