"""The contrasts of a board, checked: every name leads somewhere, and no two are the same."""

from __future__ import annotations

from collections.abc import Sequence

from robustnoise.board.file import ContrastPart
from robustnoise.errors import BadBoard, did_you_mean
from robustnoise.harness.experiment import Attack
from robustnoise.report.contrasts import Contrast

CLEAN = "clean"
WORST = {"worst-shared": "shared", "worst-per-victim": "per-victim"}


def declared(
    parts: Sequence[ContrastPart], victims: Sequence[str], attacks: Sequence[Attack], origin: str
) -> tuple[Contrast, ...]:
    """The contrasts, each with the attacks that it is about.

    Args:
        parts: as written.
        victims: names of the listed ones.
        attacks: of the board.
        origin: for messages.

    Raises:
        BadBoard: with file and key.
    """
    found: list[Contrast] = []
    for i, part in enumerate(parts):
        where = f"{origin}: contrasts.{i}"
        for key, name in (("victim", part.victim), ("against", part.against)):
            if name not in victims:
                raise BadBoard(f"{where}.{key}: {name!r} is none of the listed victims.{did_you_mean(name, victims)}")
        if part.victim == part.against:
            raise BadBoard(f"{where}.against: {part.against!r} is the victim itself; name another one.")
        contrast = Contrast(part.victim, part.against, part.on, _attacks(part.on, attacks, where), part.margin)
        if any({c.victim, c.against} == {part.victim, part.against} and c.on == part.on for c in found):
            raise BadBoard(f"{where}: the same two victims on {part.on!r} are declared already; leave one out.")
        found.append(contrast)
    return tuple(found)


def _attacks(on: str, attacks: Sequence[Attack], where: str) -> tuple[str, ...]:
    """Names of the attacks that `on` stands for."""
    if on == CLEAN:
        return ()
    if on in WORST:
        names = tuple(a.name for a in attacks if a.scope == WORST[on])
        if not names:
            raise BadBoard(f"{where}.on: the board has no {WORST[on]} attack that {on!r} could stand for.")
        return names
    ranked = [a.name for a in attacks if a.scope != "audit"]
    if on not in ranked:
        known = [CLEAN, *WORST, *ranked]
        raise BadBoard(
            f"{where}.on: {on!r} is none of {', '.join(known)}; audits are never ranked.{did_you_mean(on, known)}"
        )
    return (on,)
