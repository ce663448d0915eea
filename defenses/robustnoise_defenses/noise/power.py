"""Signal power, and adding noise whose strength follows it."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Statistic = Literal["second_moment", "variance"]

TINY = 1e-20
"""Added under a square root whose gradient at 0 would be infinite."""


def signal_power(t: Tensor, axes: tuple[int, ...], statistic: Statistic, counted: Tensor | None = None) -> Tensor:
    """E[t^2] or the variance of t over `axes`, kept as axes of size 1; float32, or float64 of a float64 signal.

    Args:
        t: (n, ...).
        axes: what is averaged over, not negative; with axis 0 among them the images of a batch share one power.
        statistic: of the signal.
        counted: (n,) bool, the rows that are real; it matters only where `axes` holds axis 0.
    """
    t = t.to(_wide(t))
    count: Tensor | float = math.prod(t.shape[a] for a in axes)
    real = None
    if counted is not None and 0 in axes:
        real = counted.to(t.dtype).view(-1, *(1,) * (t.dim() - 1))
        count = real.sum().clamp_min(1) * (count / len(t))
        t = t * real
    if statistic == "variance":
        # Squares of what is left after the mean, not the mean of squares less the mean squared: that would cancel, and
        # could come out below 0.
        t = t - t.sum(axes, keepdim=True) / count
        t = t if real is None else t * real
    return t.square().sum(axes, keepdim=True) / count


def add_scaled(t: Tensor, draw: Tensor, sigma: Tensor | float) -> Tensor:
    """``t + sigma * draw``; where no gradient is wanted, in the memory of `draw`."""
    if isinstance(sigma, float):
        return t + draw * sigma if torch.is_grad_enabled() else torch.add(t, draw, alpha=sigma, out=draw)
    sigma = sigma.to(t.dtype)
    return torch.addcmul(t, draw, sigma) if torch.is_grad_enabled() else torch.addcmul(t, draw, sigma, out=draw)


def add_relative(t: Tensor, draw: Tensor, ratio: float, axes: tuple[int, ...]) -> Tensor:
    """``t + ratio * sqrt(E[t^2] over axes) * draw``, gradients through the power included.

    The same as `signal_power` with `add_scaled`, at half the memory traffic.
    """
    if torch.is_grad_enabled() and t.requires_grad:
        noisy: Tensor = _AddRelative.apply(t, draw, ratio, axes)  # type: ignore[no-untyped-call]
        return noisy
    return add_scaled(t, draw, _root_mean_square(t, axes) * ratio)


def _wide(t: Tensor) -> torch.dtype:
    """The precision of sums: bfloat16 has 8 bits, which is too little for a power within 1 %."""
    return torch.float64 if t.dtype == torch.float64 else torch.float32


def _root_mean_square(t: Tensor, axes: tuple[int, ...]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(t, dim=axes, keepdim=True, dtype=_wide(t))
    root: Tensor = norm / (t.numel() / norm.numel()) ** 0.5
    return root


class _AddRelative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor, draw: Tensor, ratio: float, axes: tuple[int, ...]) -> Tensor:
        sigma = _root_mean_square(t, axes) * ratio
        ctx.save_for_backward(t, draw, sigma)
        ctx.ratio, ctx.axes = ratio, axes
        return torch.addcmul(t, draw, sigma.to(t.dtype))

    @staticmethod
    @once_differentiable  # the gradient below isn't the graph's own
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = grads
        t, draw, sigma = ctx.saved_tensors
        # d sigma / d t = ratio^2 t / (count * sigma)
        count = t.numel() / sigma.numel()
        pull = (grad * draw).sum(ctx.axes, keepdim=True, dtype=sigma.dtype)
        pull = pull * (ctx.ratio**2 / count) / sigma.clamp_min(TINY)
        return torch.addcmul(grad, t, pull.to(t.dtype)), None, None, None
