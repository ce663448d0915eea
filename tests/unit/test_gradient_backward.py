"""Cheaper ways back through a network: every bit as before, or torch's own way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise.building import build
from robustnoise.harness.crafting import lowered
from robustnoise.models import create
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Classifier, Context, require_differentiable
from robustnoise.seeds import SeedStream
from robustnoise.testing import toy_split
from robustnoise.threat import Linf
from robustnoise_attacks.gradient import backward, objective
from robustnoise_attacks.gradient.backward import QuickBackward, has_strided, image_gradient

SEEDS = SeedStream(5)
NETS = ["small-cnn", "small-cnn(width=4)", "madry-mnist", "norm-cnn(width=4)", "resnet9(width=4)", "mlp(hidden=8)"]
DEFENSES = ["layer-noise(0)", "layer-noise(snr_db=20)", "gaussian-input-noise(sigma=0.1)"]


def _slope(model: Classifier, x: Tensor) -> Tensor:
    source, leaf = require_differentiable(model, "a test"), x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(source.logits(leaf, noise=SEEDS).square().sum(), leaf)
    return slope


def _quick_slope(model: Classifier, x: Tensor) -> Tensor:
    with QuickBackward():
        return _slope(model, x)


def _images(n: int, shape: tuple[int, int, int] = (1, 28, 28)) -> Tensor:
    """Some of one grey alone, so that windows tie, and some of few levels."""
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(n))
    x[::3] = 0.5
    x[1::3] = (x[1::3] * 2).round() / 2
    return x


@pytest.mark.parametrize("rows", [1, 5, 128])
@pytest.mark.parametrize("net", NETS)
def test_every_bit_of_a_gradient_stays(net: str, rows: int) -> None:
    rows = min(rows, 16) if net in ("madry-mnist", "resnet9(width=4)") else rows
    model, x = create(net, (1, 28, 28), seed=1), _images(rows)
    assert torch.equal(_quick_slope(model, x), _slope(model, x))


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 27, 30), (1, 9, 4)])
def test_every_bit_stays_on_other_images(shape: tuple[int, int, int]) -> None:
    model, x = create("small-cnn", shape, seed=1), _images(16, shape)
    assert torch.equal(_quick_slope(model, x), _slope(model, x))


def test_every_bit_of_a_gradient_in_bfloat16_stays() -> None:
    model, x = lowered(create("small-cnn", (1, 28, 28), seed=1), "cpu"), _images(32)
    assert torch.equal(_quick_slope(model, x), _slope(model, x))


@pytest.mark.parametrize("defense", DEFENSES)
def test_noise_in_the_layers_and_its_gradients_stay(defense: str) -> None:
    data = toy_split(16, (1, 28, 28), 10)
    model = build(defense, "defense").apply(create("small-cnn", (1, 28, 28), seed=1), Context(train=data))
    x = _images(8)
    assert torch.equal(_quick_slope(model, x), _slope(model, x))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"), [(4, 2, 1, 8), (4, 2, 0, 10), (2, 2, 0, 6), (6, 3, 2, 8), (4, 4, 0, 8)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_is_that_of_the_convolution(
    kernel: int, stride: int, padding: int, side: int, channels: int
) -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(5, channels, kernel, kernel, generator=generator, dtype=torch.float64)
    x = torch.rand(3, channels, side, side + stride, generator=generator, dtype=torch.float64, requires_grad=True)
    y = nn.functional.conv2d(x, weight, stride=stride, padding=padding)
    slope = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad(y, x, slope)
    assert torch.allclose(image_gradient(slope, weight, x.shape, stride, padding), expected, atol=1e-12)


def _used(monkeypatch: pytest.MonkeyPatch, layer: nn.Conv2d, x: Tensor) -> bool:
    calls: list[int] = []
    own = image_gradient

    def counted(*args: Any) -> Tensor:
        calls.append(1)
        return own(*args)

    monkeypatch.setattr(backward, "image_gradient", counted)
    monkeypatch.setattr(backward, "_same_bits", lambda *_: True)
    leaf = x.clone().requires_grad_(True)
    with QuickBackward():
        y = layer(leaf)
    y.sum().backward()
    assert leaf.grad is not None
    return bool(calls)


@pytest.mark.parametrize(
    ("layer", "side", "used"),
    [
        (lambda: nn.Conv2d(1, 4, 4, 2, 1), 8, True),
        (lambda: nn.Conv2d(1, 4, 4, 2, 1, bias=False), 8, True),
        (lambda: nn.Conv2d(1, 4, 3, 2, 1), 8, False),  # taps that don't share out
        (lambda: nn.Conv2d(1, 4, 4, 1, 1), 8, False),
        (lambda: nn.Conv2d(1, 4, 4, 2, 1), 9, False),  # a row that no window reaches
        (lambda: nn.Conv2d(32, 4, 4, 2, 1), 8, False),
        (lambda: nn.Conv2d(2, 4, 4, 2, 1, groups=2), 8, False),
        (lambda: nn.Conv2d(1, 4, 4, 2, 1, dilation=2), 12, False),
        (lambda: nn.Conv2d(1, 4, (4, 2), 2, 1), 8, False),
    ],
)
def test_other_convolutions_keep_torchs_way(
    layer: Callable[[], nn.Conv2d], side: int, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = layer().requires_grad_(False)
    assert _used(monkeypatch, made, torch.rand(2, made.in_channels, side, side)) is used


def test_weights_that_learn_keep_torchs_way(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2d(1, 4, 4, 2, 1)
    assert not _used(monkeypatch, layer, torch.rand(2, 1, 8, 8))
    assert layer.weight.grad is not None


def test_where_bits_would_differ_torchs_way_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "image_gradient", lambda g, _, shape, *__: torch.zeros(shape, dtype=g.dtype))
    backward._same_bits.cache_clear()
    try:
        model, x = create("small-cnn(width=3)", (1, 8, 8), seed=1), _images(4, (1, 8, 8))
        assert torch.equal(_quick_slope(model, x), _slope(model, x))
    finally:
        backward._same_bits.cache_clear()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_another_order_of_additions_would_show(kind: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(g: Tensor, w: Tensor, shape: tuple[int, ...], stride: int, padding: int) -> Tensor:
        """The same sums, their output channels the other way round."""
        return image_gradient(g.flip(1), w.flip(0), shape, stride, padding)

    monkeypatch.setattr(backward, "image_gradient", turned)
    backward._same_bits.cache_clear()
    try:
        assert not backward._same_bits((16, 1, 28, 28), (16, 1, 4, 4), 2, 1, kind, torch.get_num_threads())
    finally:
        backward._same_bits.cache_clear()


@pytest.mark.parametrize(
    ("net", "pays"), [("small-cnn", True), ("resnet9(width=4)", False), ("mlp", False), ("madry-mnist", False)]
)
@pytest.mark.parametrize("defense", [None, *DEFENSES])
def test_it_is_entered_for_nets_with_such_convolutions_alone(net: str, pays: bool, defense: str | None) -> None:
    model: Classifier = create(net, (1, 8, 8), seed=1)
    if defense is not None:
        model = build(defense, "defense").apply(model, Context(train=toy_split(16, (1, 8, 8), 10)))
    assert has_strided(model) is pays
    assert has_strided(lowered(model, "cpu")) is pays


def test_an_attack_gets_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = create("small-cnn", (1, 28, 28), seed=1), _images(9)
    y, crafter = torch.arange(9), build("pgd(steps=3, relative_step=0.25)", "crafter")
    entered: list[bool] = []

    def plain(pays: bool) -> AbstractContextManager[None]:
        entered.append(pays)
        return nullcontext()

    quick = crafter.craft(model, x, y, Linf(0.3), SEEDS)
    monkeypatch.setattr(objective, "quick_backward", plain)
    assert torch.equal(crafter.craft(model, x, y, Linf(0.3), SEEDS), quick)
    assert entered == [True] * 3


def test_a_net_of_its_own_that_is_asked_twice_keeps_its_gradient() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            h: Tensor = self.conv(x).relu()
            again: Tensor = self.conv(1 - x)
            return h.flatten(1)[:, :10] * h.mean((1, 2, 3))[:, None] + again.flatten(1)[:, :10]

    torch.manual_seed(3)
    model, x = TorchClassifier(Twice(), (1, 8, 8), 10), _images(5, (1, 8, 8))
    assert torch.equal(_quick_slope(model, x), _slope(model, x))
