"""Which attacks a ranking is over, who takes part in it, and why somebody doesn't."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from robustnoise.flags import FLAGS, OF_ATTACKS, Raised
from robustnoise.records import EvaluationRecord
from robustnoise.report.ranking import Rank, Worst, ranks, worst_of
from robustnoise.spec import digest_of

Rows = Sequence[EvaluationRecord]
Flags = Mapping[str, Sequence[Raised]]
"""Those of rows, by digest."""


class Standing(NamedTuple):
    """A victim in the ranking of a scope.

    Args:
        worst: over the attacks that the ranking is over; None where it met none.
        rank: among the victims of its setting; None where it isn't ranked.
        why: it isn't; empty where it is, or has no row of the scope.
    """

    worst: Worst | None
    rank: Rank | None
    why: str


def standings(groups: Sequence[Rows], scope: str, flags: Flags) -> list[Standing]:
    """How victims stand under the attacks of `scope`, those of one setting among themselves.

    A worst case means the same for all that are ranked together, so it is over the same attacks (`_counting`), and who
    lacks one of them isn't ranked. Neither is a victim that a blocking flag speaks against, or on which no attack does
    more than noise: its number says nothing about it. A weak attack alone keeps nobody out, since it makes no worst
    case look better.

    Args:
        groups: the rows of each victim.
        scope: ``"shared"`` or ``"per-victim"``.
        flags: raised on the rows.
    """
    found: dict[int, Standing] = {}
    settings = [digest_of(rows[0].setting) for rows in groups]
    for setting in dict.fromkeys(settings):
        here = {i: groups[i] for i in range(len(groups)) if settings[i] == setting}
        found |= _standings(here, scope, flags)
    return [found[i] for i in range(len(groups))]


def _standings(groups: Mapping[int, Rows], scope: str, flags: Flags) -> dict[int, Standing]:
    met = {i: {_key(r): r for r in rows if r.scope == scope} for i, rows in groups.items()}
    counting = _counting(met.values(), flags)
    found = {}
    for i, rows in groups.items():
        counted = [r for key, r in met[i].items() if key in counting] or list(met[i].values())
        why = _why_not(rows, met[i], counting, scope, flags) if counted else ""
        found[i] = Standing(worst_of(counted) if counted else None, None, why)
    ranked = {i: s.worst for i, s in found.items() if s.worst is not None and not s.why}
    places = dict(zip(ranked, ranks(list(ranked.values())), strict=True))
    return {i: s._replace(rank=places.get(i)) for i, s in found.items()}


def _counting(victims: Collection[Mapping[str, EvaluationRecord]], flags: Flags) -> dict[str, str]:
    """The names of the attacks that a ranking is over, by key.

    Not those that do no more than noise to every victim or leave the undefended net as it is. Images that were handed
    in for single victims count where they were for each of the board's own: else one file for one victim would keep all
    others out, or lower that one alone.
    """
    rows: dict[str, list[EvaluationRecord]] = {}
    for met in victims:
        for key, record in met.items():
            rows.setdefault(key, []).append(record)
    strong = {key: found for key, found in rows.items() if not _weak(found, flags)}
    own = {key for key, found in strong.items() if not _submitted(found[0])}
    entrants = [met for met in victims if own <= met.keys() and not any(_newcomer(r) for r in met.values())]
    return {
        key: found[0].attack["name"]
        for key, found in strong.items()
        if found[0].attack is not None
        and (key in own or found[0].scope == "shared" or all(key in met for met in entrants))
    }


def _weak(rows: Iterable[EvaluationRecord], flags: Flags) -> bool:
    """Whether an attack is, by all of its rows."""
    raised = [_names(r, flags) for r in rows]
    return any("BASELINE_NOT_HURT" in names for names in raised) or all("CONTROL_AS_STRONG" in n for n in raised)


def _why_not(
    rows: Rows, met: Mapping[str, EvaluationRecord], counting: Mapping[str, str], scope: str, flags: Flags
) -> str:
    against = against_victim([r for r in rows if r.scope in (scope, "control")], flags)
    if against:
        return against
    weak = says_nothing([r for key, r in met.items() if key in counting] or list(met.values()), flags)
    if weak or not counting:
        return weak or "no attack counts"
    lacking = [name for key, name in counting.items() if key not in met]
    return f"lacks {lacking[0]}" if lacking else ""


def against_victim(rows: Iterable[EvaluationRecord], flags: Flags) -> str:
    """The first blocking flag that speaks against the victim of `rows`; empty for none."""
    for record in rows:
        # On a control it can only be the audit's, which speaks of all attacks on the victim.
        of_attack = () if record.scope == "control" else OF_ATTACKS
        for name in _names(record, flags):
            if FLAGS[name].blocks and name not in of_attack:
                return name
    return ""


def says_nothing(rows: Sequence[EvaluationRecord], flags: Flags) -> str:
    """The flag for which none of the attacks of `rows` says anything; empty where one does."""
    weak = [[name for name in _names(r, flags) if name in OF_ATTACKS] for r in rows]
    return weak[0][0] if all(weak) and weak else ""


def _names(record: EvaluationRecord, flags: Flags) -> list[str]:
    return [raised.flag for raised in flags.get(record.digest, ())]


def _submitted(record: EvaluationRecord) -> bool:
    return record.attack is not None and "submitted" in record.attack


def _newcomer(record: EvaluationRecord) -> bool:
    return "submitted" in record.victim.victim


def _key(record: EvaluationRecord) -> str:
    assert record.attack is not None
    return digest_of(record.attack["spec"])
