"""What an evaluation leaves behind: per-image counts, with everything that identifies them.

An `EvaluationRecord` has an identity (what was measured), an outcome (packed counts per image, from which every
statistic is computed) and a provenance (where and when). The digest of the identity names it; byte
identity covers identity and outcome.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnoise import stats
from robustnoise.errors import RowError
from robustnoise.rowshape import check_shape
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of
from robustnoise.tally import Tally, pack, unpack

SCHEMA = 2
"""Of records and rows; a reader reads older ones and refuses a newer one by name.

2 added records without an attack and measured passes.
"""
MAX_IMAGES = 10_000_000
"""A row that claims more is refused before it is unpacked."""


@dataclass(frozen=True)
class Arm:
    """One victim under one attack, or on clean images alone.

    Args:
        victim: name, defense, model, digest.
        stochastic: whether its answers are random.
        passes: forward passes an answer; the most, where the victim stops earlier on some images.
        clean: on the images as they are.
        adversarial: on the attack's images; None without an attack.
        queries: rows that this victim's oracle answered for the attack.
        agreement: share of validation images on which victim and substitute agree, of random ones their most frequent
            answers in the scoring's number of draws; None without a substitute.
        claimed: (n,) whether the attack takes an image for misclassified; None where it claims nothing.
        curve: on the attack's images after so many queries for each image, by queries.
    """

    victim: Mapping[str, Any]
    stochastic: bool
    passes: int
    clean: Tally
    adversarial: Tally | None
    queries: int
    agreement: float | None
    claimed: npt.NDArray[np.bool_] | None = None
    curve: Mapping[int, Tally] = field(default_factory=dict)

    @property
    def scored(self) -> Tally:
        """What the record is about: the attack's images, or clean ones where there is no attack."""
        return self.clean if self.adversarial is None else self.adversarial

    def to_json(self) -> dict[str, Any]:
        """The outcome part; `victim` belongs to the identity."""
        return {
            "stochastic": self.stochastic,
            "passes": self.passes,
            "clean": self.clean.to_json(),
            "adversarial": None if self.adversarial is None else self.adversarial.to_json(),
            "queries": self.queries,
            "agreement": self.agreement,
            **({} if self.claimed is None else {"claimed": pack(self.claimed.astype(np.uint16))}),
            **({"curve": {str(k): v.to_json() for k, v in self.curve.items()}} if self.curve else {}),
        }

    @classmethod
    def from_json(cls, victim: Mapping[str, Any], plain: Mapping[str, Any], n: int) -> Arm:
        """The inverse of `to_json`.

        Rows of schema 1 hold select counts of clean images. Nothing ever used them and they aren't made any more; they
        are left out, so that a row made again is recognised as the same outcome.
        """
        adversarial = plain["adversarial"]
        return cls(
            victim,
            plain["stochastic"],
            plain["passes"],
            replace(Tally.from_json(plain["clean"], n), select=None),
            None if adversarial is None else Tally.from_json(adversarial, n),
            plain["queries"],
            plain["agreement"],
            None if "claimed" not in plain else unpack(plain["claimed"], n) > 0,
            {int(stop): Tally.from_json(tally, n) for stop, tally in plain.get("curve", {}).items()},
        )


ARMS = ("victim", "reference", "undefended")


def filed(identity: Mapping[str, Any], outcome: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a record's file."""
    return {
        "schema": SCHEMA,
        "digest": digest_of(identity),
        "outcome_digest": digest_of(outcome),
        "identity": identity,
        "outcome": outcome,
        "provenance": dict(provenance),
    }


def verified(plain: Mapping[str, Any], what: str) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Identity, outcome and number of images of a record's file, of which schema and digests fit.

    Args:
        plain: the content of the file.
        what: what it should be, for messages.

    Raises:
        RowError: another schema, or a digest that doesn't fit the content.
        KeyError, TypeError: something is missing, or no table.
    """
    schema = plain["schema"]
    if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        advice = "Upgrade robustnoise." if newer else f"The {what} was not written by robustnoise."
        raise RowError(f"schema {schema!r}; this version reads 1 to {SCHEMA}. {advice}")
    identity, outcome = plain["identity"], plain["outcome"]
    for part, content, claimed in (
        ("identity", identity, plain["digest"]),
        ("outcome", outcome, plain["outcome_digest"]),
    ):
        if digest_of(content) != claimed:
            raise RowError(f"the {part} was changed after it was written: its digest doesn't fit.")
    n = outcome["n"]
    if not isinstance(n, int) or not 0 < n <= MAX_IMAGES:
        raise RowError(f"n = {n!r}: expected 1 to {MAX_IMAGES} images.")
    return identity, outcome, n


SEAL = "seal"
"""The key of the digest over all else in a row's file, provenance included; older rows have none."""
KEYS = {"schema", "digest", "outcome_digest", "identity", "outcome", "provenance"}


def row_bytes(plain: Mapping[str, Any]) -> bytes:
    """A row's file from what `EvaluationRecord.to_json` gives."""
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def check_written(content: bytes) -> None:
    """Refuse a row's file that differs by a byte from what was written, be it outside of identity and outcome.

    Args:
        content: of a file whose row is read without an error.

    Raises:
        RowError: it differs.
    """
    plain = json.loads(content)
    if row_bytes(plain) != content:
        raise RowError("the file isn't written as robustnoise writes rows: it was changed after it was written.")
    seal = plain.pop(SEAL, None)
    if plain.keys() != KEYS or (seal is not None and seal != digest_of(plain)):
        raise RowError("the row was changed after it was written: its seal doesn't fit.")


HIDDEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\ud800-\\udfff]")
"""Characters that move a terminal's cursor, turn the direction of writing, or can't be seen."""


