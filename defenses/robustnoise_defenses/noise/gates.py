"""One time step of a recurrent layer, with every matrix product done by a callback.

An LSTM or a plain recurrent layer has one product a step, of ``[x_t, h]`` with ``[W_ih, W_hh]``; its output is all gate
pre-activations. A GRU has two. ``rz`` gives the reset and update gates. ``n`` gives the candidate,
``W_in x_t + b_in + r * (W_hn h + b_hn)``: the reset gate scales only the hidden half, so the operation handed to the
callback knows r. Noise on the two outputs meets each gate's pre-activation exactly once; noise on the two halves of the
candidate one by one would meet it twice, with a power that depends on r.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from robustnoise_defenses.noise.products import Product

State = tuple[Tensor, ...]
"""(h,), or (h, c) of an LSTM; each (n, hidden)."""
Step = Callable[[Tensor, State, Tensor | None], State]
"""x_t of shape (n, inputs), the state before and the rows that count, to the state after."""
GRU_PRODUCTS = ("rz", "n")


class Weights(NamedTuple):
    """The parameters of one direction of one layer, as torch names them.

    Attributes:
        ih: (gates * hidden, inputs).
        hh: (gates * hidden, hidden).
        b_ih: (gates * hidden,), or None without bias.
        b_hh: likewise.
    """

    ih: Tensor
    hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None


def join(name: str, part: str) -> str:
    """``name.part``; the root module has an empty name."""
    return f"{name}.{part}" if name else part


def product_names(mode: str, name: str) -> list[str]:
    """Names of the products in one step of one direction, in order; `mode` as for `make_step`."""
    return [join(name, part) for part in GRU_PRODUCTS] if mode == "GRU" else [name]


def make_step(mode: str, weights: Weights, name: str, product: Product) -> Step:
    """The step of one direction; weights are put together here, once a forward pass and not once a step.

    Args:
        mode: ``"LSTM"``, ``"GRU"``, ``"RNN_TANH"`` or ``"RNN_RELU"``, as torch's layers call themselves.
        weights: of the direction.
        name: of the direction.
        product: does the matrix products.
    """
    if mode == "GRU":
        return _gru_step(weights, name, product)
    weight = torch.cat([weights.ih, weights.hh], 1)
    bias = None if weights.b_ih is None or weights.b_hh is None else weights.b_ih + weights.b_hh

    def gates(x: Tensor, state: State, counted: Tensor | None) -> Tensor:
        return product(name, torch.cat([x, state[0]], 1), weight, bias, F.linear, counted)

    def lstm(x: Tensor, state: State, counted: Tensor | None) -> State:
        i, f, g, o = gates(x, state, counted).chunk(4, 1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    squash = torch.tanh if mode == "RNN_TANH" else torch.relu

    def plain(x: Tensor, state: State, counted: Tensor | None) -> State:
        return (squash(gates(x, state, counted)),)

    return lstm if mode == "LSTM" else plain


class Gated:
    """The operation of a GRU's candidate: ``W_x x + b_x + gate * (W_h h + b_h)``, linear in ``[x, h]`` and in W.

    Args:
        gate: (n, hidden), a factor on the hidden half.
        inputs: width of x.
    """

    def __init__(self, gate: Tensor, inputs: int) -> None:
        self.gate, self.inputs = gate, inputs

    def __call__(self, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`a` is ``[x, h]`` (n, inputs + hidden), `weight` ``[W_x, W_h]``, `bias` ``[b_x, b_h]`` (2 * hidden,)."""
        bias_x, bias_h = (None, None) if bias is None else bias.chunk(2)
        from_x = F.linear(a[:, : self.inputs], weight[:, : self.inputs], bias_x)
        return from_x + self.gate * F.linear(a[:, self.inputs :], weight[:, self.inputs :], bias_h)

    @property
    def for_squares(self) -> Gated:
        """What sums squared inputs times squared weights with the right factors: variances take the gate squared."""
        return Gated(self.gate.square(), self.inputs)


def _gru_step(weights: Weights, name: str, product: Product) -> Step:
    inputs, hidden = weights.ih.shape[1], weights.hh.shape[1]
    both = torch.cat([weights.ih, weights.hh], 1)
    weight_rz, weight_n = both[: 2 * hidden], both[2 * hidden :]
    bias_rz = bias_n = None
    if weights.b_ih is not None and weights.b_hh is not None:
        bias_rz = weights.b_ih[: 2 * hidden] + weights.b_hh[: 2 * hidden]
        # The two halves can't be added: the reset gate scales the second alone.
        bias_n = torch.cat([weights.b_ih[2 * hidden :], weights.b_hh[2 * hidden :]])
    name_rz, name_n = product_names("GRU", name)

    def step(x: Tensor, state: State, counted: Tensor | None) -> State:
        h = state[0]
        a = torch.cat([x, h], 1)
        r, z = torch.sigmoid(product(name_rz, a, weight_rz, bias_rz, F.linear, counted)).chunk(2, 1)
        n = torch.tanh(product(name_n, a, weight_n, bias_n, Gated(r, inputs), counted))
        return (n + z * (h - n),)

    return step
