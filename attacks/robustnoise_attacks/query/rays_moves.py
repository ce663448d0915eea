"""RayS's directions: corners of a cube, and which block of signs is flipped next."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustnoise.api import Targets, ThreatModel
from robustnoise_attacks.query.asking import LEVELS

NONE = LEVELS + 1
"""The radius, in levels, of an image that has no direction yet."""


class Directions:
    """Each image's best direction so far, where the boundary lies along it, and the flips that come next.

    Args:
        targets: the images under attack.
        threat: the cube's radius.
    """

    def __init__(self, targets: Targets, threat: ThreatModel) -> None:
        self.x = targets.x
        n = len(targets.ids)
        self.size = targets.x[0].numel()
        self.reach = math.floor(threat.eps * LEVELS + 1e-6)
        """The ball's radius in levels."""
        self.sign = torch.ones(n, self.size)
        self.radius = torch.full((n,), NONE)
        self._stage, self._block = torch.zeros(2, n, dtype=torch.int64)
        self._fresh = torch.ones(n, dtype=torch.bool)

    def at(self, rows: Tensor, sign: Tensor, radius: Tensor | int) -> Tensor:
        """(m, C, H, W) images `radius` (m,) levels away from those of `rows` along `sign` (m, size)."""
        wide = torch.as_tensor(radius).expand(len(rows))[:, None]
        step = wide / LEVELS * sign
        return (self.x[rows] + step.view(-1, *self.x.shape[1:])).clamp(0, 1)

    def flipped(self, rows: Tensor) -> Tensor:
        """(m, size) the next candidates; the very first is the direction as it is."""
        length = torch.ceil(self.size / 2.0 ** self._stage[rows]).long()
        start = self._block[rows] * length
        place = torch.arange(self.size)
        flip = (place >= start[:, None]) & (place < (start + length)[:, None]) & ~self._fresh[rows][:, None]
        going = rows[~self._fresh[rows]]
        self._fresh[rows] = False
        self._block[going] += 1
        length = torch.ceil(self.size / 2.0 ** self._stage[going]).long()
        over = going[self._block[going] * length >= self.size]
        self._block[over] = 0
        self._stage[over] = (self._stage[over] + 1).clamp(max=math.ceil(math.log2(self.size)))
        return torch.where(flip, -self.sign[rows], self.sign[rows])
