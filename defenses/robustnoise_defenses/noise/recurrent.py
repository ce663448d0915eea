"""The forward pass of torch's recurrent layers in Python, with every matrix product done by a callback.

A fused layer hides its gates. The functions here compute the same, step by step, and give the same kind of result, so
that they can stand in for ``layer.forward`` for a while. What a step is: see `gates`.

A packed sequence is unpacked to the caller's order, and every row runs for as many steps as the longest one; finished
rows keep their state and are marked as not counted. So the callback always sees the whole batch in the same order, and
in step k every row is at its own k-th step, from its own last row backwards in the reverse direction: what is drawn for
an image doesn't depend on how long its neighbours are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from robustnoise.api import MissingCapability
from robustnoise_defenses.noise.gates import State, Step, Weights, join, make_step, product_names

if TYPE_CHECKING:
    from robustnoise_defenses.noise.products import Product


def names(layer: nn.RNNBase | nn.RNNCellBase, name: str) -> list[str]:
    """Names of the products of a layer called `name`, in order.

    ``name.l0``, ``name.l0_reverse``, ``name.l1``, ... as in torch's own parameter names; of a GRU ``name.l0.rz`` and
    ``name.l0.n`` each. A cell is a single step: ``name``, of a GRUCell ``name.rz`` and ``name.n``.

    Raises:
        MissingCapability: see `replacement`.
    """
    mode = _mode(layer)
    directions = [name] if isinstance(layer, nn.RNNCellBase) else _directions(layer, name)
    return [product for direction in directions for product in product_names(mode, direction)]


def replacement(layer: nn.RNNBase | nn.RNNCellBase, name: str, product: Product) -> Callable[..., Any]:
    """A function with signature and result of ``layer.forward``.

    Dropout between layers draws from torch's global generator, as the layer's does.

    Raises:
        MissingCapability: an LSTM with ``proj_size``, or a layer of a type that isn't known.
    """
    mode = _mode(layer)
    if isinstance(layer, nn.RNNCellBase):
        return _cell(layer, mode, name, product)

    def forward(input: Tensor | PackedSequence, hx: Any = None) -> Any:  # noqa: A002 - torch's name for it
        steps = _steps(layer, mode, name, product)
        if isinstance(input, PackedSequence):
            return _packed(layer, steps, input, hx)
        return _padded(layer, steps, input, hx)

    return forward


def _mode(layer: nn.RNNBase | nn.RNNCellBase) -> str:
    if isinstance(layer, nn.RNNBase):
        if layer.proj_size:
            raise MissingCapability(
                f"noise on an LSTM with proj_size={layer.proj_size} isn't supported; expected proj_size=0. Use a "
                "Linear layer after the LSTM"
            )
        return layer.mode
    if isinstance(layer, nn.LSTMCell):
        return "LSTM"
    if isinstance(layer, nn.GRUCell):
        return "GRU"
    if isinstance(layer, nn.RNNCell):
        return f"RNN_{layer.nonlinearity.upper()}"
    raise MissingCapability(
        f"noise on a layer of type {type(layer).__name__} isn't supported; expected LSTM, GRU, RNN or one of "
        "their cells"
    )


def _directions(layer: nn.RNNBase, name: str) -> list[str]:
    suffixes = ("", "_reverse") if layer.bidirectional else ("",)
    return [join(name, f"l{depth}{suffix}") for depth in range(layer.num_layers) for suffix in suffixes]


def _steps(layer: nn.RNNBase, mode: str, name: str, product: Product) -> list[Step]:
    return [
        make_step(mode, Weights(*weights), direction, product)
        for weights, direction in zip(layer.all_weights, _directions(layer, name), strict=True)
    ]


def _padded(layer: nn.RNNBase, steps: list[Step], x: Tensor, hx: Any) -> Any:
    if x.dim() not in (2, 3):
        raise ValueError(f"{type(layer).__name__}: the input has {x.dim()} dimensions; expected 2 or 3")
    batched = x.dim() == 3
    given = _as_state(hx)
    if not batched:
        x = x.unsqueeze(0 if layer.batch_first else 1)
        given = None if given is None else tuple(part.unsqueeze(1) for part in given)
    given = _checked(layer, x, given, None)
    out, final = _run(layer, steps, x if layer.batch_first else x.transpose(0, 1), given, None)
    if not layer.batch_first:
        out = out.transpose(0, 1)
    if not batched:
        out = out.squeeze(0 if layer.batch_first else 1)
        final = tuple(part.squeeze(1) for part in final)
    return out, _as_hx(layer, final)


def _packed(layer: nn.RNNBase, steps: list[Step], packed: PackedSequence, hx: Any) -> Any:
    given = _checked(layer, packed.data, _as_state(hx), packed.batch_sizes)
    x, lengths = pad_packed_sequence(packed, batch_first=True)
    out, final = _run(layer, steps, x, given, lengths)
    if packed.sorted_indices is not None:
        out = out.index_select(0, packed.sorted_indices)
        lengths = lengths[packed.sorted_indices.cpu()]
    data = pack_padded_sequence(out, lengths, batch_first=True).data
    again = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return again, _as_hx(layer, final)


def _as_state(hx: Any) -> State | None:
    return hx if hx is None or isinstance(hx, tuple) else tuple(hx) if isinstance(hx, list) else (hx,)


def _as_hx(layer: nn.RNNBase, state: State) -> Tensor | State:
    return state if layer.mode == "LSTM" else state[0]


def _checked(layer: nn.RNNBase, x: Tensor, given: State | None, batch_sizes: Tensor | None) -> State:
    """The initial state, each part (layers * directions, n, hidden), zero where none is given; torch's own errors."""
    if given is None:
        rows = x.shape[0 if layer.batch_first else 1] if batch_sizes is None else int(batch_sizes[0])
        parts = layer.num_layers * (2 if layer.bidirectional else 1)
        zero = x.new_zeros(parts, rows, layer.hidden_size)
        given = (zero, zero) if layer.mode == "LSTM" else (zero,)
    layer.check_forward_args(x, _as_hx(layer, given), batch_sizes)  # type: ignore[arg-type]
    return given


