"""Cheaper ways back through a network, taken only where they give the same bits as torch's own.

An ascent needs the gradient of the image alone. On small networks torch spends much of that outside of products: the
gradient of a strided convolution of one channel runs at a thirtieth of the rate of products, and behind a flattening
the gradient is laid out differently from the activations, which makes the ReLU before it ten times slower.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

MOST = 64
"""Channels times kinds of pixels (see `image_gradient`) up to which the other way was found to be quicker."""
LAST = torch.channels_last


def has_strided(source: object) -> bool:
    """Whether a network in `source`, under what wraps it, has convolutions that `QuickBackward` may make cheaper."""
    while (below := getattr(source, "inner", None) or getattr(source, "whole", None)) is not None:
        source = below
    if (members := getattr(source, "members", None)) is not None:
        return any(has_strided(member) for member in members)
    module = getattr(source, "module", None)
    layers = module.modules() if isinstance(module, nn.Module) else ()
    return any(
        isinstance(layer, nn.Conv2d) and layer.stride[0] > 1 and _shares_out(layer.weight, layer.stride[0])
        for layer in layers
    )


def quick_backward(pays: bool) -> AbstractContextManager[object]:
    """`QuickBackward` where it `pays`: each function of torch costs some 10 microseconds more under it."""
    return QuickBackward() if pays else nullcontext()


class QuickBackward(TorchFunctionMode):
    """While it is entered, gradients of images go the cheaper way; no value and no gradient changes by a bit."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See `torch.overrides.TorchFunctionMode`."""
        kwargs = kwargs or {}
        if func is torch.conv2d and not kwargs and len(args) == 7 and _is_strided(*args):
            x, weight, bias, (stride, _), (padding, _), _, _ = args
            return _Strided.apply(x, weight, bias, stride, padding)  # type: ignore[no-untyped-call]
        if (func is torch.Tensor.flatten or func is torch.flatten) and args and _is_mixed(args[0]):
            args[0].register_hook(_laid_out)
        return func(*args, **kwargs)


def _is_mixed(x: Tensor) -> bool:
    """Whether the gradient would come back laid out otherwise, to a ReLU, which gives it its own layout again."""
    after_relu = x.grad_fn is not None and x.grad_fn.name() == "ReluBackward0"
    return after_relu and x.device.type == "cpu" and x.dim() == 4 and x.is_contiguous(memory_format=LAST)


def _laid_out(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=LAST)


def _is_strided(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> bool:
    """Whether `_Strided` can do it, and the image alone needs a gradient."""
    if not (x.requires_grad and torch.is_grad_enabled() and x.device.type == "cpu" and x.dim() == 4 and groups == 1):
        return False
    # Weights that are laid out otherwise give gradients that are, and later sums might run in another order.
    if not weight.is_contiguous(memory_format=LAST) or weight.requires_grad:
        return False
    if (bias is not None and bias.requires_grad) or not isinstance(padding, tuple):
        return False
    (s, _), (p, _), size = stride, padding, weight.shape[2]
    square = weight.shape[3] == size and stride == (s, s) and padding == (p, p) and dilation == (1, 1)
    if not square or s == 1 or not _shares_out(weight, s):
        return False
    # Every pixel of the padded image is under some window, or its gradient would need a rule of its own.
    if any(side + 2 * p < size or (side + 2 * p - size) % s for side in x.shape[2:]):
        return False
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if kind not in (torch.float32, torch.bfloat16):
        return False
    return _same_bits(tuple(x.shape), tuple(weight.shape), s, p, kind, torch.get_num_threads())


def _shares_out(weight: Tensor, stride: int) -> bool:
    """Whether every kind of pixel has the same number of taps, and there are few kinds."""
    return weight.shape[2] % stride == 0 and weight.shape[1] * stride * stride <= MOST


class _Strided(torch.autograd.Function):
    """A convolution whose gradient is a plain convolution of its output's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.weight, ctx.shape, ctx.kind, ctx.stride, ctx.padding = weight, x.shape, x.dtype, stride, padding
        return functional.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weight = ctx.weight.to(gradient.dtype)
        back = image_gradient(gradient, weight, ctx.shape, ctx.stride, ctx.padding)
        return back.to(ctx.kind), None, None, None, None


def image_gradient(gradient: Tensor, weight: Tensor, shape: Sequence[int], stride: int, padding: int) -> Tensor:
    """The image's gradient from that of the output of a strided convolution.

    Under a stride of s, pixels whose coordinates are alike modulo s are reached by the same taps of the kernel: each of
    these s x s kinds of pixels is a channel of one convolution of stride 1, which has 1 / (s x s) of the taps.

    Args:
        gradient: (n, out, h, w).
        weight: (out, in, k, k), k a multiple of the stride.
        shape: the image's, (n, in, H, W).
        stride: s.
        padding: zeros around the image.
    """
    out, channels, size, _ = weight.shape
    n, _, height, width = shape
    taps = size // stride
    kinds = weight.reshape(out, channels, taps, stride, taps, stride).permute(3, 5, 1, 0, 2, 4)
    kernel = kinds.reshape(stride * stride * channels, out, taps, taps).contiguous(memory_format=LAST)
    # Upside down and right to left, so that the products are added in the order in which torch's own way adds them.
    flipped = gradient.contiguous(memory_format=LAST).flip(2, 3)
    found = functional.conv2d(flipped, kernel, padding=taps - 1).permute(0, 2, 3, 1)
    places = _places(height, width, stride, padding, found.shape[1], found.shape[2])
    return found.reshape(n, -1, channels).index_select(1, places).view(n, height, width, channels).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=64)
def _places(height: int, width: int, stride: int, padding: int, rows: int, columns: int) -> Tensor:
    """(height x width,) where each pixel's gradient is found among (rows, columns, kinds), turned by half a turn."""
    down, right = torch.arange(padding, padding + height)[:, None], torch.arange(padding, padding + width)
    place = (rows - 1 - down // stride) * columns + columns - 1 - right // stride
    return (place * stride * stride + down % stride * stride + right % stride).flatten()


@functools.lru_cache(maxsize=64)
def _same_bits(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: int,
    padding: int,
    kind: torch.dtype,
    threads: int,  # noqa: ARG001 - what an answer is kept for
) -> bool:
    """Whether both ways agree here, on values of such spread that another order of additions would show.

    Which order is torch's depends on the processor, on the version of its library and on the number of threads.
    """
    generator = torch.Generator().manual_seed(0)
    high, wide = ((side + 2 * padding - kernel[2]) // stride + 1 for side in shape[2:])

    def spread(*sizes: int) -> Tensor:
        powers = torch.randint(-8, 9, sizes, generator=generator).exp2()
        return (torch.randn(sizes, generator=generator) * powers).to(kind)

    gradient, weight = (
        spread(*sizes).contiguous(memory_format=LAST) for sizes in ((shape[0], kernel[0], high, wide), kernel)
    )
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        own: Tensor = torch.ops.aten.convolution_backward(
            gradient, torch.zeros(shape, dtype=kind), weight, None,
            [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [True, False, False],
        )[0]  # fmt: skip
        return torch.equal(own, image_gradient(gradient, weight, shape, stride, padding))
