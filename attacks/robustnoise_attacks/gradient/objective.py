"""What a gradient attack climbs: a loss of the source, averaged over its noise, and how good a result is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.api import BadParameter, Classifier, Differentiable, Ensembled, SeedStream, require_differentiable
from robustnoise_attacks.gradient.quicker import quicker

Targeted = Literal["off", "random", "least-likely"]
View = Callable[[Tensor], Tensor]
JUDGED_DRAWS = 16
"""Draws, at least, by which restarts on a stochastic source are compared."""


def best_other(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) the largest logit of a class that isn't `y`."""
    return logits.scatter(1, y[:, None], -torch.inf).amax(1)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) minus the log-probability of `y`."""
    return functional.cross_entropy(logits, y, reduction="none")


def cw(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) margin of the best other class over `y`; above 0 is misclassified."""
    return best_other(logits, y) - logits.gather(1, y[:, None])[:, 0]


def logit(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) minus the logit of `y`, which has no saturating softmax."""
    return -logits.gather(1, y[:, None])[:, 0]


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) the margin of `cw` over the distance of the largest from the third largest logit.

    Raises:
        BadParameter: fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise BadParameter(f"loss = dlr: needs at least 3 classes, and the source has {logits.shape[1]}. Use loss=ce.")
    ranked = logits.topk(3, dim=1).values
    return cw(logits, y) / (ranked[:, 0] - ranked[:, 2] + 1e-12)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": cross_entropy, "cw": cw, "logit": logit, "dlr": dlr}
"""Losses that grow as the class `y` loses; to reach a label is to lower them there."""


class Slope(NamedTuple):
    """The objective at a point."""

    gradient: Tensor
    """(n, C, H, W)."""
    value: Tensor
    """(n,) what is to be raised."""
    fooled: Tensor
    """(n,) share of the draws in which the attack has its way."""


class Standing(NamedTuple):
    """How good the images of a run are, image by image."""

    fooled: Tensor
    """(n,) share of the draws in which the attack has its way."""
    value: Tensor
    """(n,) what is to be raised; decides where shares are equal."""

    def above(self, other: Standing) -> Tensor:
        """(n,) bool: this is better."""
        same = self.fooled == other.fooled
        return (self.fooled > other.fooled) | (same & (self.value > other.value))

    def where(self, mask: Tensor, other: Standing) -> Standing:
        """This where `mask`, else the other."""
        return Standing(*(torch.where(mask, a, b) for a, b in zip(self, other, strict=True)))


class Objective:
    """Rises as the attack gets closer to its goal, image by image.

    Args:
        source: has logits; of an `Ensembled` one that combines losses, the members' losses are averaged.
        loss: a key of `LOSSES`.
        x: (n, C, H, W) the images before the attack.
        y: (n,) int64 true labels.
        seeds: of the labels to reach.
        targeted: ``"off"`` leaves the true label; else every image has another label to reach: one drawn evenly from
            the others, or the one that the source finds least likely at `x`.
        draws: of the source's noise that are averaged; a deterministic source is asked once.

    Raises:
        MissingCapability: the source has no gradients.
    """

    def __init__(
        self,
        source: Classifier,
        loss: str,
        x: Tensor,
        y: Tensor,
        seeds: SeedStream,
        *,
        targeted: Targeted = "off",
        draws: int = 1,
    ) -> None:
        self.source = quicker(require_differentiable(source, "a gradient crafter"))
        self.members: tuple[Differentiable, ...] = (self.source,)
        if isinstance(source, Ensembled) and source.combine == "losses":
            self.members = tuple(quicker(member) for member in source.members)
        self.stochastic = source.stochastic
        self.draws = draws if self.stochastic else 1
        self.loss = LOSSES[loss]
        # Cloned: labels out of `predict` are inference tensors, which autograd refuses.
        self.label, self.targeted = y.clone(), targeted != "off"
        if targeted == "random":
            offset = torch.randint(1, source.num_classes, y.shape, generator=seeds.generator("target"))
            self.label = (y + offset.to(y.device)) % source.num_classes
        elif targeted == "least-likely":
            self.label = self._least_likely(x, y, seeds.child("target"))

    def _least_likely(self, x: Tensor, y: Tensor, noise: SeedStream) -> Tensor:
        draws = max(self.draws, JUDGED_DRAWS) if self.stochastic else 1
        with torch.no_grad():
            scores = [self.source.logits(x, noise=noise.child(k)).softmax(1).to(y.device) for k in range(draws)]
        return sum(scores[1:], scores[0]).scatter(1, y[:, None], torch.inf).argmin(1)

    def _logits(self, x: Tensor, noise: SeedStream) -> list[Tensor]:
        """Those of each member."""
        if len(self.members) == 1:
            return [self.members[0].logits(x, noise=noise)]
        return [m.logits(x, noise=noise.child("member", number)) for number, m in enumerate(self.members)]

    def _values(self, logits: Sequence[Tensor]) -> Tensor:
        losses = [self.loss(z, self.label.to(z.device)) for z in logits]
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean(0)
        return -loss if self.targeted else loss

    def _fooled(self, logits: Sequence[Tensor]) -> Tensor:
        """(n,) float shares of the members."""
        hits = [((z.argmax(1) == self.label.to(z.device)) == self.targeted).float() for z in logits]
        return hits[0] if len(hits) == 1 else torch.stack(hits).mean(0)

    def gradient(self, x: Tensor, noise: SeedStream, views: Sequence[View]) -> Tensor:
        """(n, C, H, W) the mean gradient over draws and `views`.

        Args:
            x: (n, C, H, W), of any values.
            noise: the first draw's stream; the others are its children.
            views: functions of the images at which the value is taken, differentiable.
        """
        (mean,) = _mean((gradient,) for gradient, _, _ in self._passes(x, noise, views))
        return mean

    def slope(self, x: Tensor, noise: SeedStream) -> Slope:
        """What `Slope` says, as means over draws; arguments as in `gradient`."""
        passes = self._passes(x, noise, [lambda leaf: leaf])
        return Slope(*_mean((g, values.to(x.device), self._fooled(z).to(x.device)) for g, values, z in passes))

    def _passes(
        self, x: Tensor, noise: SeedStream, views: Sequence[View]
    ) -> Iterator[tuple[Tensor, Tensor, Sequence[Tensor]]]:
        """Gradient, values and the members' logits, draw by draw."""
        for k in range(self.draws * len(views)):
            with torch.enable_grad():
                leaf = x.detach().requires_grad_(True)
                logits = self._logits(views[k % len(views)](leaf), noise.child(k) if k else noise)
                values = self._values(logits)
                # Summed, not averaged: an image's gradient must not depend on how many neighbours it has.
                (gradient,) = torch.autograd.grad(values.sum(), leaf)
            yield gradient, values.detach(), logits

    def judge(self, x: Tensor, noise: SeedStream) -> Standing:
        """How well the attack stands at `x`; a stochastic source is asked `JUDGED_DRAWS` times at least."""
        draws = max(self.draws, JUDGED_DRAWS) if self.stochastic else 1
        with torch.no_grad():
            asked = [self._logits(x, noise.child(k)) for k in range(draws)]
        fooled, values = ([part(logits) for logits in asked] for part in (self._fooled, self._values))
        return Standing(torch.stack(fooled).mean(0).to(x.device), torch.stack(values).mean(0).to(x.device))


def _mean(rows: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Column by column, without keeping the rows."""
    total: tuple[Tensor, ...] = ()
    count = 0
    for row in rows:
        total = tuple(a + b for a, b in zip(total, row, strict=True)) if count else row
        count += 1
    return total if count == 1 else tuple(part / count for part in total)


def best_of(restarts: int, run: Callable[[SeedStream], Tensor], objective: Objective, seeds: SeedStream) -> Tensor:
    """Image by image the best result of several runs: fooled in most draws, then of the highest value.

    All runs are judged by the same draws, which no run has seen.
    """
    best = run(seeds)
    if restarts == 1:
        return best
    noise = seeds.child("judge")
    standing = objective.judge(best, noise)
    for number in range(1, restarts):
        new = run(seeds.child("restart", number))
        judged = objective.judge(new, noise)
        better = judged.above(standing)
        standing, best = judged.where(better, standing), torch.where(better[:, None, None, None], new, best)
    return best
