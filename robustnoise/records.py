"""What an evaluation leaves behind: per-image counts, with everything that identifies them.

An `EvaluationRecord` has an identity (what was measured), an outcome (packed counts per image, from which every
statistic is computed) and a provenance (where and when). The digest of the identity names it; byte
identity covers identity and outcome.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnoise import stats
from robustnoise.errors import RowError
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of

Counts = npt.NDArray[np.uint16]

SCHEMA = 1
"""Of records and rows; a reader refuses a newer one by name."""
MAX_IMAGES = 10_000_000
"""A row that claims more is refused before it is unpacked."""


def pack(counts: Counts) -> str:
    """Counts as text: little-endian uint16, zlib, base64."""
    return base64.b64encode(zlib.compress(counts.astype("<u2").tobytes(), 9)).decode()


def unpack(text: str, n: int) -> Counts:
    """The inverse of `pack`, bounded to n counts.

    Raises:
        RowError: the text is damaged or holds another number of counts.
    """
    try:
        engine = zlib.decompressobj()
        # One byte more than expected shows that there is more, without unpacking a bomb.
        raw = engine.decompress(base64.b64decode(text, validate=True), 2 * n + 1)
    except (ValueError, TypeError, binascii.Error, zlib.error) as error:
        raise RowError(f"packed counts are damaged: {error}.") from None
    if len(raw) != 2 * n:
        raise RowError(f"packed counts hold {len(raw) / 2:g} or more images; expected {n}.")
    return np.frombuffer(raw, "<u2").astype(np.uint16)


@dataclass(frozen=True)
class Tally:
    """How often each image was answered rightly in repeated fresh draws.

    Args:
        right: (n,) counts, 0 to draws.
        abstained: (n,) counts of abstentions; they are wrong answers too.
        select: (n,) counts in as many further draws, which choose the worst attack; None for a deterministic victim.
        draws: how many.
    """

    right: Counts
    abstained: Counts
    select: Counts | None
    draws: int

    def to_json(self) -> dict[str, Any]:
        """Packed."""
        return {
            "draws": self.draws,
            "right": pack(self.right),
            "abstained": pack(self.abstained) if self.abstained.any() else None,
            "select": None if self.select is None else pack(self.select),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], n: int) -> Tally:
        """The inverse of `to_json`.

        Raises:
            RowError: damaged, or a count is larger than the number of draws.
        """
        draws = plain["draws"]
        right = unpack(plain["right"], n)
        abstained = np.zeros(n, np.uint16) if plain["abstained"] is None else unpack(plain["abstained"], n)
        select = None if plain["select"] is None else unpack(plain["select"], n)
        for name, counts in (("right", right), ("right + abstained", right + abstained), ("select", select)):
            if counts is not None and n and int(counts.max()) > draws:
                raise RowError(f"{name} counts go up to {int(counts.max())}, but there were {draws} draws.")
        return cls(right, abstained, select, draws)

    @property
    def accuracy(self) -> float:
        """Expected accuracy: the mean over images and draws (verdict ``single``)."""
        return stats.single(self.right, self.draws)

    def interval(self, rng: np.random.Generator) -> stats.Interval:
        """95 % interval of the accuracy, over images."""
        if self.draws == 1:
            return stats.wilson(int(self.right.sum()), len(self.right))
        return stats.mean_interval(self.right / self.draws, rng)


@dataclass(frozen=True)
class Arm:
    """One victim under one attack.

    Args:
        victim: name, defense, model, digest.
        stochastic: whether its answers are random.
        passes: forward passes an answer.
        clean: on the images as they are.
        adversarial: on the attack's images.
        queries: rows that this victim's oracle answered for the attack.
        agreement: share of validation images on which victim and substitute agree; None without a substitute.
    """

    victim: Mapping[str, Any]
    stochastic: bool
    passes: int
    clean: Tally
    adversarial: Tally
    queries: int
    agreement: float | None

    def to_json(self) -> dict[str, Any]:
        """The outcome part; `victim` belongs to the identity."""
        return {
            "stochastic": self.stochastic,
            "passes": self.passes,
            "clean": self.clean.to_json(),
            "adversarial": self.adversarial.to_json(),
            "queries": self.queries,
            "agreement": self.agreement,
        }

    @classmethod
    def from_json(cls, victim: Mapping[str, Any], plain: Mapping[str, Any], n: int) -> Arm:
        """The inverse of `to_json`."""
        return cls(
            victim,
            plain["stochastic"],
            plain["passes"],
            Tally.from_json(plain["clean"], n),
            Tally.from_json(plain["adversarial"], n),
            plain["queries"],
            plain["agreement"],
        )


REQUIRED = {
    "setting": ("data", "threat", "budget", "draws", "seed", "block", "identity"),
    "attack": ("name", "text", "scope", "null", "spec"),
    "victim": ("name", "text", "digest"),
}
"""What a row's identity must hold to be shown and ranked."""
ARMS = ("victim", "reference", "undefended")


