"""Few sequences that hold every ordered pair of items: a sequence covering array of strength 2 with constraints.

A pair (a, b) is covered by a sequence in which a stands somewhere before b. The smallest cover is hard to find; this is
the usual greedy construction (one sequence at a time, each as good as can be found; Kuhn, Higdon, Lawrence, Kacker &
Lei 2012, "Combinatorial methods for event sequence testing", ICST), with sequences of bounded length and a test of what
is legal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import TypeVar

T = TypeVar("T")
Pair = tuple[T, T]


def pairs_in(sequence: Sequence[T]) -> set[Pair[T]]:
    """Every (earlier, later) of a sequence."""
    return set(combinations(sequence, 2))


def pairwise_cover(
    items: Sequence[T], legal: Callable[[tuple[T, ...]], bool], *, longest: int
) -> tuple[list[tuple[T, ...]], set[Pair[T]]]:
    """Legal sequences that hold every pair which any legal sequence of at most `longest` items holds.

    A pair that isn't legal alone is looked for in sequences with one item more, such as one that must lead.

    Args:
        items: what sequences are made of; the result depends on their order alone.
        legal: whether a sequence may be made; called with each sequence at most once.
        longest: items of a sequence, at least 2.

    Returns:
        The sequences, and the pairs that no legal sequence holds.
    """
    known: dict[tuple[T, ...], bool] = {}

    def allowed(sequence: tuple[T, ...]) -> bool:
        if sequence not in known:
            known[sequence] = legal(sequence)
        return known[sequence]

    def grown(sequence: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
        """Every legal sequence with one item more."""
        for item in items:
            for place in range(len(sequence) + 1):
                longer = (*sequence[:place], item, *sequence[place:])
                if allowed(longer):
                    yield longer

    def start(pair: Pair[T]) -> tuple[T, ...] | None:
        return pair if allowed(pair) else next(grown(pair), None) if longest > 2 else None

    starts = {(a, b): start((a, b)) for a in items for b in items}
    hopeless = {pair for pair, found in starts.items() if found is None}
    left = {pair: found for pair, found in starts.items() if found is not None}
    cover: list[tuple[T, ...]] = []
    while left:
        sequence = next(iter(left.values()))
        while len(sequence) < longest:
            better = max(grown(sequence), key=lambda s: len(pairs_in(s) & left.keys()), default=sequence)
            if len(pairs_in(better) & left.keys()) == len(pairs_in(sequence) & left.keys()):
                break
            sequence = better
        cover.append(sequence)
        for pair in pairs_in(sequence):
            left.pop(pair, None)
    return cover, hopeless
