"""Counts of right answers per image, packed into text: the outcome that every statistic is computed from."""

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

Counts = npt.NDArray[np.uint16]


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
        select: (n,) counts in as many further draws, which choose the worst attack; None for a deterministic victim and
            on clean images, where nothing is chosen.
        draws: how many.
        passes: forward passes over all images and draws, where the victim counts them; None where every answer costs
            the same (`Arm.passes`).
    """

    right: Counts
    abstained: Counts
    select: Counts | None
    draws: int
    passes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Packed; without the key ``passes`` where there is none, as in rows of schema 1."""
        return {
            "draws": self.draws,
            "right": pack(self.right),
            "abstained": pack(self.abstained) if self.abstained.any() else None,
            "select": None if self.select is None else pack(self.select),
            **({} if self.passes is None else {"passes": self.passes}),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], n: int) -> Tally:
        """The inverse of `to_json`.

        Raises:
            RowError: damaged, or a count is larger than the number of draws.
        """
        draws, passes = plain["draws"], plain.get("passes")
        if type(draws) is not int or draws < 1:
            raise RowError(f"draws = {draws!r}: expected a whole number of at least 1.")
        if passes is not None and (not isinstance(passes, int) or not 0 <= passes < 2**63):
            raise RowError(f"passes = {passes!r}: expected a whole number of at least 0, or none.")
        right = unpack(plain["right"], n)
        abstained = np.zeros(n, np.uint16) if plain["abstained"] is None else unpack(plain["abstained"], n)
        select = None if plain["select"] is None else unpack(plain["select"], n)
        for name, counts in (
            ("right", right),
            ("right + abstained", right.astype(np.int64) + abstained),
            ("select", select),
        ):
            if counts is not None and n and int(counts.max()) > draws:
                raise RowError(f"{name} counts go up to {int(counts.max())}, but there were {draws} draws.")
        return cls(right, abstained, select, draws, passes)

    def mean_passes(self, fixed: int) -> float:
        """Forward passes of the average answer.

        Args:
            fixed: what an answer costs where the tally doesn't say (`Arm.passes`).
        """
        return float(fixed) if self.passes is None else self.passes / (len(self.right) * self.draws)

    @property
    def accuracy(self) -> float:
        """Expected accuracy: the mean over images and draws (verdict ``single``)."""
        return stats.single(self.right, self.draws)

    def interval(self, rng: np.random.Generator) -> stats.Interval:
        """95 % interval of the accuracy, over images."""
        return stats.accuracy_interval(self.right, self.draws, rng)
