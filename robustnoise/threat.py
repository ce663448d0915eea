"""The attacker, as data: norm, radius, access and budget; projection and 8-bit rounding inside the ball."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from robustnoise.errors import BadParameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

LEVELS = 255
"""The largest 8-bit level: a pixel is level / 255."""
SORTED = 32
"""Images whose pixels are sorted at a time."""


class Norm(StrEnum):
    """The norm that measures a perturbation of one image."""

    LINF = "linf"
    L2 = "l2"


class Access(IntEnum):
    """What the victim's answers show, from least to most. GRADIENTS is for white-box audit rows only."""

    LABELS = 0
    SCORES = 1
    LOGITS = 2
    GRADIENTS = 3

    @classmethod
    def parse(cls, text: str) -> Access:
        """Read ``"labels"``, ``"scores"``, ``"logits"`` or ``"gradients"``."""
        try:
            return cls[text.upper()]
        except KeyError:
            names = ", ".join(a.name.lower() for a in cls)
            raise BadParameter(f"access = {text!r}: expected one of {names}.") from None


@dataclass(frozen=True)
class ThreatModel:
    """What an adversarial image may be and what the attacker sees of the victim.

    Images are in [0, 1], so eps is in pixels of that range. The attacker never knows the seed of the victim's noise.

    Args:
        norm: the norm of the perturbation.
        eps: the radius, 0 to 1 for l-infinity, at least 0 for l2.
        access: what the oracle answers.

    Raises:
        BadParameter: eps is not a finite number of that range.
    """

    norm: Norm
    eps: float
    access: Access = Access.LABELS

    def __post_init__(self) -> None:
        top = 1.0 if self.norm is Norm.LINF else math.inf
        if isinstance(self.eps, bool) or not isinstance(self.eps, int | float) or not 0 <= self.eps <= top:
            expected = "a number from 0 to 1" if self.norm is Norm.LINF else "a number of at least 0"
            raise BadParameter(
                f"eps = {self.eps!r}: expected {expected} (pixels are in [0, 1]; write 8/255, not 8) for {self.norm}."
            )
        if not math.isfinite(self.eps):
            raise BadParameter(f"eps = {self.eps!r}: expected a finite number.")
        object.__setattr__(self, "eps", float(self.eps))

    def project(self, origin: Tensor, x: Tensor, *, eps: float | None = None) -> Tensor:
        """The nearest point to `x` (Euclidean) in the ball around `origin`, then clipped to [0, 1].

        Args:
            origin: (n, C, H, W) float32 in [0, 1].
            x: the same shape, any finite values.
            eps: another radius than this threat model's (a training ramp).
        """
        return self.projection(origin, eps=eps)(x)

    def projection(self, origin: Tensor, *, eps: float | None = None) -> Callable[[Tensor], Tensor]:
        """`project` around the same `origin`, for an ascent that goes there at every step."""
        radius = self.eps if eps is None else eps
        if self.norm is Norm.LINF:
            low, high = (origin - radius).clamp(0, 1), (origin + radius).clamp(0, 1)
            return lambda x: x.clamp(low, high)

        def shortened(x: Tensor) -> Tensor:
            delta = x - origin
            norms: Tensor = delta.flatten(1).norm(dim=1).clamp_min(1e-12)
            scale: Tensor = (radius / norms).clamp_max(1).view(-1, *[1] * (x.dim() - 1))
            return (origin + delta * scale).clamp(0, 1)

        return shortened

    def to_levels(self, origin: Tensor, x: Tensor) -> Tensor:
        """Project `x`, then round to 8-bit levels that are inside the ball.

        Rounding to the nearest level can leave the ball by half a level, and truncation nearly always does on one
        side. Here l-infinity clamps the level to the whole number of levels that fit in eps. l2 gives each pixel one of
        the two levels beside it, away from the original for those nearest to that level, as many as the ball has room
        for: the nearest levels, but where they are outside the ball, or shorter than the perturbation was.

        Args:
            origin: (n, C, H, W) uint8.
            x: (n, C, H, W) float32, finite.

        Returns:
            (n, C, H, W) uint8.
        """
        import torch

        start = origin.to(torch.float64)
        x = x.to(torch.float64)
        if self.norm is Norm.L2:
            # float32 is off by up to 1e-5 of a level, which is no part of a perturbation.
            x = (x * (LEVELS * 1e4)).round() / (LEVELS * 1e4)
        inside = self.project(start / LEVELS, x) * LEVELS
        if self.norm is Norm.LINF:
            reach = math.floor(self.eps * LEVELS + 1e-6)
            levels = inside.round().clamp(start - reach, start + reach)
        else:
            levels = start + torch.cat([_whole_l2(rows, self.eps * LEVELS) for rows in (inside - start).split(SORTED)])
        return levels.clamp(0, LEVELS).to(torch.uint8)

    def violation(self, origin: Tensor, x: Tensor) -> Tensor:
        """How far each image lies outside the ball, in pixels of [0, 1]; NaN for a NaN.

        Compare as ``not (violation <= tolerance)``, so that NaN fails.

        Args:
            origin: (n, C, H, W) uint8 or float in [0, 1].
            x: the same shape, uint8 or float.

        Returns:
            (n,) float64, at most 0 inside.
        """
        delta = (_pixels(x) - _pixels(origin)).flatten(1)
        size = delta.abs().amax(1) if self.norm is Norm.LINF else delta.norm(dim=1)
        return size - self.eps

    def to_json(self) -> dict[str, Any]:
        """Plain fields for records."""
        return {"norm": self.norm.value, "eps": self.eps, "access": self.access.name.lower()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> ThreatModel:
        """The inverse of `to_json`."""
        return cls(Norm(fields["norm"]), fields["eps"], Access.parse(fields["access"]))


def _whole_l2(delta: Tensor, radius: float) -> Tensor:
    """Whole numbers beside `delta` (n, ...), float64, no row of them longer than `radius`, which no row of it is."""
    size = delta.flatten(1).abs()
    down, away = size.floor(), (size + 0.5).floor()
    nearest, length = away.square().sum(1), size.square().sum(1)
    # 1e-7: a radius written in ten digits loses no level.
    room = nearest.maximum(length).clamp_max((radius + 1e-7) ** 2)
    (todo,) = (room != nearest).nonzero(as_tuple=True)
    if len(todo):
        first = (size - down)[todo].sort(dim=1, descending=True, stable=True).indices
        low = down[todo]
        longer = low.square().sum(1, keepdim=True) + (2 * low.gather(1, first) + 1).cumsum(1)
        fits = (longer <= room[todo, None]).to(low.dtype)
        away[todo] = low.scatter_add(1, first, fits)
    return away.view_as(delta) * delta.sign()


def _pixels(x: Tensor) -> Tensor:
    import torch

    return x.to(torch.float64) / LEVELS if x.dtype == torch.uint8 else x.to(torch.float64)


def Linf(eps: float, access: Access = Access.LABELS) -> ThreatModel:  # noqa: N802 - reads as the name of a type
    """An l-infinity threat model of radius `eps`."""
    return ThreatModel(Norm.LINF, eps, access)


def L2(eps: float, access: Access = Access.LABELS) -> ThreatModel:  # noqa: N802
    """An l2 threat model of radius `eps`."""
    return ThreatModel(Norm.L2, eps, access)


@dataclass(frozen=True)
class Budget:
    """How many rows the victim's oracle answers, counted before each answer; None is no limit.

    One query is one image answered by the whole stack, however many passes it makes inside. Repeats, initialisation
    and early-stop checks all count.

    Args:
        per_image: rows per attacked image.
        total: rows in all, those that label a substitute's training data included.
        seed_examples: labelled images that the attacker starts with; None gives all of the attacker's split.
        stops: rows per attacked image, rising, at which a query attack's images are scored too: robust accuracy over
            queries, out of one run.
    """

    per_image: int | None = None
    total: int | None = None
    seed_examples: int | None = None
    stops: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("per_image", "total", "seed_examples"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise BadParameter(f"budget {name} = {value!r}: expected a whole number of at least 0, or nothing.")

        rising = all(a < b for a, b in itertools.pairwise((0, *self.stops)))
        if not all(type(stop) is int for stop in self.stops) or not rising:
            raise BadParameter(f"budget stops = {list(self.stops)}: expected rising whole numbers of at least 1.")
        if self.stops and self.per_image is not None and self.stops[-1] >= self.per_image:
            raise BadParameter(
                f"budget stops = {list(self.stops)}: expected less than per_image = {self.per_image}, where every "
                "attack is scored anyway."
            )

    def to_json(self) -> dict[str, int | list[int] | None]:
        """Plain fields for records; without the key ``stops`` where there are none, as in earlier rows."""
        plain: dict[str, int | list[int] | None] = {
            "per_image": self.per_image,
            "total": self.total,
            "seed_examples": self.seed_examples,
        }
        return plain | ({"stops": list(self.stops)} if self.stops else {})
