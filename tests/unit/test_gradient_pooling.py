"""Max pooling before ReLU: every bit as before, hooks and other networks left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustnoise.building import build
from robustnoise.harness.crafting import lowered
from robustnoise.models import create
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Differentiable
from robustnoise.seeds import SeedStream
from robustnoise.threat import Linf
from robustnoise_attacks.gradient import objective
from robustnoise_attacks.gradient.pooling import pooled_first

SEEDS = SeedStream(5)
SHAPE = (1, 12, 12)


def _result(model: Differentiable, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of the sum of their squares."""
    leaf = x.clone().requires_grad_(True)
    logits = model.logits(leaf, noise=SEEDS)
    return logits.detach(), torch.autograd.grad(logits.square().sum(), leaf)[0]


def _net(*pool: nn.Module) -> TorchClassifier:
    torch.manual_seed(2)
    layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), *pool, nn.Flatten(), nn.LazyLinear(10))
    module = nn.Sequential(*layers)
    module(torch.zeros(1, *SHAPE))
    return TorchClassifier(module, SHAPE, 10)


def _images(n: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """Some of one grey alone, so that every window ties."""
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(n))
    x[::2] = 0.5
    return x


def _order(model: object) -> list[str]:
    assert isinstance(model, TorchClassifier)
    assert isinstance(model.module, nn.Sequential)
    return [type(layer).__name__ for layer in model.module]


@pytest.mark.parametrize("net", ["madry-mnist", "norm-cnn(width=4)", "resnet9(width=4)"])
@pytest.mark.parametrize("low", [False, True])
def test_every_bit_of_logits_and_gradients_stays(net: str, low: bool) -> None:
    model: Differentiable = create(net, (1, 28, 28), seed=1)
    model = lowered(model, "cpu") if low else model
    turned = pooled_first(model)
    assert turned is not model
    assert turned.digest == model.digest
    for mine, own in zip(
        _result(turned, _images(6, (1, 28, 28))), _result(model, _images(6, (1, 28, 28))), strict=True
    ):
        assert torch.equal(mine, own)


POOLS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, stride=2, padding=1),
    nn.MaxPool2d(3, stride=1),
    nn.MaxPool2d(5, 3, ceil_mode=True),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_every_bit_stays_where_windows_overlap_or_reach_over_the_border(pool: nn.Module) -> None:
    model, x = _net(pool), _images(8)
    turned = pooled_first(model)
    assert _order(turned) == ["Conv2d", "MaxPool2d", "ReLU", "Flatten", "Linear"]
    assert _order(model) == ["Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear"]
    assert not any(layer.training for layer in turned.module.modules())  # type: ignore[attr-defined]
    for mine, own in zip(_result(turned, x), _result(model, x), strict=True):
        assert torch.equal(mine, own)


def test_layers_with_hooks_and_other_nets_are_left_alone() -> None:
    assert pooled_first(plain := create("small-cnn", SHAPE)) is plain
    assert pooled_first(average := _net(nn.AvgPool2d(2))) is average
    for watched in (0, 1, 2):
        model = _net(nn.MaxPool2d(2))
        layer = [model.module, *model.module.children()][(0, 2, 3)[watched]]
        layer.register_forward_hook(lambda *_: None)
        assert pooled_first(model) is model


class _Own(TorchClassifier):
    """Overrides what it computes."""


def test_a_classifier_of_ones_own_is_left_alone() -> None:
    model = _Own(_net(nn.MaxPool2d(2)).module, SHAPE, 10)
    assert pooled_first(model) is model


def test_an_attack_gets_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = create("madry-mnist", SHAPE, seed=1), _images(4), torch.arange(4)
    crafter = build("pgd(steps=3, relative_step=0.25)", "crafter")
    turned = crafter.craft(model, x, y, Linf(0.3), SEEDS)
    monkeypatch.setattr(objective, "pooled_first", lambda source: source)
    assert torch.equal(crafter.craft(model, x, y, Linf(0.3), SEEDS), turned)
