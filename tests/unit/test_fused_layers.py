"""The Python forward of recurrent and attention layers: equal to torch's, with every product seen by the callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from robustnoise.errors import MissingCapability
from robustnoise_defenses.noise import attention, recurrent
from robustnoise_defenses.noise.gates import Gated

Op = Callable[[Tensor, Tensor, Tensor | None], Tensor]
LENGTHS = [3, 7, 1, 7, 5]


def plain(name: str, a: Tensor, weight: Tensor, bias: Tensor | None, op: Op, counted: Tensor | None = None) -> Tensor:
    return op(a, weight, bias)


class Recorder:
    """Draws noise in proportion to `scale`, one generator a name, and remembers the calls."""

    def __init__(self, scale: float = 0.0) -> None:
        self.scale = scale
        self.calls: list[tuple[str, Tensor, Tensor | None]] = []
        self.generators: dict[str, torch.Generator] = {}

    def __call__(
        self, name: str, a: Tensor, weight: Tensor, bias: Tensor | None, op: Op, counted: Tensor | None = None
    ) -> Tensor:
        out = op(a, weight, bias)
        assert len(out) == len(a)
        assert counted is None or (counted.dtype == torch.bool and counted.shape == (len(a),))
        self.calls.append((name, out, counted))
        generator = self.generators.setdefault(name, torch.Generator().manual_seed(len(name)))
        return out + self.scale * torch.randn(out.shape, generator=generator)


def seeded(build: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return build()


def tensors(result: Any) -> list[Tensor]:
    """All tensors in the nested result of a layer."""
    if isinstance(result, PackedSequence):
        return [result.data]
    if isinstance(result, Tensor):
        return [result]
    return [] if result is None else [t for part in result for t in tensors(part)]


def assert_same(layer: nn.Module, replaced: Callable[..., Any], args: tuple[Any, ...], **options: Any) -> None:
    """Results, and gradients of weights and inputs, within 1e-5 in every element."""
    leaves = [*layer.parameters(), *(t for t in tensors(args) if t.requires_grad)]
    both = []
    for forward in (layer.forward, replaced):
        found = tensors(forward(*args, **options))
        loss = sum((t * torch.linspace(-1, 1, t.numel()).view(t.shape)).sum() for t in found)
        both.append((found, torch.autograd.grad(loss, leaves, allow_unused=True)))
    (wanted, wanted_grads), (found, grads) = both
    assert [t.shape for t in found] == [t.shape for t in wanted]
    for a, b in zip([*found, *grads], [*wanted, *wanted_grads], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


KINDS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
}


def hidden_state(layer: nn.RNNBase, rows: int) -> Any:
    parts = layer.num_layers * (2 if layer.bidirectional else 1)
    shape = (parts, rows, layer.hidden_size)
    h, c = torch.randn(shape, requires_grad=True), torch.randn(shape, requires_grad=True)
    return (h, c) if isinstance(layer, nn.LSTM) else h


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_first": True},
        {"num_layers": 2, "bias": False},
        {"bidirectional": True, "batch_first": True},
        {"num_layers": 3, "bidirectional": True},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_layers_equal_torchs(kind: str, options: dict[str, Any], state: bool) -> None:
    layer = seeded(lambda: KINDS[kind](4, 6, **options))
    forward = recurrent.replacement(layer, "rnn", plain)
    batch_first = layer.batch_first
    x = torch.randn(5, 7, 4) if batch_first else torch.randn(7, 5, 4)
    hx = (hidden_state(layer, 5),) if state else ()
    assert_same(layer, forward, (x.requires_grad_(), *hx))

    rows = torch.randn(5, 7, 4) if batch_first else torch.randn(7, 5, 4)
    packed = pack_padded_sequence(
        rows.requires_grad_(), torch.tensor(LENGTHS), batch_first=batch_first, enforce_sorted=False
    )
    assert_same(layer, forward, (packed, *hx))

    single = ()
    if state:
        single = (tuple(t[:, 0] for t in hx[0]) if kind == "lstm" else hx[0][:, 0],)
    assert_same(layer, forward, (torch.randn(7, 4), *single))


def test_packed_sequence_of_a_sorted_batch() -> None:
    layer = seeded(lambda: nn.LSTM(4, 6, bidirectional=True))
    packed = pack_padded_sequence(torch.randn(4, 3, 4), torch.tensor([4, 2, 2]))
    out, _ = recurrent.replacement(layer, "rnn", plain)(packed)
    assert out.sorted_indices is None
    assert out.unsorted_indices is None
    assert torch.equal(out.batch_sizes, packed.batch_sizes)
    assert_same(layer, recurrent.replacement(layer, "rnn", plain), (packed,))


def test_dropout_acts_between_layers_and_in_training_alone() -> None:
    layer = seeded(lambda: nn.GRU(4, 6, num_layers=2, dropout=1.0))
    forward = recurrent.replacement(layer, "rnn", plain)
    x = torch.randn(7, 5, 4)
    assert_same(layer.train(), forward, (x,))
    dropped = forward(x)[0]
    assert_same(layer.eval(), forward, (x,))
    assert not torch.allclose(dropped, forward(x)[0])


@pytest.mark.parametrize("rows", [None, 5])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell, lambda *a, **k: nn.RNNCell(*a, nonlinearity="relu", **k)]
)
def test_cells_equal_torchs(kind: Any, bias: bool, state: bool, rows: int | None) -> None:
    layer = seeded(lambda: kind(4, 6, bias=bias))
    lead = () if rows is None else (rows,)
    h, c = torch.randn(*lead, 6, requires_grad=True), torch.randn(*lead, 6, requires_grad=True)
    hx: tuple[Any, ...] = (((h, c) if isinstance(layer, nn.LSTMCell) else h),) if state else ()
    assert_same(layer, recurrent.replacement(layer, "cell", plain), (torch.randn(*lead, 4, requires_grad=True), *hx))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.LSTM(4, 6), ["a.l0"]),
        (nn.RNN(4, 6, 2, bidirectional=True), ["a.l0", "a.l0_reverse", "a.l1", "a.l1_reverse"]),
        (nn.GRU(4, 6, 2), ["a.l0.rz", "a.l0.n", "a.l1.rz", "a.l1.n"]),
        (nn.LSTMCell(4, 6), ["a"]),
        (nn.GRUCell(4, 6), ["a.rz", "a.n"]),
    ],
)
def test_each_product_is_called_once_a_step_under_its_name(layer: Any, expected: list[str]) -> None:
    assert recurrent.names(layer, "a") == expected
    recorder = Recorder()
    steps = 1 if isinstance(layer, nn.RNNCellBase) else 7
    recurrent.replacement(layer, "a", recorder)(torch.randn(5, 4) if steps == 1 else torch.randn(7, 5, 4))
    called = [name for name, _, _ in recorder.calls]
    assert sorted(called) == sorted(expected * steps)
    assert list(dict.fromkeys(called)) == expected
    gates = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3}.get(type(layer), 1)
    assert sum(out.shape[1] for name, out, _ in recorder.calls) == len(called) * gates * 6 / (2 if gates == 3 else 1)


def test_names_of_a_root_module_have_no_leading_dot() -> None:
    assert recurrent.names(nn.GRU(4, 6), "") == ["l0.rz", "l0.n"]
    assert attention.names(nn.MultiheadAttention(8, 2), "")[0] == "q"


def test_the_noise_of_a_gru_meets_the_candidate_once() -> None:
    """Whatever the reset gate is, a constant c on the product n moves the candidate's pre-activation by c."""
    layer = seeded(lambda: nn.GRUCell(4, 6))

    def shifted(name: str, a: Tensor, weight: Tensor, bias: Tensor | None, op: Op, counted: Any = None) -> Tensor:
        return op(a, weight, bias) + (100.0 if name == "cell.n" else 0.0)

    x, h = torch.randn(5, 4), torch.zeros(5, 6)
    moved = recurrent.replacement(layer, "cell", shifted)(x, h)
    update = torch.sigmoid((x @ layer.weight_ih.T + layer.bias_ih + layer.bias_hh)[:, 6:12])
    torch.testing.assert_close(moved, 1 - update)


