"""A board in parts, for any scheduler that can start a command several times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from robustnoise.errors import BadParameter


@dataclass(frozen=True)
class Shard:
    """Part `index` (1 to `count`) of `count`.

    Raises:
        BadParameter: there is no such part.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise BadParameter(f"shard {self}: expected 1/N to N/N, such as 2/8 for the second of eight.")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From ``"2/8"``.

        Raises:
            BadParameter: it isn't of that form.
        """
        index, _, count = text.partition("/")
        if not (index.isascii() and index.isdigit() and count.isascii() and count.isdigit()):
            raise BadParameter(f"shard {text!r}: expected I/N, such as 2/8 for the second of eight.")
        return cls(int(index), int(count))

    def own(self, names: Iterable[str]) -> set[str]:
        """Those of `names` that are this part's: dealt out in the order of their hashes, so all parts agree."""
        ordered = sorted((hashlib.sha256(name.encode()).digest(), name) for name in set(names))
        # Not always from the first part on: some levels have a few large cells.
        start = ordered[0][0][-1] if ordered else 0
        return {name for place, (_, name) in enumerate(ordered, start) if place % self.count == self.index - 1}
