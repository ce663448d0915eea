"""What an audit leaves behind: the per-image counts of every rung of the ladder on one victim.

Like an `EvaluationRecord` it has an identity (what was measured), an outcome (packed counts, from which every check
is computed) and a provenance; its digest names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustnoise import stats
from robustnoise.errors import RowError
from robustnoise.records import filed, verified
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of
from robustnoise.tally import Tally

ROLES = ("null", "control", "transfer", "query", "white-box", "steps", "draws", "eps", "noise-off", "baseline")
"""Rungs, then the first white-box attack again: with twice the steps, with twice the draws, at other radii, on the
victim's net with its noise off, on the baseline."""
BLACK_BOX = ("transfer", "query")
WHITE_BOX = ("white-box", "steps", "draws")
REQUIRED = {
    "setting": ("data", "threat", "draws", "seed", "block", "identity"),
    "victim": ("name", "text", "defense", "digest"),
}
LOOK = ("flat", "coupled", "asked")
"""Counts of images in a look; None where they couldn't be taken."""


@dataclass(frozen=True)
class Measure:
    """One attack of an audit.

    Args:
        role: one of `ROLES`.
        attack: name, text and spec.
        eps: the radius, in the audit's norm.
        tally: right answers on the attack's images; None where it could not be done.
        impossible: why it could not; None where it was.
    """

    role: str
    attack: Mapping[str, Any]
    eps: float
    tally: Tally | None
    impossible: str | None = None

    @property
    def label(self) -> str:
        """For sentences."""
        again = {"steps": ", twice the steps", "draws": ", twice the draws", "eps": f" at eps {self.eps:.4g}"}
        return f"{self.attack['name']}{again.get(self.role, '')}"


