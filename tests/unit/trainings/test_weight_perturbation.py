"""Adversarial weight perturbation: how far, along what, and back again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.api import BadParameter, Context, Schedule, SeedStream, build, fit
from robustnoise_defenses import WeightPerturbation
from tests.unit.trainings.nets import IMAGES, LABELS, STREAM, close, far, fresh, same, slow, trained

SHORT = "epochs=2, batch_size=16, learning_rate=0.02"


def _net() -> nn.Module:
    return copy.deepcopy(fresh("norm-cnn(width=2)").module).requires_grad_(True).train()


def test_each_weight_moves_by_gamma_along_its_slope_and_comes_back_to_the_bit() -> None:
    module = _net()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    names, weights = zip(*module.named_parameters(), strict=True)
    slopes = dict(zip(names, torch.autograd.grad(_loss(module), weights), strict=True))
    module.load_state_dict(before)
    moved = 0
    with WeightPerturbation(0.05).around_loss(module, lambda: _loss(module), 0.0, STREAM):
        for name, weight in module.named_parameters():
            shift = (weight - before[name]).detach()
            if weight.dim() == 1:
                assert not shift.any()
                continue
            moved += 1
            assert (shift.norm() / before[name].norm()).item() == pytest.approx(0.05, rel=1e-4)
            along = functional.cosine_similarity(shift.flatten(), slopes[name].flatten(), dim=0)
            assert along.item() == pytest.approx(1, abs=1e-4)
        for name, buffer in module.named_buffers():
            assert torch.equal(buffer, before[name]), name
    assert moved >= 3
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def _loss(module: nn.Module) -> Tensor:
    return functional.cross_entropy(module(IMAGES), LABELS)


def test_weights_come_back_after_an_error_too() -> None:
    module = _net()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with (
        pytest.raises(KeyboardInterrupt),
        WeightPerturbation(0.5).around_loss(module, lambda: _loss(module), 0.0, STREAM),
    ):
        raise KeyboardInterrupt
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_a_slow_loop_ends_in_the_same_weights() -> None:
    """Moved weights stand in for the network by a functional call, so that nothing is written and put back."""

    def loss(module: nn.Module, x: Tensor, y: Tensor, seeds: SeedStream) -> Tensor:
        named = dict(module.named_parameters())
        slopes = torch.autograd.grad(functional.cross_entropy(module(x), y), list(named.values()))
        away = {
            name: 0.1 * p.detach().norm() * slope / slope.norm() if p.dim() > 1 else torch.zeros_like(p)
            for (name, p), slope in zip(named.items(), slopes, strict=True)
        }
        moved = {name: p + away[name] for name, p in named.items()}
        return functional.cross_entropy(torch.func.functional_call(module, moved, (x,)), y)

    ours = trained(f"plain-training({SHORT}) | weight-perturbation(0.1)")
    close(ours, slow(loss, 2, 16, 0.02))
    assert far(ours, trained(f"plain-training({SHORT})"))


@pytest.mark.parametrize("off", ["gamma=0", "warmup=1"])
def test_switched_off_it_changes_nothing(off: str) -> None:
    leader = f"trades-training({SHORT}, steps=2)"
    net = "norm-cnn(width=2)"
    assert same(trained(f"{leader} | weight-perturbation({off})", net), trained(leader, net))
    assert not same(trained(f"{leader} | weight-perturbation", net), trained(leader, net))


class Asking:
    """A weight hook that asks for the loss twice."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def around_loss(
        self, module: nn.Module, loss: Callable[[], Tensor], progress: float, seeds: SeedStream
    ) -> AbstractContextManager[object]:
        self.found.append((loss().item(), loss().item()))
        return nullcontext()


def test_the_loss_is_asked_again_with_the_same_noise() -> None:
    asking = Asking()
    stages = build("trades-training(steps=1) | noise-training(layer-noise(0, power=sample))", "defense").stages()
    fit(fresh(), IMAGES, LABELS, Schedule(1, 0.01, 16), STREAM, hooks=[*stages, asking])
    first, second = asking.found
    assert first[0] == first[1]
    assert second[0] == second[1]
    assert first != second


def test_it_trains_nothing_alone() -> None:
    with pytest.raises(BadParameter, match=r"write plain-training\(\.\.\.\) \| weight-perturbation"):
        WeightPerturbation().apply(fresh(), Context())
