"""Named random streams: the only source of randomness in robustnoise.

A stream is a root seed and a path of names. Two different paths are statistically independent; the same path
gives the same numbers in any process. Nothing here reads or sets a global generator, so a plugin that reseeds
torch or numpy can't move a draw.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class SeedStream:
    """A node in the tree of random streams.

    Args:
        root: the user's seed, any integer.
        path: names from the root to this node.
    """

    root: int
    path: tuple[str | int, ...] = ()

    def child(self, *path: str | int) -> SeedStream:
        """The stream below this one at `path`."""
        return SeedStream(self.root, (*self.path, *path))

    def fork(self) -> SeedStream:
        """A tree of its own, from whose streams this one's root can't be read off.

        What attacks are given: they could otherwise foretell the victim's draws from the root that both share. Whoever
        knows the user's seed still can; attacks are trusted not to look for it.
        """
        return SeedStream(self.seed("fork"))

    def seed(self, *path: str | int) -> int:
        """A 63-bit integer that depends on root and path alone."""
        text = json.dumps([self.root, *self.path, *path])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

    def generator(self, *path: str | int) -> torch.Generator:
        """A fresh CPU generator for `path`; asking twice gives two generators in the same state.

        Torch's CPU generator takes 32 bits of a seed: of a quarter of a million streams some seven pairs draw alike.
        """
        import torch

        return torch.Generator().manual_seed(self.seed(*path))

    def numpy(self, *path: str | int) -> np.random.Generator:
        """The same for numpy."""
        import numpy as np

        return np.random.Generator(np.random.PCG64(self.seed(*path)))