def _no_hidden(value: object) -> None:
    """Refuse texts that would do something where they are shown."""
    if isinstance(value, str):
        hidden = HIDDEN.search(value)
        if hidden is not None:
            raise RowError(f"a text of the row holds the invisible character U+{ord(hidden[0]):04X}.")
    elif isinstance(value, Mapping):
        for key, part in value.items():
            _no_hidden(key)
            _no_hidden(part)
    elif isinstance(value, list):
        for part in value:
            _no_hidden(part)


@dataclass(frozen=True)
class EvaluationRecord:
    """A victim under an attack or on clean images alone, beside its reference and the undefended net.

    Args:
        setting: data, threat, budget, draws, seed, ...: the same for every record of a run.
        attack: name, spec, scope; None for clean images alone.
        victim: the arm that the record is about.
        reference: what its delta is taken against; None where the victim is its own.
        undefended: the undefended net; None where the victim is it or there is none.
        outside: how far the attack's images were outside the ball before projection, pixels; None without an attack.
        provenance: commit, versions, hardware, time; outside of every digest.
    """

    setting: Mapping[str, Any]
    attack: Mapping[str, Any] | None
    victim: Arm
    reference: Arm | None
    undefended: Arm | None
    outside: float | None
    provenance: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Images."""
        return len(self.victim.clean.right)

    @property
    def scope(self) -> str | None:
        """That of the attack; None where nothing attacks."""
        return None if self.attack is None else self.attack["scope"]

    @property
    def identity(self) -> dict[str, Any]:
        """What was measured."""
        arms = {name: None if arm is None else dict(arm.victim) for name, arm in self._arms()}
        attack = None if self.attack is None else dict(self.attack)
        return {"setting": dict(self.setting), "attack": attack, **arms}

    @property
    def outcome(self) -> dict[str, Any]:
        """What came out."""
        arms = {name: None if arm is None else arm.to_json() for name, arm in self._arms()}
        return {"n": self.n, "outside": self.outside, **arms}

    def _arms(self) -> list[tuple[str, Arm | None]]:
        return [(name, getattr(self, name)) for name in ARMS]

    @cached_property
    def digest(self) -> str:
        """sha256 of the identity: the record's name."""
        return digest_of(self.identity)

    def to_json(self) -> dict[str, Any]:
        """The row file's content."""
        content = filed(self.identity, self.outcome, self.provenance)
        return {**content, SEAL: digest_of(content)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> EvaluationRecord:
        """The inverse of `to_json`; checks schema, digests and counts.

        Raises:
            RowError: another schema, a digest that doesn't fit the content, or damaged counts.
        """
        try:
            identity, outcome, n = verified(plain, "row")
            _no_hidden([identity, plain["provenance"]])
            check_shape(plain)
            arms = {
                name: None if identity[name] is None else Arm.from_json(identity[name], outcome[name], n)
                for name in ARMS
            }
            assert arms["victim"] is not None
            for name, arm in arms.items():
                if arm is not None and (arm.adversarial is None) != (identity["attack"] is None):
                    raise RowError(f"the {name} has adversarial counts without an attack, or an attack without counts.")
            return cls(
                identity["setting"],
                identity["attack"],
                arms["victim"],
                arms["reference"],
                arms["undefended"],
                outcome["outside"],
                plain["provenance"],
            )
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise RowError(f"not a row of robustnoise: {type(error).__name__}: {error}.") from None

    def rng(self, *path: str) -> np.random.Generator:
        """The stream of resampling for this record's statistics."""
        return SeedStream(0, ("statistics", self.digest)).numpy(*path)

    @property
    def scored(self) -> str:
        """Which images the record is about: ``"adversarial"``, or ``"clean"`` where there is no attack."""
        return "clean" if self.attack is None else "adversarial"

    def delta(self, against: str = "reference", on: str | None = None) -> stats.Delta | None:
        """Paired difference of accuracy, victim minus `against`, image by image; None where there is no such arm.

        Args:
            against: ``"reference"`` or ``"undefended"``.
            on: ``"adversarial"`` or ``"clean"``; None is what the record is about, `scored`.
        """
        on = on or self.scored
        other: Arm | None = getattr(self, against)
        mine: Tally | None = getattr(self.victim, on)
        theirs: Tally | None = None if other is None else getattr(other, on)
        if mine is None or theirs is None:
            return None
        return stats.paired_delta(mine.right, mine.draws, theirs.right, theirs.draws, self.rng("delta", against, on))

    @property
    def drop(self) -> stats.Delta | None:
        """Paired difference of the victim's accuracy, adversarial minus clean; None without an attack.

        For the null attack: the draws alone.
        """
        clean, adversarial = self.victim.clean, self.victim.adversarial
        if adversarial is None:
            return None
        return stats.paired_delta(adversarial.right, adversarial.draws, clean.right, clean.draws, self.rng("drop"))
