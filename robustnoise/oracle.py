"""The counted door between an attack and the victim."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from robustnoise.blocks import predict_blocks
from robustnoise.errors import BadData, BadParameter, BudgetExceeded
from robustnoise.protocols import Answer, Classifier
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, ThreatModel

UNLIMITED = 2**62
"""Rows left where there is no limit."""


class CountingOracle:
    """Answers queries up to a budget and no more than the access level shows.

    One query is one row. A call is charged, per image and in total, before the victim is asked; a call that would go
    over is refused whole and charged nothing. The victim's noise is a function of (stream, number of the call, block).

    Args:
        victim: the whole defended stack.
        threat: its `access` decides what is answered.
        noise: the stream of the victim's draws, in a tree that the attack isn't given (`SeedStream.fork`).
        per_image: rows per id; None is no limit.
        total: rows in all; None is no limit.
        stops: rows per id, rising, at which the attack's images are wanted too.
        ids: the images that may be asked about; None lets any be named, each with a budget of its own.
    """

    def __init__(
        self,
        victim: Classifier,
        threat: ThreatModel,
        noise: SeedStream,
        *,
        per_image: int | None = None,
        total: int | None = None,
        stops: tuple[int, ...] = (),
        ids: Tensor | None = None,
    ) -> None:
        if threat.access is Access.GRADIENTS:
            raise BadParameter(
                "access = gradients: an oracle answers labels, scores or logits; gradients are for audits."
            )
        self._victim = victim
        self._noise = noise
        self._per_image = per_image
        self._total = total
        self._calls = 0
        self._spent = 0
        self._asked: dict[int, int] = {}
        self._known = None if ids is None else frozenset(ids.tolist())
        self.threat = threat
        self.stops = stops
        self.stochastic = victim.stochastic
        self.num_classes = victim.num_classes
        self.input_shape = victim.input_shape

    @property
    def spent(self) -> int:
        """Rows answered so far."""
        return self._spent

    @property
    def remaining(self) -> int | None:
        """Rows left of the total; None without a limit."""
        return None if self._total is None else self._total - self._spent

    @property
    def counts(self) -> Mapping[int, int]:
        """Rows answered per id."""
        return dict(self._asked)

    def left(self, ids: Tensor) -> Tensor:
        """(n,) int64 rows that each image may still be asked, whatever is left of the total; `UNLIMITED` at most."""
        if self._per_image is None:
            return torch.full(ids.shape, UNLIMITED)
        return torch.tensor([self._per_image - self._asked.get(i, 0) for i in ids.tolist()], dtype=torch.int64)

    def query(self, x: Tensor, ids: Tensor) -> Answer:
        """Answer n rows.

        Args:
            x: (n, C, H, W) float32 in [0, 1].
            ids: (n,) int64, the image that each row stands for; a synthetic row carries its parent's.

        Raises:
            BudgetExceeded: an image or the total would go over; nothing is answered or charged.
            BadData: x is not a finite batch of images in [0, 1], ids don't match it, or one may not be asked about.
        """
        self._check(x, ids)
        named = ids.tolist()
        if self._total is not None and self._spent + len(x) > self._total:
            raise BudgetExceeded(f"{len(x)} queries refused: {self._spent} of {self._total} in total are spent.")
        # Counted in a dict: right after a net has run, starting an array operation costs more than these few counts.
        asked = {i: self._asked.get(i, 0) for i in named}
        for i in named:
            asked[i] += 1
        if self._known is not None and not asked.keys() <= self._known:
            stranger = next(i for i in named if i not in self._known)
            raise BadData(f"image {stranger} is not under attack; a synthetic row carries the id of its parent.")
        if self._per_image is not None and asked and max(asked.values()) > self._per_image:
            over = next(i for i, rows in asked.items() if rows > self._per_image)
            spent = self._asked.get(over, 0)
            raise BudgetExceeded(
                f"image {over}: {asked[over] - spent} queries refused: {spent} of {self._per_image} for one image "
                "are spent."
            )
        self._asked.update(asked)
        self._spent += len(x)
        self._calls += 1
        full = predict_blocks(self._victim, x.detach(), self._noise.child("call", self._calls))
        access = self.threat.access
        # `passes` stays behind at every level: it is the victim's bill, and it would give the margin away.
        return Answer(
            full.labels,
            full.scores if access >= Access.SCORES else None,
            full.logits if access >= Access.LOGITS else None,
        )

    def _check(self, x: Tensor, ids: Tensor) -> None:
        if x.dtype != torch.float32 or x.dim() != 4 or tuple(x.shape[1:]) != tuple(self.input_shape):
            raise BadData(
                f"a query of {x.dtype} {tuple(x.shape)}: expected float32 (n, {', '.join(map(str, self.input_shape))})."
            )
        if ids.shape != (len(x),):
            raise BadData(f"{len(x)} images with ids of shape {tuple(ids.shape)}: expected one id per image.")
        # One pass; NaN is the least and the largest of a batch that holds it, and no comparison with it is true.
        if len(x) and not ((ends := x.aminmax()).min.item() >= 0 and ends.max.item() <= 1):
            raise BadData("a query holds pixels that are NaN or outside [0, 1]; clip images before asking.")
