"""The starts and the changes of Square, for many images at once and each image by its own random numbers."""

from __future__ import annotations

import functools
from typing import Protocol

import torch
from torch import Tensor

from robustnoise.api import Norm, SeedStream, Targets, ThreatModel
from robustnoise_attacks.query.asking import Asker
from robustnoise_attacks.query.own_numbers import OwnNumbers


class Moves(Protocol):
    """Where a search begins and what it tries next: images as they would be handed in, on 8-bit levels in the ball."""

    def first(self, rows: Tensor) -> Tensor:
        """(m, C, H, W) the first candidates of `rows` (m,) int64."""
        ...

    def next(self, rows: Tensor, best: Tensor, turn: Tensor, share: Tensor) -> Tensor:
        """(m, C, H, W) candidates made of `best`.

        Args:
            rows: (m,) int64.
            best: (m, C, H, W) the best images so far; written over.
            turn: (m,) int64, how many candidates each had before.
            share: (m,) float64 of the pixels to change.
        """
        ...


def moves(asker: Asker, targets: Targets, threat: ThreatModel, seeds: SeedStream) -> Moves:
    """Those of the threat's norm."""
    return (Corners if threat.norm is Norm.LINF else Bumps)(asker, targets, threat, seeds)


class Corners:
    """l-infinity: every changed pixel goes to the end of its interval, up or down alike within a square's channel."""

    def __init__(self, asker: Asker, targets: Targets, threat: ThreatModel, seeds: SeedStream) -> None:
        everyone = torch.arange(len(targets.ids))
        # Rounded once and for all: every candidate is made of these.
        self._high = asker.inside((targets.x + threat.eps).clamp(max=1), everyone)
        self._low = asker.inside((targets.x - threat.eps).clamp(min=0), everyone)
        self._start = OwnNumbers(seeds.child("start"), targets.ids)
        self._numbers = OwnNumbers(seeds.child("squares"), targets.ids)

    def first(self, rows: Tensor) -> Tensor:
        """Vertical stripes, one pixel wide."""
        _, channels, _, width = self._high.shape
        up = self._start.uniform(rows, 0, channels * width).view(-1, channels, 1, width) < 0.5
        return torch.where(up, self._high[rows], self._low[rows])

    def next(self, rows: Tensor, best: Tensor, turn: Tensor, share: Tensor) -> Tensor:
        """One square; where it would change nothing, its signs are other ones, drawn from those left."""
        _, channels, height, width = best.shape
        u = self._numbers.uniform(rows, turn, 4)
        side = (share * (height * width)).sqrt().round().long().clamp(1, max(1, min(height, width) - 1))
        codes = 2**channels
        code = (u[:, 2] * codes).long()
        other = (code + 1 + (u[:, 3] * (codes - 1)).long()) % codes
        bits = torch.arange(channels)
        for s, of in _by_side(side):
            pixels = _square(u[of, 0], u[of, 1], s, height, width)
            from_all = _flat(rows[of], channels, height * width, pixels)
            into = _flat(of, channels, height * width, pixels)
            high, low = self._high.view(-1)[from_all], self._low.view(-1)[from_all]
            change = torch.where(_signs(code[of], bits), high, low)
            same = (change == best.view(-1)[into]).flatten(1).all(1)
            change[same] = torch.where(_signs(other[of][same], bits), high[same], low[same])
            best.view(-1)[into] = change
        return best