def _run(layer: nn.RNNBase, steps: list[Step], x: Tensor, given: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """All layers and directions.

    Args:
        x: (n, T, inputs).
        given: initial states, each (layers * directions, n, hidden).
        lengths: int64 (n,) on the CPU, the number of real steps of each row; None where all are.

    Returns:
        Outputs (n, T, directions * hidden), zero after the end of a row, and the final states like `given`.
    """
    finals: list[State] = []
    directions = 2 if layer.bidirectional else 1
    for depth in range(layer.num_layers):
        if depth and layer.dropout and layer.training:
            x = F.dropout(x, layer.dropout)
        outs = []
        for direction in range(directions):
            index = depth * directions + direction
            state = tuple(part[index] for part in given)
            out, final = _walk(steps[index], x, state, lengths, backwards=direction == 1)
            outs.append(out)
            finals.append(final)
        x = torch.cat(outs, 2) if directions == 2 else outs[0]
    return x, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))


def _walk(step: Step, x: Tensor, state: State, lengths: Tensor | None, *, backwards: bool) -> tuple[Tensor, State]:
    """One direction of one layer: outputs (n, T, hidden) in the order of `x`, and the final state."""
    if lengths is None:
        outs = []
        for x_t in (x.flip(1) if backwards else x).unbind(1):
            state = step(x_t, state, None)
            outs.append(state[0])
        out = torch.stack(outs, 1)
        return (out.flip(1) if backwards else out), state
    if backwards:
        x = _reversed(x, lengths)
    shortest = int(lengths.min())
    active = (torch.arange(x.shape[1])[:, None] < lengths).to(x.device)
    outs = []
    for k, (x_t, counted) in enumerate(zip(x.unbind(1), active, strict=True)):
        after = step(x_t, state, counted)
        if k < shortest:
            state = after
            outs.append(after[0])
        else:
            running = counted[:, None]
            state = tuple(torch.where(running, new, old) for new, old in zip(after, state, strict=True))
            outs.append(torch.where(running, after[0], 0.0))
    out = torch.stack(outs, 1)
    return (_reversed(out, lengths) if backwards else out), state


def _reversed(x: Tensor, lengths: Tensor) -> Tensor:
    """Each row of (n, T, features) backwards within its own length; what lies behind stays where it is."""
    position = torch.arange(x.shape[1])
    index = torch.where(position < lengths[:, None], lengths[:, None] - 1 - position, position).to(x.device)
    return x.gather(1, index[:, :, None].expand_as(x))


def _cell(layer: nn.RNNCellBase, mode: str, name: str, product: Product) -> Callable[..., Any]:
    def forward(input: Tensor, hx: Any = None) -> Any:  # noqa: A002 - torch's name for it
        if input.dim() not in (1, 2):
            raise ValueError(f"{type(layer).__name__}: the input has {input.dim()} dimensions; expected 1 or 2")
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        given = _as_state(hx)
        if given is None:
            zero = x.new_zeros(len(x), layer.hidden_size)
            given = (zero, zero) if mode == "LSTM" else (zero,)
        elif not batched:
            given = tuple(part.unsqueeze(0) for part in given)
        weights = Weights(layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
        state = make_step(mode, weights, name, product)(x, given, None)
        if not batched:
            state = tuple(part.squeeze(0) for part in state)
        return state if mode == "LSTM" else state[0]

    return forward