def test_the_candidates_operation_sums_variances_with_the_gate_squared() -> None:
    a, weight, gate = torch.randn(5, 10), torch.randn(6, 10), torch.rand(5, 6)
    terms = a[:, None] * weight
    terms[:, :, 4:] *= gate[:, :, None]
    op = Gated(gate, 4)
    torch.testing.assert_close(op(a, weight, None), terms.sum(2))
    torch.testing.assert_close(op.for_squares(a.square(), weight.square(), None), terms.square().sum(2))


def test_counted_marks_the_real_steps_in_the_callers_order() -> None:
    layer = seeded(lambda: nn.LSTM(4, 6, bidirectional=True))
    packed = pack_padded_sequence(torch.randn(7, 5, 4), torch.tensor(LENGTHS), enforce_sorted=False)
    recorder = Recorder()
    recurrent.replacement(layer, "rnn", recorder)(packed)
    for direction in ("rnn.l0", "rnn.l0_reverse"):
        marks = torch.stack([c for name, _, c in recorder.calls if name == direction and c is not None])
        assert torch.equal(marks.sum(0), torch.tensor(LENGTHS))
        assert torch.equal(marks, torch.arange(7)[:, None] < torch.tensor(LENGTHS))


@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_a_row_is_independent_of_its_neighbours_lengths(kind: str) -> None:
    layer = seeded(lambda: KINDS[kind](4, 6, num_layers=2, bidirectional=True, batch_first=True))
    x = torch.randn(5, 9, 4)

    def first_row(lengths: list[int]) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
        out, final = recurrent.replacement(layer, "rnn", Recorder(0.5))(packed)
        return pad_packed_sequence(out, batch_first=True)[0][0, : lengths[0]], tensors(final)[0][:, 0]

    wanted = first_row([4, 7, 1, 7, 5])
    for lengths in ([4, 1, 2, 3, 4], [4, 9, 9, 9, 9]):
        for a, b in zip(first_row(lengths), wanted, strict=True):
            assert torch.equal(a, b)


