"""Suspicions about a row, as data: what raises each, what it means, what to do."""

from __future__ import annotations

from typing import NamedTuple

from robustnoise.records import EvaluationRecord


class Flag(NamedTuple):
    """A kind of suspicion.

    Args:
        raised_if: the test, with its threshold.
        means: what it says of the row.
        do: what to do about it.
        blocks: whether a row with it is listed, but not ranked.
    """

    raised_if: str
    means: str
    do: str
    blocks: bool


class Raised(NamedTuple):
    """A flag on a row, with the numbers that raised it in a sentence."""

    flag: str
    text: str


FLAGS: dict[str, Flag] = {
    "RANDOMISED": Flag(
        raised_if="the victim's answers are random",
        means="Gradient-free attacks fail against noise without the model being robust.",
        do="Read it beside attacks that average over the noise, and beside any_fail_m.",
        blocks=False,
    )
}


def raised(record: EvaluationRecord) -> tuple[Raised, ...]:
    """The flags of a row.

    Args:
        record: the row.
    """
    found = []
    if record.victim.stochastic:
        found.append(Raised("RANDOMISED", f"scored in {record.victim.scored.draws} fresh draws."))
    return tuple(found)
