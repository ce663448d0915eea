"""The recurrent reference network, and the initial weights of recurrent and attention layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustnoise.data.strokes import rows_of, to_bytes
from robustnoise.errors import BadData
from robustnoise.models import create
from robustnoise.models.fresh import initialise
from robustnoise.models.recurrent import StrokeLSTM, digit_lengths
from robustnoise.testing.defenses import check_model
from robustnoise_defenses.noise import recurrent


def digits(length: int = 20) -> Tensor:
    strokes = [[[(3, 4), (4, 4)]], [[(1, 1)], [(9, 9), (8, 9), (7, 10)]], [[(i, i) for i in range(12)]]]
    images = to_bytes([rows_of(found) for found in strokes], length)
    return torch.from_numpy(images.astype(np.float32) / np.float32(255))


def test_contracts() -> None:
    check_model(StrokeLSTM(hidden=8))
    check_model(StrokeLSTM(hidden=8, layers=2))


def test_logits_are_those_of_the_last_real_row() -> None:
    net = create("stroke-lstm(hidden=16)", (1, 20, 4), 5).module
    for x, rows in zip(digits(), (3, 6, 13), strict=True):
        decoded = torch.round(x[0, :rows] * 255) - 128
        outputs, _ = nn.LSTM.forward(net.lstm, decoded[None])
        torch.testing.assert_close(net(x[None])[0], net.readout(outputs[0, -1]), atol=1e-5, rtol=1e-4)


def test_what_follows_the_end_of_the_digit_plays_no_part() -> None:
    net = create("stroke-lstm(hidden=16)", (1, 20, 4), 5).module
    x = digits()
    noisy = x.clone()
    noisy[0, :, 3:] = torch.rand(17, 4)
    assert torch.equal(net(x)[0], net(noisy)[0])
    gradient = torch.autograd.grad(net(x.requires_grad_()).square().sum(), x)[0]
    assert gradient[0, 0, :3].abs().min() > 0
    assert not gradient[0, 0, 3:].any()


def test_lengths() -> None:
    rows = torch.zeros(4, 5, 4)
    rows[0, 2, 3] = rows[0, 4, 3] = 1
    rows[1, 0, 3] = 0.6
    rows[2, 4, 3] = 0.4
    assert digit_lengths(rows).tolist() == [3, 1, 5, 5]


@pytest.mark.parametrize("level", [0.0, 128 / 255, 1.0, None])
def test_degenerate_images_get_finite_logits(level: float | None) -> None:
    net = create("stroke-lstm(hidden=8)", (2, 9, 4), 3).module
    x = torch.rand(6, 2, 9, 4) if level is None else torch.full((6, 2, 9, 4), level)
    assert net(x).shape == (6, 3)
    assert net(x).isfinite().all()


def test_a_row_is_the_same_to_the_last_bit_among_other_lengths() -> None:
    net = create("stroke-lstm", (1, 60, 4), 10).module
    first = torch.rand(1, 1, 60, 4)
    first[..., 3] = 0.4
    with torch.inference_mode():
        answers = []
        for ends in (0, 3, 58):
            others = torch.rand(5, 1, 60, 4) * 0.4
            others[:, :, ends:, 3] = 1
            answers.append(net(torch.cat([first, others]))[0])
    assert all(torch.equal(answer, answers[0]) for answer in answers)


def test_other_widths_are_refused() -> None:
    with pytest.raises(BadData, match=r"StrokeLSTM can't take images of shape \(1, 28, 28\).*width must be 4.*mlp"):
        StrokeLSTM().build((1, 28, 28), 10)


def test_its_lstm_can_be_replaced_and_sees_which_rows_count() -> None:
    net = create("stroke-lstm(hidden=16, layers=2)", (1, 20, 4), 5).module
    counts: dict[str, Tensor] = {}

    def product(name: str, a: Tensor, weight: Tensor, bias: Tensor | None, op: object, counted: Tensor) -> Tensor:
        counts[name] = counts.get(name, 0) + counted.int()
        return op(a, weight, bias)  # type: ignore[operator]

    wanted = net(digits())
    net.lstm.forward = recurrent.replacement(net.lstm, "lstm", product)
    torch.testing.assert_close(net(digits()), wanted, atol=1e-5, rtol=1e-4)
    assert {name: count.tolist() for name, count in counts.items()} == {
        name: [3, 6, 13] for name in recurrent.names(net.lstm, "lstm")
    }


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.LSTM(4, 16, 2, bidirectional=True),
        lambda: nn.GRU(4, 16),
        lambda: nn.RNN(4, 16, bias=False),
        lambda: nn.LSTMCell(4, 16),
        lambda: nn.GRUCell(4, 16),
        lambda: nn.RNNCell(4, 16),
    ],
)
def test_recurrent_layers_are_uniform_and_seeded(build: object) -> None:
    layers = [build() for _ in range(3)]  # type: ignore[operator]
    for layer, seed in zip(layers, (1, 1, 2), strict=True):
        initialise(layer, torch.Generator().manual_seed(seed))
    a, b, c = (nn.utils.parameters_to_vector(layer.parameters()) for layer in layers)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    bound = 1 / math.sqrt(16)
    for name, parameter in layers[0].named_parameters():
        open_gate = isinstance(layers[0], nn.LSTM | nn.LSTMCell) and name.startswith("bias")
        free = torch.cat([parameter[:16], parameter[32:]]) if open_gate else parameter
        assert free.abs().max() <= bound
        assert free.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.4)
        if open_gate:
            assert parameter[16:32].unique().tolist() == [1.0 if name.startswith("bias_ih") else 0.0]


def test_attention_is_initialised_like_torchs() -> None:
    layer = nn.MultiheadAttention(32, 4)
    theirs = layer.in_proj_weight.std().item(), layer.out_proj.weight.std().item()
    initialise(layer, torch.Generator().manual_seed(1))
    assert (layer.in_proj_weight.std().item(), layer.out_proj.weight.std().item()) == pytest.approx(theirs, rel=0.1)
    assert not layer.in_proj_bias.any()
    assert not layer.out_proj.bias.any()
    with torch.device("meta"):
        encoder = nn.TransformerEncoderLayer(8, 2)
    encoder = encoder.to_empty(device="cpu")
    initialise(encoder, torch.Generator().manual_seed(1))
    assert all(p.isfinite().all() and p.abs().max() <= 1 for p in encoder.parameters())
