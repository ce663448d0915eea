"""Layers with a cheaper way back: every bit as before, or torch's own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise_attacks.gradient import backward
from robustnoise_attacks.gradient.backward import LaidOut, QuickConv, backward_kernel, image_gradient, is_strided

LAST = torch.channels_last


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
    for together in (1, 2, 3):
        found = image_gradient(slope, backward_kernel(weight, stride, together), x.shape, stride, padding, together)
        assert torch.allclose(found, expected, atol=1e-12)


def _used(monkeypatch: pytest.MonkeyPatch, layer: nn.Conv2d, x: Tensor, kind: torch.dtype | None = None) -> bool:
    """Whether the cheaper way was gone, which claims here that all bits agree."""
    calls: list[int] = []
    own = image_gradient

    def counted(*args: Any) -> Tensor:
        calls.append(1)
        return own(*args)

    monkeypatch.setattr(backward, "image_gradient", counted)
    monkeypatch.setattr(backward, "_agreeing_side", lambda *_: 1)
    leaf = x.clone().requires_grad_(True)
    with torch.autocast("cpu", kind, enabled=kind is not None):
        y = QuickConv(layer)(leaf)
    if y.requires_grad:
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
    made = layer().requires_grad_(False).to(memory_format=LAST)
    quick = is_strided(made) and _used(monkeypatch, made, torch.rand(2, made.in_channels, side, side))
    assert quick is used


@pytest.mark.parametrize("learns", ["weight", "bias"])
def test_weights_that_learn_keep_torchs_way(learns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2d(1, 4, 4, 2, 1).requires_grad_(False).to(memory_format=LAST)
    getattr(layer, learns).requires_grad_(True)
    assert not _used(monkeypatch, layer, torch.rand(2, 1, 8, 8))
    assert getattr(layer, learns).grad is not None


def test_other_layouts_and_kinds_and_no_gradients_keep_torchs_way(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = nn.Conv2d(2, 4, 4, 2, 1).requires_grad_(False), torch.rand(2, 2, 8, 8)
    assert not _used(monkeypatch, layer, x)
    assert not _used(monkeypatch, layer.to(memory_format=LAST, dtype=torch.float64), x.double())
    layer = layer.float()
    assert _used(monkeypatch, layer, x)
    assert _used(monkeypatch, layer, x, torch.bfloat16)
    assert not _used(monkeypatch, layer, x, torch.float16)
    with torch.no_grad():
        assert not _used(monkeypatch, layer, x)


def _slopes(x: Tensor, *layers: nn.Module) -> Tensor:
    leaf = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(nn.Sequential(*layers)(leaf).square().sum(), leaf)
    return slope


def _conv() -> nn.Conv2d:
    torch.manual_seed(3)
    return nn.Conv2d(1, 8, 4, 2, 1).requires_grad_(False).to(memory_format=LAST)


def test_autocast_around_the_way_back_changes_no_bit() -> None:
    layer, x = _conv(), torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(1))

    def slope(made: nn.Module) -> Tensor:
        leaf = x.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.autocast("cpu", enabled=False):
                y = made(leaf)
            (found,) = torch.autograd.grad(y.square().sum(), leaf)
        return found

    assert torch.equal(slope(QuickConv(layer)), slope(layer))


def test_what_is_known_of_one_engine_is_not_taken_for_another() -> None:
    layer, x = _conv(), torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    backward._agreeing_side.cache_clear()
    try:
        for enabled in (True, False):
            torch._C._set_mkldnn_enabled(enabled)  # torch.backends.mkldnn.flags warns where there is no Intel GPU
            assert torch.equal(_slopes(x, QuickConv(layer)), _slopes(x, layer))
    finally:
        torch._C._set_mkldnn_enabled(True)
    assert backward._agreeing_side.cache_info().misses == 2


def test_second_gradients_are_refused_and_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "_agreeing_side", lambda *_: 1)
    leaf = torch.rand(16, 1, 28, 28).requires_grad_(True)
    (slope,) = torch.autograd.grad(QuickConv(_conv())(leaf).square().sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_a_flattening_hands_back_the_layout_of_the_activations() -> None:
    seen: list[Tensor] = []

    class Look(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_: Any, *slopes: Tensor) -> Tensor:
            seen.append(slopes[0])
            return slopes[0]

    x = torch.rand(4, 3, 5, 5).to(memory_format=LAST)
    for flatten in (nn.Flatten(), LaidOut(nn.Flatten())):
        leaf = x.clone().requires_grad_(True)
        flatten(Look.apply(leaf)).square().sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(seen[0], seen[1])
    assert not seen[0].is_contiguous(memory_format=LAST)
    assert seen[1].is_contiguous(memory_format=LAST)


def test_where_bits_would_differ_torchs_way_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "image_gradient", lambda g, _, shape, *__: torch.zeros(shape, dtype=g.dtype))
    backward._agreeing_side.cache_clear()
    try:
        x = torch.rand(4, 1, 8, 8)
        assert torch.equal(_slopes(x, QuickConv(_conv())), _slopes(x, _conv()))
    finally:
        backward._agreeing_side.cache_clear()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_another_order_of_additions_would_show(kind: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(g: Tensor, w: Tensor, shape: tuple[int, ...], *how: int) -> Tensor:
        """The same sums, their output channels the other way round."""
        return image_gradient(g.flip(1), w.flip(1), shape, *how)

    monkeypatch.setattr(backward, "image_gradient", turned)
    backward._agreeing_side.cache_clear()
    try:
        assert not backward._agreeing_side((16, 1, 28, 28), (16, 1, 4, 4), 2, 1, kind, (torch.get_num_threads(), True))
    finally:
        backward._agreeing_side.cache_clear()


def test_weights_that_change_between_two_ascents_give_their_own_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = _conv(), torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(backward, "_agreeing_side", lambda *_: 1)
    quick = QuickConv(layer)
    before = _slopes(x, quick)
    assert torch.allclose(before, _slopes(x, layer), atol=1e-5)
    for change in (lambda w: w.mul_(-2), lambda w: setattr(w, "data", w.data / 3)):
        with torch.no_grad():
            change(layer.weight)
        assert torch.allclose(_slopes(x, quick), _slopes(x, layer), atol=1e-5)
    assert not torch.allclose(_slopes(x, quick), before, atol=1e-2)
