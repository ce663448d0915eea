"""Fast adversarial training is algorithm 3 of Wong, Rice, Kolter 2020: its start is clipped after the step alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.api import SeedStream
from tests.unit.trainings.nets import close, far, slow, trained

EPS = 0.2


def _step(module: nn.Module, x: Tensor, y: Tensor, seeds: SeedStream, *, clipped: bool) -> Tensor:
    delta = EPS * (2 * torch.rand(x.shape, generator=seeds.child("hook", 0).generator("start")) - 1)
    start = (x + delta).clamp(0, 1) if clipped else x + delta
    start = start.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(functional.cross_entropy(module(start), y), start)
    delta = (start.detach() - x + 1.25 * EPS * slope.sign()).clamp(-EPS, EPS)
    return functional.cross_entropy(module((x + delta).clamp(0, 1)), y)


def _unclipped(module: nn.Module, x: Tensor, y: Tensor, seeds: SeedStream) -> Tensor:
    return _step(module, x, y, seeds, clipped=False)


def _clipped(module: nn.Module, x: Tensor, y: Tensor, seeds: SeedStream) -> Tensor:
    return _step(module, x, y, seeds, clipped=True)


def test_a_slow_loop_ends_in_the_same_weights() -> None:
    ours = trained(f"fast-training(eps={EPS}, ramp=0, epochs=2, batch_size=16, learning_rate=0.02)")
    close(ours, slow(_unclipped, 2, 16, 0.02))
    other = slow(_clipped, 2, 16, 0.02)
    assert max(float((v - other[k]).abs().max()) for k, v in ours.module.state_dict().items()) > 1e-3
    assert far(ours, trained("plain-training(epochs=2, batch_size=16, learning_rate=0.02)"))
