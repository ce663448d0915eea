"""The one ascent loop behind FGSM, PGD and MI-FGSM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.api import Classifier, Norm, SeedStream, ThreatModel, require_differentiable


def ascend(
    source: Classifier,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    seeds: SeedStream,
    *,
    steps: int,
    relative_step: float,
    random_start: bool,
    momentum: float | None,
) -> Tensor:
    """Maximise the cross-entropy of `source` inside the ball of `threat`.

    Each step moves by ``relative_step * eps`` along the sign of the direction (l-infinity) or along the direction of
    unit length (l2), then projects. The random start is not clipped to [0, 1] before the first gradient; every later
    iterate is.

    Args:
        source: has logits; its noise, if any, is drawn afresh at each step.
        x: (n, C, H, W) float32 in [0, 1].
        y: (n,) int64 true labels.
        threat: norm and radius.
        seeds: of start and noise.
        steps: at least 1.
        relative_step: step size / eps.
        random_start: start from a uniform point of the ball.
        momentum: None, or the decay mu of MI-FGSM's accumulated gradient.

    Returns:
        (n, C, H, W) float32 in the ball and in [0, 1].
    """
    if threat.eps == 0:
        return x.clone()
    model = require_differentiable(source, "a gradient crafter")
    step = relative_step * threat.eps
    adv = x + uniform_in_ball(x, threat, seeds.generator("start")) if random_start else x.clone()
    velocity = torch.zeros_like(x)
    for number in range(steps):
        with torch.enable_grad():
            leaf = adv.detach().requires_grad_(True)
            # Summed, not averaged: an image's gradient must not depend on how many neighbours it has.
            logits = model.logits(leaf, noise=seeds.child("noise", number))
            loss = functional.cross_entropy(logits, y.to(logits.device), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, leaf)
        if momentum is None:
            direction = gradient
        else:
            velocity = momentum * velocity + gradient / _per_image(gradient.abs().flatten(1).sum(1), x)
            direction = velocity
        if threat.norm is Norm.LINF:
            adv = adv + step * direction.sign()
        else:
            adv = adv + step * direction / _per_image(direction.flatten(1).norm(dim=1), x)
        adv = threat.project(x, adv)
    return adv.detach()


def uniform_in_ball(x: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """One perturbation per image, uniform in the ball of radius eps; not clipped to the image bounds.

    Returns:
        the shape and device of `x`, float32.
    """
    if threat.norm is Norm.LINF:
        draw = torch.rand(x.shape, generator=generator) * 2 - 1
        return draw.to(x.device) * threat.eps
    direction = torch.randn(x.shape, generator=generator)
    radius = torch.rand(len(x), generator=generator) ** (1 / x[0].numel())
    unit = direction / _per_image(direction.flatten(1).norm(dim=1), direction)
    return (unit * radius.view(-1, *[1] * (x.dim() - 1))).to(x.device) * threat.eps


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.clamp_min(1e-12).view(-1, *[1] * (like.dim() - 1))
