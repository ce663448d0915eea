"""A look at a victim before it is attacked: what it shows, whether it has gradients, whether rows are apart."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.blocks import BLOCK, block_ranges, pad, to_tensor
from robustnoise.data import Split
from robustnoise.errors import MissingCapability
from robustnoise.models.targets.probe import TOLERANCE
from robustnoise.protocols import Answer, Classifier, require_differentiable
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access

DRAWS = 4
"""Of a stochastic victim's noise, all of which must have no gradient for an image to count."""


class Look(NamedTuple):
    """What was seen; JSON."""

    shows: str
    """The most that its answers hold: ``"labels"``, ``"scores"`` or ``"logits"``."""
    closed: str | None
    """Why no gradient reaches the image; None where one can."""
    flat: int | None
    """Images at which the gradient of the cross-entropy is exactly 0 in every pixel; None without gradients."""
    coupled: int | None
    """Images that are answered otherwise beside other neighbours; None where it can't be told."""
    asked: int
    """Images whose neighbours were exchanged."""


def look(classifier: Classifier, images: Split, seeds: SeedStream) -> Look:
    """Look at `classifier` on `images`."""
    first, _ = _block(images, 0, min(BLOCK, len(images)))
    noise = seeds.child("neighbours")
    answer = classifier.predict(first, noise=noise)
    asked = torch.arange(0, min(BLOCK, len(images)), 2)
    repeats = not _differ(answer, classifier.predict(first, noise=noise), asked).any()
    coupled = None
    if repeats:
        # The odd rows change places; the even ones keep theirs, and with them their draws.
        other = first.clone()
        other[1::2] = first[1::2].flip(0)
        other[1::2] = 1 - other[1::2]
        coupled = int(_differ(answer, classifier.predict(other, noise=noise), asked).sum())
    closed, flat = _flat(classifier, images, seeds.child("gradient"))
    return Look(_shown(answer), closed, flat, coupled, len(asked))


def _shown(answer: Answer) -> str:
    if answer.logits is not None:
        return Access.LOGITS.name.lower()
    return (Access.LABELS if answer.scores is None else Access.SCORES).name.lower()


def _differ(a: Answer, b: Answer, rows: Tensor) -> Tensor:
    """(len(rows),) bool: the two answers are not the same there."""
    found = a.labels[rows] != b.labels[rows]
    for mine, theirs in ((a.scores, b.scores), (a.logits, b.logits)):
        if mine is not None and theirs is not None:
            gap = (mine[rows].double() - theirs[rows].double()).abs().amax(1)
            found = found | ~(gap <= TOLERANCE * (1 + mine[rows].double().abs().amax(1)))
    return found


def _flat(classifier: Classifier, images: Split, seeds: SeedStream) -> tuple[str | None, int | None]:
    """(why there are no gradients, None), or (None, at how many images they are 0)."""
    try:
        source = require_differentiable(classifier, "an audit")
    except MissingCapability as error:
        return str(error), None
    flat = 0
    for number, start, stop in block_ranges(len(images)):
        x, y = _block(images, start, stop)
        empty = torch.ones(len(x), dtype=torch.bool)
        for draw in range(DRAWS if classifier.stochastic else 1):
            with torch.enable_grad():
                leaf = x.requires_grad_(True)
                try:
                    logits = source.logits(leaf, noise=seeds.child(number, draw))
                except MissingCapability as error:
                    return str(error), None
                if not logits.requires_grad:
                    return "its logits don't depend on the image in a way that autograd can follow.", None
                loss = functional.cross_entropy(logits, y.to(logits.device), reduction="sum")
                (gradient,) = torch.autograd.grad(loss, leaf, allow_unused=True)
            if gradient is not None:
                empty &= (gradient == 0).flatten(1).all(1).cpu()
        flat += int(empty[: stop - start].sum())
    return None, flat


def _block(images: Split, start: int, stop: int) -> tuple[Tensor, Tensor]:
    return pad(torch.from_numpy(images.floats(start, stop))), pad(to_tensor(images.labels[start:stop]))