@dataclass(frozen=True)
class AuditRecord:
    """The ladder of one victim.

    Args:
        setting: data, threat, draws, seed, ...
        victim: name, defense, text, model, digest.
        baseline: the same of the adversarially trained net to compare with; None without one.
        look: what was seen before the attacks: ``shows``, ``closed``, ``flat``, ``coupled``, ``asked``.
        stochastic: whether the victim's answers are random.
        passes: forward passes of an answer.
        clean: right answers on the images as they are.
        measures: the rungs.
        provenance: commit, versions, hardware, time; outside of every digest.
    """

    setting: Mapping[str, Any]
    victim: Mapping[str, Any]
    baseline: Mapping[str, Any] | None
    look: Mapping[str, Any]
    stochastic: bool
    passes: int
    clean: Tally
    measures: tuple[Measure, ...]
    provenance: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Images."""
        return len(self.clean.right)

    @property
    def eps(self) -> float:
        """The radius that the audit is about."""
        eps: float = self.setting["threat"]["eps"]
        return eps

    @property
    def identity(self) -> dict[str, Any]:
        """What was measured."""
        return {
            "audit": 1,
            "setting": dict(self.setting),
            "victim": dict(self.victim),
            "baseline": None if self.baseline is None else dict(self.baseline),
            "ladder": [{"role": m.role, "attack": dict(m.attack), "eps": m.eps} for m in self.measures],
        }

    @property
    def outcome(self) -> dict[str, Any]:
        """What came out."""
        return {
            "n": self.n,
            "look": dict(self.look),
            "stochastic": self.stochastic,
            "passes": self.passes,
            "clean": self.clean.to_json(),
            "ladder": [{"impossible": m.impossible} if m.tally is None else m.tally.to_json() for m in self.measures],
        }

    @property
    def digest(self) -> str:
        """sha256 of the identity: the record's name."""
        return digest_of(self.identity)

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return filed(self.identity, self.outcome, self.provenance)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> AuditRecord:
        """The inverse of `to_json`; checks schema, digests and counts.

        Raises:
            RowError: another schema, a digest that doesn't fit the content, or damaged counts.
        """
        try:
            identity, outcome, n = verified(plain, "audit")
            if identity["audit"] != 1:
                raise RowError(f"audit {identity['audit']!r}; this version reads 1. Upgrade robustnoise.")
            for part, keys in REQUIRED.items():
                missing = [k for k in keys if k not in identity[part]]
                if missing:
                    raise RowError(f"the {part} of the audit lacks {', '.join(missing)}.")
            found = cls(
                identity["setting"],
                identity["victim"],
                identity["baseline"],
                outcome["look"],
                outcome["stochastic"],
                outcome["passes"],
                Tally.from_json(outcome["clean"], n),
                tuple(_measures(identity["ladder"], outcome["ladder"], n)),
                plain["provenance"],
            )
            found.check()
            return found
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RowError(f"not an audit of robustnoise: {type(error).__name__}: {error}.") from None

    def check(self) -> None:
        """Refuse what no audit writes and no check could read.

        Raises:
            RowError: with what is wrong.
            KeyError, TypeError: something is missing, or of another type.
        """
        threat, data, look = self.setting["threat"], self.setting["data"], self.look
        if not (isinstance(threat["norm"], str) and threat["eps"] > 0):
            raise RowError(f"the setting of the audit has no ball: {threat!r}.")
        if not (isinstance(data["name"], str) and data["classes"] > 1):
            raise RowError(f"the setting of the audit has no data of two or more classes: {data['name']!r}.")
        for key in LOOK:
            if look[key] is not None and not (isinstance(look[key], int) and 0 <= look[key] <= self.n):
                raise RowError(f"look: {key} = {look[key]!r}: expected 0 to {self.n} images.")
        if (look["flat"] is None) != isinstance(look["closed"], str):
            raise RowError(f"look: flat = {look['flat']!r} and closed = {look['closed']!r} contradict each other.")
        for m in self.measures:
            if not (isinstance(m.attack["name"], str) and isinstance(m.attack["text"], str) and m.eps > 0):
                raise RowError(f"a rung of the audit has no name, text or radius: {dict(m.attack)!r}.")
            own = m.role not in ("noise-off", "baseline")
            if own and m.tally is not None and m.tally.draws != self.clean.draws:
                raise RowError(f"{m.label}: {m.tally.draws} draws, but {self.clean.draws} on clean images.")

    def rng(self, *path: str) -> np.random.Generator:
        """The stream of resampling for this record's statistics."""
        return SeedStream(0, ("statistics", self.digest)).numpy(*path)

    def done(self, *roles: str) -> list[Measure]:
        """The measures of those roles that could be done, in the order of the ladder."""
        return [m for m in self.measures if m.role in roles and m.tally is not None]

    def why_not(self, *roles: str) -> str:
        """Why no measure of those roles could be done."""
        reasons = [m.impossible for m in self.measures if m.role in roles and m.impossible]
        return reasons[0] if reasons else f"the ladder has no attack for it ({', '.join(roles)})."

    def worst(self, measures: list[Measure]) -> stats.Floats:
        """(n,) right counts under the worst of `measures` (one or more), chosen and counted on different draws."""
        return stats.worst_case(*_halves(measures))

    def least(self, measures: list[Measure]) -> stats.Floats:
        """The same if the worst attack of an image is chosen on the draws that it is counted on."""
        return stats.least_case(*_halves(measures))


def _halves(measures: list[Measure]) -> tuple[list[stats.Counts], list[stats.Counts]]:
    tallies = [m.tally for m in measures if m.tally is not None]
    return [t.right if t.select is None else t.select for t in tallies], [t.right for t in tallies]


def _measures(ladder: list[Mapping[str, Any]], counts: list[Mapping[str, Any]], n: int) -> Iterator[Measure]:
    for what, found in zip(ladder, counts, strict=True):
        if what["role"] not in ROLES:
            raise RowError(f"role {what['role']!r}: expected one of {', '.join(ROLES)}.")
        reason = found.get("impossible")
        tally = None if reason is not None else Tally.from_json(found, n)
        yield Measure(what["role"], what["attack"], what["eps"], tally, reason)
