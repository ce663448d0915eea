"""Layers with a cheaper way back, taken only where it gives the same bits as torch's own.

An ascent needs the gradient of the image alone. On small networks torch spends much of that outside of products: the
gradient of a strided convolution of one channel runs at a thirtieth of the rate of products, and behind a flattening
the gradient is laid out differently from the activations, which makes the ReLU before it ten times slower.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

MOST = 64
"""Channels times kinds of pixels (see `image_gradient`) up to which the other way was found to be quicker."""
FEW = 8
"""Channels times kinds up to which pixels are taken by fours: vector units would be half empty otherwise, and the zeros
that this puts into the kernel cost less."""
LAST = torch.channels_last


class LaidOut(nn.Module):
    """A flattening behind a ReLU whose gradient comes back in the layout of the activations."""

    def __init__(self, flatten: nn.Flatten) -> None:
        super().__init__()
        self.flatten = flatten

    def forward(self, x: Tensor) -> Tensor:
        """See `torch.nn.Flatten`."""
        if x.requires_grad and x.device.type == "cpu" and x.dim() == 4 and x.is_contiguous(memory_format=LAST):
            x.register_hook(_laid_out)
        out: Tensor = self.flatten(x)
        return out


def _laid_out(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=LAST)


def is_strided(layer: nn.Conv2d) -> bool:
    """Whether `QuickConv` may do it: every kind of pixel has the same number of taps, and there are few kinds."""
    (size, wide), (s, across), pads = layer.kernel_size, layer.stride, layer.padding
    square = size == wide and s == across and isinstance(pads, tuple) and pads[0] == pads[1]
    simple = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return square and simple and s > 1 and size % s == 0 and layer.in_channels * s * s <= MOST


class QuickConv(nn.Module):
    """A convolution for which `is_strided` holds."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.s, self.p = layer.stride[0], int(layer.padding[0])
        self.kernels: dict[tuple[torch.dtype, int, int, int], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """See `torch.nn.Conv2d`."""
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        side = self._side(x, kind)
        if not side:
            plain: Tensor = self.layer(x)
            return plain
        weight, bias, kernel = self.layer.weight, self.layer.bias, self._kernel(kind, side)
        quick: Tensor = _Strided.apply(x, weight, bias, kernel, self.s, self.p, side)  # type: ignore[no-untyped-call]
        return quick

    def _kernel(self, kind: torch.dtype, side: int) -> Tensor:
        """`backward_kernel`, kept until the weights change: an ascent asks for it at every step."""
        weight = self.layer.weight
        key = (kind, side, weight.data_ptr(), weight._version)
        if key not in self.kernels:
            self.kernels = {key: backward_kernel(weight.detach().to(kind), self.s, side)}
        return self.kernels[key]

    def _side(self, x: Tensor, kind: torch.dtype) -> int:
        """`image_gradient`'s, where the image alone needs a gradient and comes out bit by bit; 0 is torch's own way."""
        weight, bias, s, p = self.layer.weight, self.layer.bias, self.s, self.p
        if not (x.requires_grad and torch.is_grad_enabled() and x.device.type == "cpu" and x.dim() == 4):
            return 0
        # Weights that are laid out otherwise give gradients that are, and later sums might run in another order.
        learns = weight.requires_grad or (bias is not None and bias.requires_grad)
        if learns or not weight.is_contiguous(memory_format=LAST):
            return 0
        # Every pixel of the padded image is under some window, or its gradient would need a rule of its own.
        size = weight.shape[2]
        if any(length + 2 * p < size or (length + 2 * p - size) % s for length in x.shape[2:]):
            return 0
        if kind not in (torch.float32, torch.bfloat16):
            return 0
        engine = (torch.get_num_threads(), torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)
        return _agreeing_side(tuple(x.shape), tuple(weight.shape), s, p, kind, engine)


class _Strided(torch.autograd.Function):
    """A convolution whose gradient is a plain convolution of its output's."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, kernel: Tensor, stride: int, padding: int, side: int
    ) -> Tensor:
        ctx.kernel, ctx.kind, ctx.how = kernel, x.dtype, (x.shape, stride, padding, side)
        return functional.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        with torch.autocast("cpu", enabled=False):
            back = image_gradient(gradient, ctx.kernel, *ctx.how)
        return back.to(ctx.kind), None, None, None, None, None, None


def backward_kernel(weight: Tensor, stride: int, side: int = 1) -> Tensor:
    """The kernel of `image_gradient`.

    Args:
        weight: (out, in, k, k), k a multiple of the stride.
        stride: s.
        side: see `image_gradient`.

    Returns:
        (side x side x s x s x in, out, k / s + side - 1, k / s + side - 1), channels last.
    """
    out, channels, size, _ = weight.shape
    taps = size // stride
    kinds = weight.reshape(out, channels, taps, stride, taps, stride).permute(3, 5, 1, 0, 2, 4)
    kernel = kinds.reshape(stride * stride * channels, out, taps, taps)
    return (_together(kernel, side) if side > 1 else kernel).contiguous(memory_format=LAST)


def image_gradient(
    gradient: Tensor, kernel: Tensor, shape: Sequence[int], stride: int, padding: int, side: int = 1
) -> Tensor:
    """The image's gradient from that of the output of a strided convolution.

    Under a stride of s, pixels whose coordinates are alike modulo s are reached by the same taps of the kernel: each of
    these s x s kinds of pixels is a channel of one convolution of stride 1, which has 1 / (s x s) of the taps.

    Args:
        gradient: (n, out, h, w).
        kernel: `backward_kernel` of that stride and side.
        shape: the image's, (n, in, H, W).
        stride: s.
        padding: zeros around the image.
        side: pixels of each kind, down and right, that one output of the convolution holds.
    """
    n, channels, height, width = shape
    taps = kernel.shape[2] - side + 1
    # Upside down and right to left, so that the products are added in the order in which torch's own way adds them.
    flipped = gradient.contiguous(memory_format=LAST).flip(2, 3)
    grid = (flipped.shape[2] + taps - 1, flipped.shape[3] + taps - 1)
    # Where the grid isn't a multiple of the side, it begins before the first pixel.
    early = (-grid[0] % side, -grid[1] % side)
    around = (taps - 1 + early[0], taps - 1 + early[1])
    found = functional.conv2d(flipped, kernel, stride=side, padding=around).permute(0, 2, 3, 1)
    places = _places(height, width, stride, padding, side, grid)
    return found.reshape(n, -1, channels).index_select(1, places).view(n, height, width, channels).permute(0, 3, 1, 2)


def _together(kernel: Tensor, side: int) -> Tensor:
    """The kernel (kinds, out, taps, taps) at side x side neighbouring places, of which each is an output of its own."""
    kinds, out, taps, _ = kernel.shape
    wide = kernel.new_zeros(side, side, kinds, out, taps + side - 1, taps + side - 1)
    for down in range(side):
        for right in range(side):
            wide[down, right, :, :, down : down + taps, right : right + taps] = kernel
    return wide.flatten(0, 2)


@functools.lru_cache(maxsize=64)
def _places(height: int, width: int, stride: int, padding: int, side: int, grid: tuple[int, int]) -> Tensor:
    """(height x width,): where each pixel's gradient is found among what the convolution gives, turned by half a turn.

    That is (rows, columns, side, side, stride, stride) of a grid that ends with the first pixel.
    """
    rows, columns = (-(-length // side) for length in grid)
    down, right = torch.arange(height, device="cpu")[:, None] + padding, torch.arange(width, device="cpu") + padding
    row, column = rows * side - 1 - down // stride, columns * side - 1 - right // stride
    place = (row // side * columns + column // side) * side * side + row % side * side + column % side
    return (place * stride * stride + down % stride * stride + right % stride).flatten()


@functools.lru_cache(maxsize=64)
def _agreeing_side(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: int,
    padding: int,
    kind: torch.dtype,
    engine: tuple[int, bool],  # noqa: ARG001 - what an answer is kept for
) -> int:
    """The quicker side with which `image_gradient` agrees with torch here, 0 where none does.

    They are compared on values of such spread that another order of additions would show.

    Which order is torch's depends on the processor, on its library and on the number of threads.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    high, wide = ((side + 2 * padding - kernel[2]) // stride + 1 for side in shape[2:])

    def spread(*sizes: int) -> Tensor:
        powers = torch.randint(-8, 9, sizes, generator=generator, device="cpu").exp2()
        return (torch.randn(sizes, generator=generator, device="cpu") * powers).to(kind)

    gradient, weight = (
        spread(*sizes).contiguous(memory_format=LAST) for sizes in ((shape[0], kernel[0], high, wide), kernel)
    )
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        own: Tensor = torch.ops.aten.convolution_backward(
            gradient, torch.zeros(shape, dtype=kind, device="cpu"), weight, None,
            [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [True, False, False],
        )[0]  # fmt: skip
        sides = (2, 1) if kernel[1] * stride * stride <= FEW else (1,)

        def agrees(side: int) -> bool:
            kernel = backward_kernel(weight, stride, side)
            return torch.equal(own, image_gradient(gradient, kernel, shape, stride, padding, side))

        return next((side for side in sides if agrees(side)), 0)
