"""Cheaper layers for an ascent: every bit as before, hooks and other networks left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustnoise.building import build
from robustnoise.models import create
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.ensemble import Ensemble
from robustnoise.models.lowered import lowered
from robustnoise.protocols import Context, Differentiable, require_differentiable
from robustnoise.seeds import SeedStream
from robustnoise.testing import toy_split
from robustnoise.threat import Linf
from robustnoise_attacks.gradient import objective
from robustnoise_attacks.gradient.quicker import quicker

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


@pytest.mark.parametrize("rows", [1, 5, 64])
@pytest.mark.parametrize(
    "net", ["small-cnn", "small-cnn(width=4)", "madry-mnist", "norm-cnn(width=4)", "resnet9(width=4)"]
)
@pytest.mark.parametrize("low", [False, True])
def test_every_bit_of_logits_and_gradients_stays(net: str, low: bool, rows: int) -> None:
    model: Differentiable = create(net, (1, 28, 28), seed=1)
    model = lowered(model, "cpu") if low else model
    turned, x = quicker(model), _images(min(rows, 64 if net.startswith("small") else 6), (1, 28, 28))
    assert turned is not model
    for mine, own in zip(_result(turned, x), _result(model, x), strict=True):
        assert torch.equal(mine, own)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 27, 30), (1, 9, 4)])
def test_every_bit_stays_on_other_images(shape: tuple[int, int, int]) -> None:
    model, x = create("small-cnn", shape, seed=1), _images(16, shape)
    for mine, own in zip(_result(quicker(model), x), _result(model, x), strict=True):
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
    turned = quicker(model)
    assert _order(turned) == ["Conv2d", "MaxPool2d", "ReLU", "LaidOut", "Linear"]
    assert _order(model) == ["Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear"]
    for mine, own in zip(_result(turned, x), _result(model, x), strict=True):
        assert torch.equal(mine, own)


@pytest.mark.parametrize("watch", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
@pytest.mark.parametrize("watched", [0, 1, 2])
def test_layers_with_hooks_are_left_alone(watched: int, watch: str) -> None:
    model = _net(nn.MaxPool2d(2))
    layer = [model.module, *model.module.children()][(0, 2, 3)[watched]]
    getattr(layer, watch)(lambda *_: None)
    assert "MaxPool2d" not in _order(quicker(model))[:2]


def test_layers_that_everyone_watches_or_that_are_patched_are_left_alone() -> None:
    model = _net(nn.MaxPool2d(2))
    everyone = nn.modules.module
    for watch in (everyone.register_module_forward_hook, everyone.register_module_full_backward_hook):
        handle = watch(lambda *_: None)
        try:
            assert quicker(model) is model
        finally:
            handle.remove()
    relu = list(model.module.children())[1]
    relu.forward = torch.abs
    x = _images(4)
    for mine, own in zip(_result(quicker(model), x), _result(model, x), strict=True):
        assert torch.equal(mine, own)


def test_what_a_hook_sees_is_not_overwritten() -> None:
    model, seen, x = _net(), list[Tensor](), _images(4)
    conv, relu = list(model.module.children())[:2]
    turned = quicker(model)
    assert isinstance(turned, TorchClassifier)
    assert [layer.inplace for layer in turned.module.children() if isinstance(layer, nn.ReLU)] == [True]
    assert isinstance(relu, nn.ReLU)
    assert not relu.inplace  # shared with the person's own net
    conv.register_forward_hook(lambda _layer, _inputs, y: seen.append(y.detach()))
    _result(quicker(model), x)
    assert float(seen[0].min()) < 0


def test_other_nets_are_left_alone() -> None:
    for model in (create("mlp", SHAPE), TorchClassifier(nn.ModuleList([nn.Flatten()]), SHAPE, 10)):
        assert quicker(model) is model


def test_the_mode_of_shared_layers_stays() -> None:
    model = _net(nn.MaxPool2d(2), nn.Dropout())
    list(model.module.children())[3].train()
    quicker(model)
    assert [layer.training for layer in model.module.children()] == [False, False, False, True, False, False]


def test_a_layer_that_stands_twice_is_used_twice() -> None:
    torch.manual_seed(4)
    relu = nn.ReLU()
    module = nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), relu, nn.MaxPool2d(2), relu, nn.Flatten(), nn.Linear(36, 10))
    model, x = TorchClassifier(module, SHAPE, 10), _images(4)
    turned = quicker(model)
    assert _order(turned) == ["QuickConv", "MaxPool2d", "ReLU", "ReLU", "LaidOut", "Linear"]
    for mine, own in zip(_result(turned, x), _result(model, x), strict=True):
        assert torch.equal(mine, own)


def test_members_of_an_ensemble_are_turned_one_by_one() -> None:
    members = [create("madry-mnist", SHAPE, seed=seed) for seed in (1, 2)]
    climbed = objective.Objective(Ensemble(members, "losses"), "ce", _images(2), torch.tensor([0, 1]), SEEDS)
    assert all("MaxPool2d" in _order(member)[:2] for member in climbed.members)


@pytest.mark.parametrize("defense", ["layer-noise(0)", "gaussian-input-noise(sigma=0.1)"])
def test_a_net_under_noise_is_left_alone(defense: str) -> None:
    model = build(defense, "defense").apply(create("small-cnn", SHAPE, seed=1), Context(train=toy_split(16, SHAPE, 10)))
    assert quicker(require_differentiable(model, "a test")) is model


class _Own(TorchClassifier):
    """Overrides what it computes."""


def test_a_classifier_of_ones_own_is_left_alone() -> None:
    model = _Own(_net(nn.MaxPool2d(2)).module, SHAPE, 10)
    assert quicker(model) is model


@pytest.mark.parametrize("net", ["madry-mnist", "small-cnn"])
def test_an_attack_gets_the_same_images(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = create(net, SHAPE, seed=1), _images(4), torch.arange(4)
    crafter = build("pgd(steps=3, relative_step=0.25)", "crafter")
    turned = crafter.craft(model, x, y, Linf(0.3), SEEDS)
    monkeypatch.setattr(objective, "quicker", lambda source: source)
    assert torch.equal(crafter.craft(model, x, y, Linf(0.3), SEEDS), turned)
