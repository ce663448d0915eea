"""The matrix products of a network, and how to come between them without touching the user's code.

While `replaced` is active, the forward of every layer with a matrix product is one of ours, which computes the same
through a callback. Nothing is left behind afterwards, and without a callback the network runs as its author wrote it.
Products that a network computes outside such a layer (``torch.matmul``, transposed convolutions) are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.api import BadParameter, MissingCapability
from robustnoise_defenses.noise import attention, recurrent

Op = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A product as a function of (input, weight, bias), linear in input and in weight. One whose terms carry factors of
their own has an attribute `for_squares`, the same with the factors squared."""


class Product(Protocol):
    """What is called in place of a matrix product."""

    def __call__(
        self, name: str, a: Tensor, weight: Tensor, bias: Tensor | None, op: Op, counted: Tensor | None = None
    ) -> Tensor:
        """``op(a, weight, bias)`` and whatever happens to it.

        Args:
            name: of the product: the layer's, with a suffix where a layer has several.
            a: (n, ...), batch first.
            weight: of `op`.
            bias: of `op`, or None.
            op: batch first too.
            counted: (n,) bool, False for the padded rows of a sequence, which are no signal; None counts all.
        """
        ...


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
KNOWN = (nn.Linear, nn.MultiheadAttention, *CONVOLUTIONS, nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)


def product_names(module: nn.Module) -> list[str]:
    """The names of the matrix products in the order in which the network lists its layers.

    Linear, Conv1d, Conv2d: the layer's name. Recurrent layers and attention: see `recurrent.names` and
    `attention.names`.

    Raises:
        MissingCapability: a layer computes its product in a way of its own.
    """
    return [product for name, layer in _layers(module) for product in _names(layer, name)]


def channel_axis(op: Op) -> int:
    """The axis of the outputs' units or channels."""
    return -1 if op is functional.linear else 1


def square_norms(op: Op, a: Tensor, weight: Tensor) -> Tensor:
    """The squared length of the input vector of each output of a product, in a shape that fits the output.

    Noise of standard deviation s on every weight, fresh for each product, adds Gaussian noise of standard deviation
    ``s * sqrt(square_norms)`` to the output.
    """
    if op is functional.linear:
        return a.square().sum(-1, keepdim=True)
    groups = a.shape[1] // weight.shape[1]
    lengths = _for_squares(op)(a.square(), weight.new_ones(groups, *weight.shape[1:]), None)
    return lengths if groups == 1 else lengths.repeat_interleave(weight.shape[0] // groups, 1)


def squared(op: Op, a: Tensor, weight: Tensor) -> Tensor:
    """The sum over an output's terms of (input * weight) squared."""
    return _for_squares(op)(a.square(), weight.square(), None)


def _for_squares(op: Op) -> Op:
    squares: Op = getattr(op, "for_squares", op)
    return squares


@contextmanager
def replaced(
    module: nn.Module,
    product: Product,
    before: Callable[[Tensor], Tensor] | None = None,
    after: Callable[[Tensor], Tensor] | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[None]:
    """Run every matrix product of `module` through `product`, its input through `before`, its output through `after`.

    `forward` stands for the network's own, and runs the same layers.

    Raises:
        MissingCapability: a layer computes its product in a way of its own.
        RuntimeError: it is active already; see `running`.
    """
    if running(module) is not None:
        raise RuntimeError("the matrix products of this network are replaced already.")
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would go round the layers' forward
    own = module.__dict__.get("forward")
    layers = _layers(module)
    try:
        for name, layer in layers:
            layer.forward = _replacement(layer, name, product)
        module.forward = _Whole(forward or module.forward, product, before, after)
        yield
    finally:
        for _, layer in layers:
            layer.__dict__.pop("forward", None)
        if own is None:
            module.__dict__.pop("forward", None)
        else:
            module.forward = own
        torch.backends.mha.set_fastpath_enabled(fast_path)


def running(module: nn.Module) -> Product | None:
    """The `product` of the `replaced` that is active on `module`."""
    forward = module.__dict__.get("forward")
    return forward.product if isinstance(forward, _Whole) else None


def select(names: list[str], patterns: str, who: str) -> list[str]:
    """The names that fit `patterns`: shell patterns with commas between them, ``!`` before one takes names away.

    ``"conv*"``, ``"*, !head"``, ``"!head"`` (all but the head).

    Raises:
        BadParameter: a pattern fits nothing, or nothing is left.
    """
    wanted = [p.strip() for p in patterns.split(",") if p.strip()]
    chosen = set(names) if wanted and wanted[0].startswith("!") else set()
    known = f"the network's matrix products: {', '.join(names) or 'none'}."
    for pattern in wanted:
        fitting = {n for n in names if fnmatchcase(n, pattern.removeprefix("!").strip())}
        if not fitting:  # a misspelt name would quietly leave a layer out, or in
            raise BadParameter(f"{who}: layers = {patterns!r}: {pattern!r} fits none of {known}")
        chosen = chosen - fitting if pattern.startswith("!") else chosen | fitting
    if not chosen:
        raise BadParameter(f"{who}: layers = {patterns!r} leaves none of {known}")
    return [n for n in names if n in chosen]


class _Whole:
    """The forward of the whole network while its products are replaced."""

    def __init__(
        self,
        forward: Callable[..., Any],
        product: Product,
        before: Callable[[Tensor], Tensor] | None,
        after: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.forward, self.product, self.before, self.after = forward, product, before, after

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.forward(x if self.before is None else self.before(x))
        return out if self.after is None else self.after(out)


def _layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers with matrix products, by name; what is inside a layer that computes them itself is its own business."""
    found: list[tuple[str, nn.Module]] = []
    inside: tuple[str, ...] = ()
    for name, layer in module.named_modules():
        if inside and name.startswith(inside):
            continue
        if isinstance(layer, (nn.Linear, nn.MultiheadAttention, *CONVOLUTIONS, *RECURRENT)):
            _check_own_forward(module, name, layer)
            found.append((name, layer))
        if isinstance(layer, nn.MultiheadAttention):
            inside = (*inside, f"{name}." if name else "")
    return found


def _check_own_forward(module: nn.Module, name: str, layer: nn.Module) -> None:
    """Replacing a forward of the user's would drop what it does: another network would be measured."""
    known = any(type(layer).forward is kind.forward for kind in KNOWN) or getattr(layer, "computes_as_torch", False)
    if not known or ("forward" in layer.__dict__ and running(module) is None):
        raise MissingCapability(
            f"layer {name!r} ({type(layer).__name__}) has a forward of its own, which noise inside the network would "
            "replace. Expected the forward of torch's layer; a changed weight can be a parametrization "
            "(torch.nn.utils.parametrize). Where it computes the same, say so: computes_as_torch = True in the class."
        )


def _names(layer: nn.Module, name: str) -> list[str]:
    if isinstance(layer, RECURRENT):
        return recurrent.names(layer, name)
    if isinstance(layer, nn.MultiheadAttention):
        return attention.names(layer, name)
    return [name]


def _replacement(layer: nn.Module, name: str, product: Product) -> Callable[..., Any]:
    if isinstance(layer, RECURRENT):
        return recurrent.replacement(layer, name, product)
    if isinstance(layer, nn.MultiheadAttention):
        return attention.replacement(layer, name, product)
    assert isinstance(layer, (nn.Linear, *CONVOLUTIONS))
    op: Op = functional.linear if isinstance(layer, nn.Linear) else layer._conv_forward  # its stride, padding, groups

    def forward(input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        return product(name, input, layer.weight, layer.bias, op)

    return forward