@dataclass(frozen=True)
class EvaluationRecord:
    """A victim under an attack, beside its reference and the undefended net.

    Args:
        setting: data, threat, budget, draws, seed, ...: the same for every record of a run.
        attack: name, spec, scope.
        victim: the arm that the record is about.
        reference: what its delta is taken against; None where the victim is its own.
        undefended: the undefended net; None where the victim is it or there is none.
        outside: how far the attack's images were outside the ball before projection, pixels.
        provenance: commit, versions, hardware, time; outside of every digest.
    """

    setting: Mapping[str, Any]
    attack: Mapping[str, Any]
    victim: Arm
    reference: Arm | None
    undefended: Arm | None
    outside: float
    provenance: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Images."""
        return len(self.victim.clean.right)

    @property
    def identity(self) -> dict[str, Any]:
        """What was measured."""
        arms = {name: None if arm is None else dict(arm.victim) for name, arm in self._arms()}
        return {"setting": dict(self.setting), "attack": dict(self.attack), **arms}

    @property
    def outcome(self) -> dict[str, Any]:
        """What came out."""
        arms = {name: None if arm is None else arm.to_json() for name, arm in self._arms()}
        return {"n": self.n, "outside": self.outside, **arms}

    def _arms(self) -> list[tuple[str, Arm | None]]:
        return [(name, getattr(self, name)) for name in ARMS]

    @property
    def digest(self) -> str:
        """sha256 of the identity: the record's name."""
        return digest_of(self.identity)

    def to_json(self) -> dict[str, Any]:
        """The row file's content."""
        identity, outcome = self.identity, self.outcome
        return {
            "schema": SCHEMA,
            "digest": digest_of(identity),
            "outcome_digest": digest_of(outcome),
            "identity": identity,
            "outcome": outcome,
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> EvaluationRecord:
        """The inverse of `to_json`; checks schema, digests and counts.

        Raises:
            RowError: another schema, a digest that doesn't fit the content, or damaged counts.
        """
        try:
            schema = plain["schema"]
            if schema != SCHEMA:
                newer = isinstance(schema, int) and schema > SCHEMA
                advice = "Upgrade robustnoise." if newer else "The row was not written by robustnoise."
                raise RowError(f"schema {schema!r}; this version reads {SCHEMA}. {advice}")
            identity, outcome = plain["identity"], plain["outcome"]
            for what, content, claimed in (
                ("identity", identity, plain["digest"]),
                ("outcome", outcome, plain["outcome_digest"]),
            ):
                if digest_of(content) != claimed:
                    raise RowError(f"the {what} was changed after it was written: its digest doesn't fit.")
            n = outcome["n"]
            if not isinstance(n, int) or not 0 < n <= MAX_IMAGES:
                raise RowError(f"n = {n!r}: expected 1 to {MAX_IMAGES} images.")
            for part, keys in REQUIRED.items():
                missing = [k for k in keys if k not in identity[part]]
                if missing:
                    raise RowError(f"the {part} of the row lacks {', '.join(missing)}.")
            arms = {
                name: None if identity[name] is None else Arm.from_json(identity[name], outcome[name], n)
                for name in ARMS
            }
            if arms["victim"] is None:
                raise RowError("the row has no victim.")
            return cls(
                identity["setting"],
                identity["attack"],
                arms["victim"],
                arms["reference"],
                arms["undefended"],
                outcome["outside"],
                plain["provenance"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RowError(f"not a row of robustnoise: {type(error).__name__}: {error}.") from None

    def rng(self, *path: str) -> np.random.Generator:
        """The stream of resampling for this record's statistics."""
        return SeedStream(0, ("statistics", self.digest)).numpy(*path)

    def delta(self, against: str = "reference", on: str = "adversarial") -> stats.Delta | None:
        """Paired difference of accuracy, victim minus `against`, image by image; None where there is no such arm.

        Args:
            against: ``"reference"`` or ``"undefended"``.
            on: ``"adversarial"`` or ``"clean"``.
        """
        other: Arm | None = getattr(self, against)
        if other is None:
            return None
        mine: Tally = getattr(self.victim, on)
        theirs: Tally = getattr(other, on)
        return stats.paired_delta(mine.right, mine.draws, theirs.right, theirs.draws, self.rng("delta", against, on))

    @property
    def drop(self) -> stats.Delta:
        """Paired difference of the victim's accuracy, adversarial minus clean. For the null attack: the draws alone."""
        clean, adversarial = self.victim.clean, self.victim.adversarial
        return stats.paired_delta(adversarial.right, adversarial.draws, clean.right, clean.draws, self.rng("drop"))
