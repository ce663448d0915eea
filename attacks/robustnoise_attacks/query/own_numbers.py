"""Random numbers of each image's own, for a whole batch at once.

Word number j of an image is a SplitMix64 hash of j and of a key that the stream gives to the image's id. So a number
is a function of (seed, id, j) alone: neighbours, batch size and the order of asking don't move it, and no generator is
set up per image.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustnoise.api import SeedStream

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class OwnNumbers:
    """Counted random numbers for the images `ids` (n,) int64; rows are indices into them."""

    def __init__(self, seeds: SeedStream, ids: Tensor) -> None:
        self._keys = np.array([seeds.seed(i) for i in ids.tolist()], np.uint64)

    def _words(self, rows: Tensor, turn: Tensor | int, size: int) -> npt.NDArray[np.uint64]:
        """(m, size) words number ``turn * size`` and on; a stream is read with one `size` only."""
        start = np.asarray(turn, np.uint64).reshape(-1, 1) * np.uint64(size) + np.uint64(1)
        word: npt.NDArray[np.uint64] = (start + np.arange(size, dtype=np.uint64)) * _GOLDEN + self._keys[rows.numpy()][
            :, None
        ]
        word ^= word >> np.uint64(30)
        word *= _FIRST
        word ^= word >> np.uint64(27)
        word *= _SECOND
        word ^= word >> np.uint64(31)
        return word

    def uniform(self, rows: Tensor, turn: Tensor | int, size: int) -> Tensor:
        """(m, size) float64 in [0, 1).

        Args:
            rows: (m,) int64.
            turn: the how-manieth time the image draws, (m,) int64 or one for all.
            size: numbers per turn, the same at every turn of a stream.
        """
        return torch.from_numpy((self._words(rows, turn, size) >> np.uint64(11)).astype(np.float64)).mul_(2.0**-53)

    def signed(self, rows: Tensor, turn: Tensor | int, size: int) -> Tensor:
        """(m, size) float32 uniform in [-1, 1], two to a word; arguments as of `uniform`."""
        word = self._words(rows, turn, (size + 1) // 2)
        return torch.from_numpy(word.view(np.int32)).float().mul_(2.0**-31)[:, :size]

    def normal(self, rows: Tensor, turn: Tensor | int, size: int) -> Tensor:
        """(m, size) float32 standard normal, by Box and Muller; arguments as of `uniform`."""
        word = self._words(rows, turn, (size + 1) // 2)
        high = torch.from_numpy((word >> np.uint64(32)).astype(np.float32))
        low = torch.from_numpy((word & np.uint64(0xFFFFFFFF)).astype(np.float32))
        radius = high.add_(0.5).mul_(2.0**-32).clamp_(max=1 - 2.0**-24).log_().mul_(-2).sqrt_()
        angle = low.mul_(2 * math.pi * 2.0**-32)
        return torch.cat([angle.cos() * radius, angle.sin_() * radius], 1)[:, :size]