def test_what_is_not_supported_is_refused_in_words() -> None:
    with pytest.raises(MissingCapability, match="proj_size=3"):
        recurrent.replacement(nn.LSTM(4, 6, proj_size=3), "rnn", plain)
    with pytest.raises(MissingCapability, match="add_zero_attn"):
        attention.names(nn.MultiheadAttention(8, 2, add_zero_attn=True), "a")
    with pytest.raises(MissingCapability, match="add_bias_kv"):
        attention.replacement(nn.MultiheadAttention(8, 2, add_bias_kv=True), "a", plain)
    with pytest.raises(RuntimeError, match="input"):
        recurrent.replacement(nn.LSTM(4, 6), "rnn", plain)(torch.randn(7, 5, 3))


def masks(n: int, heads: int, length: int, keys: int) -> list[dict[str, Tensor]]:
    padding = torch.arange(keys) >= torch.tensor([keys, 2, 3])[:n, None]
    causal = torch.ones(length, keys, dtype=torch.bool).triu(1)
    return [
        {},
        {"key_padding_mask": padding},
        {"attn_mask": causal},
        {"attn_mask": torch.randn(length, keys), "key_padding_mask": torch.randn(n, keys)},
        {"attn_mask": torch.randn(n * heads, length, keys)},
    ]


@pytest.mark.parametrize("weights", [{}, {"need_weights": False}, {"average_attn_weights": False}])
@pytest.mark.parametrize("mask", range(5))
@pytest.mark.parametrize(
    "options", [{}, {"batch_first": True}, {"bias": False}, {"kdim": 6, "vdim": 5, "batch_first": True}]
)
def test_attention_equals_torchs(options: dict[str, Any], mask: int, weights: dict[str, bool]) -> None:
    layer = seeded(lambda: nn.MultiheadAttention(8, 2, **options))
    forward = attention.replacement(layer, "a", plain)
    q, k, v = torch.randn(3, 4, 8), torch.randn(3, 5, layer.kdim), torch.randn(3, 5, layer.vdim)
    if not layer.batch_first:
        q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
    args = tuple(t.detach().clone().requires_grad_() for t in (q, k, v))
    assert_same(layer, forward, args, **masks(3, 2, 4, 5)[mask], **weights)
    if mask < 4:
        alone = {k: v[0] if k == "key_padding_mask" else v for k, v in masks(1, 2, 4, 5)[mask].items()}
        single = (torch.randn(4, 8), torch.randn(5, layer.kdim), torch.randn(5, layer.vdim))
        assert_same(layer, forward, single, **alone, **weights)


def test_attention_products_are_batch_first_and_once_each() -> None:
    layer = seeded(lambda: nn.MultiheadAttention(8, 2))
    recorder = Recorder()
    x = torch.randn(4, 3, 8)
    attention.replacement(layer, "a", recorder)(x, x, x)
    assert [name for name, _, _ in recorder.calls] == attention.names(layer, "a") == ["a.q", "a.k", "a.v", "a.out"]
    assert all(out.shape == (3, 4, 8) for _, out, _ in recorder.calls)


def test_attention_dropout_in_training_alone() -> None:
    layer = seeded(lambda: nn.MultiheadAttention(8, 2, dropout=0.5)).eval()
    x = torch.randn(4, 3, 8)
    forward = attention.replacement(layer, "a", plain)
    assert_same(layer, forward, (x, x, x))
    assert not torch.equal(layer.train() and forward(x, x, x)[0], forward(x, x, x)[0])


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layer_in_eval_uses_the_replacement_without_the_fast_path(norm_first: bool) -> None:
    """With it, an encoder layer whose weights are frozen never calls its attention, and noise on it would be lost."""
    layer = seeded(
        lambda: nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True, norm_first=norm_first)
    )
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval().requires_grad_(False)
    x, padding = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([5, 4, 3])[:, None]
    real = ~padding
    with torch.inference_mode():
        wanted = stack(x, src_key_padding_mask=padding)
        recorder = Recorder()
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            for index, part in enumerate(stack.layers):
                part.self_attn.forward = attention.replacement(part.self_attn, f"layers.{index}.self_attn", recorder)
            found = stack(x, src_key_padding_mask=padding)
        finally:
            torch.backends.mha.set_fastpath_enabled(before)
            for part in stack.layers:
                del part.self_attn.forward
    assert len(recorder.calls) == 8
    torch.testing.assert_close(found[real], wanted[real], atol=1e-5, rtol=1e-5)
