"""The covers are covers, small, and as legal as they are asked to be."""

from __future__ import annotations

from itertools import product

import pytest

from tests.contracts.covering import pairs_in, pairwise_cover


def test_pairs_of_a_sequence() -> None:
    assert pairs_in("abca") == {("a", "b"), ("a", "c"), ("a", "a"), ("b", "c"), ("b", "a"), ("c", "a")}
    assert pairs_in("a") == set()


def test_three_items_without_repeats_need_two_sequences() -> None:
    # A permutation and its reverse cover all ordered pairs, and one sequence can't.
    cover, hopeless = pairwise_cover("abc", lambda s: len(set(s)) == len(s), longest=3)
    assert len(cover) == 2
    assert cover[0] == cover[1][::-1]
    assert hopeless == {("a", "a"), ("b", "b"), ("c", "c")}


@pytest.mark.parametrize(("count", "longest"), [(2, 2), (5, 3), (8, 4), (11, 4)])
def test_everything_is_covered_by_few(count: int, longest: int) -> None:
    items = range(count)
    cover, hopeless = pairwise_cover(items, lambda _: True, longest=longest)
    assert not hopeless
    assert set().union(*map(pairs_in, cover)) == set(product(items, repeat=2))
    # A sequence of k items holds at most k (k - 1) / 2 pairs, so no cover is smaller than this.
    least = -(-(count**2) // (longest * (longest - 1) // 2))
    assert least <= len(cover) <= 1.6 * least
    assert cover == pairwise_cover(items, lambda _: True, longest=longest)[0]


def test_constraints_hold_and_what_they_forbid_is_named() -> None:
    """Items 0 and 1 lead, 2 needs one of them in front, 5 may not follow 4."""

    def legal(sequence: tuple[int, ...]) -> bool:
        leads = [i for i in sequence if i < 2]
        fine = len(leads) <= 1 and all(i < 2 for i in sequence[: len(leads)])
        return fine and (2 not in sequence or bool(leads)) and (4, 5) not in pairs_in(sequence)

    cover, hopeless = pairwise_cover(range(6), legal, longest=4)
    reachable = {p for n in (2, 3, 4) for s in product(range(6), repeat=n) if legal(s) for p in pairs_in(s)}
    assert all(map(legal, cover))
    assert set().union(*map(pairs_in, cover)) == reachable
    assert hopeless == set(product(range(6), repeat=2)) - reachable
    assert (4, 5) in hopeless
    assert (2, 3) in reachable