class Bumps:
    """l2: a square gets a pair of bumps of opposite sign, paid for with the mass of a second square."""

    def __init__(self, asker: Asker, targets: Targets, threat: ThreatModel, seeds: SeedStream) -> None:
        self._asker, self._x, self._threat = asker, targets.x, threat
        self._start = OwnNumbers(seeds.child("start"), targets.ids)
        self._numbers = OwnNumbers(seeds.child("squares"), targets.ids)

    def first(self, rows: Tensor) -> Tensor:
        """A grid of five by five tiles (more where five don't divide the side), each a pair of bumps."""
        _, channels, height, width = self._x.shape
        s = max(1, min(height, width) // 5)
        down, across = height // s, width // s
        u = self._start.uniform(rows, 0, (channels + 1) * down * across).view(-1, channels + 1, down, across)
        sign = torch.where(u[:, :channels] < 0.5, -1.0, 1.0)
        tile = torch.where((u[:, channels:] < 0.5)[..., None, None], bumps(s), bumps(s).T)
        tiles = (tile * sign[..., None, None]).permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)
        delta = torch.zeros(len(rows), channels, height, width)
        top, left = (height - down * s) // 2, (width - across * s) // 2
        delta[:, :, top : top + down * s, left : left + across * s] = tiles
        return self._fill(rows, delta)

    def next(self, rows: Tensor, best: Tensor, turn: Tensor, share: Tensor) -> Tensor:
        """Empty two squares and put the pair into the first, on top of the direction that was there."""
        _, channels, height, width = best.shape
        u = self._numbers.uniform(rows, turn, 5 + channels)
        side = (share * (height * width)).sqrt().round().long().clamp_min(3)
        side = (side + (side + 1) % 2).clamp(max=min(height, width))
        before = best - self._x[rows]
        mass = before.square().sum((2, 3))
        free = (self._threat.eps**2 - mass.sum(1, keepdim=True)).clamp_min(0) / channels
        delta = before.clone()
        sign = torch.where(u[:, 5:] < 0.5, -1.0, 1.0)[..., None]
        for s, of in _by_side(side):
            first = _square(u[of, 0], u[of, 1], s, height, width)
            second = _square(u[of, 2], u[of, 3], s, height, width)
            into = _flat(of, channels, height * width, first)
            old = before.view(-1)[into]
            delta.view(-1)[_flat(of, channels, height * width, second)] = 0
            delta.view(-1)[into] = 0
            freed = mass[of] - delta[of].square().sum((2, 3))
            pair = torch.where((u[of, 4] < 0.5)[:, None], bumps(s).flatten(), bumps(s).T.flatten())[:, None]
            new = _unit(pair * sign[of] + _unit(old))
            delta.view(-1)[into] = new * (free[of] + freed.clamp_min(0)).sqrt()[..., None]
        return self._fill(rows, delta)

    def _fill(self, rows: Tensor, delta: Tensor) -> Tensor:
        """The images at full distance eps along `delta`, rounded."""
        x = self._x[rows]
        length = delta.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        return self._asker.inside(x + delta * (self._threat.eps / length), rows)


@functools.cache
def bumps(side: int) -> Tensor:
    """(side, side) of unit length: two rectangular bumps, one above the other, of opposite sign."""
    half = side // 2
    both = torch.cat([_bump(half, side), -_bump(side - half, side)])
    pair: Tensor = both / both.norm()
    return pair


def _bump(height: int, width: int) -> Tensor:
    """Concentric rectangles: the k-th around the middle adds 1 / (k + 1)^2; of unit length."""
    down = (torch.arange(height) - height // 2).abs()
    across = (torch.arange(width) - width // 2).abs()
    steps = torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float32)
    height_at = (1 / steps.square()).flip(0).cumsum(0).flip(0)
    levels = height_at[torch.maximum(down[:, None], across[None])]
    bump: Tensor = levels / levels.norm().clamp_min(1e-12)
    return bump


def _by_side(side: Tensor) -> list[tuple[int, Tensor]]:
    """Every side with the places where it occurs."""
    return [(int(s), (side == s).nonzero()[:, 0]) for s in side.unique()]


def _square(down: Tensor, across: Tensor, side: int, height: int, width: int) -> Tensor:
    """(m, side * side) pixel numbers of squares at uniform `down` and `across` (m,) in [0, 1)."""
    top, left = (down * (height - side + 1)).long(), (across * (width - side + 1)).long()
    along = torch.arange(side)
    rows, columns = top[:, None] + along, left[:, None] + along
    return (rows[:, :, None] * width + columns[:, None]).flatten(1)


def _flat(images: Tensor, channels: int, pixels: int, at: Tensor) -> Tensor:
    """(m, channels, k) places of the pixels `at` (m, k) in all channels of `images` (m,) of a flattened batch."""
    planes = images[:, None] * channels + torch.arange(channels)
    return planes[..., None] * pixels + at[:, None]


def _signs(code: Tensor, bits: Tensor) -> Tensor:
    """(m, channels, 1) bool: the bits of `code` (m,)."""
    return ((code[:, None] >> bits) & 1).bool()[..., None]


def _unit(v: Tensor) -> Tensor:
    unit: Tensor = v / v.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return unit
