"""The reference recurrent network, for pen strokes that are stored as images (see `robustnoise.data.strokes`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from robustnoise.data.strokes import OFFSET_LEVEL
from robustnoise.errors import BadData
from robustnoise.protocols import Model
from robustnoise.threat import LEVELS

COLUMNS = 4
"""dx, dy, end of stroke, end of digit."""


@dataclass(frozen=True)
class StrokeLSTM(Model):
    """An LSTM over the rows of a stroke sequence and a linear layer on its output after the last row."""

    hidden: Annotated[int, Field(ge=1, le=8192, description="units of each layer")] = 128
    layers: Annotated[int, Field(ge=1, le=16, description="number of LSTM layers")] = 1

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """See `Model.build`; a width of 4, one row of the image for each move of the pen."""
        channels, height, width = input_shape
        if width != COLUMNS:
            raise BadData(
                f"StrokeLSTM can't take images of shape {input_shape}: the width must be {COLUMNS} (dx, dy, end of "
                "stroke, end of digit). Use mlp."
            )
        return _StrokeNet(channels * COLUMNS, height, self.hidden, self.layers, num_classes)


class _StrokeNet(nn.Module):
    def __init__(self, features: int, rows: int, hidden: int, layers: int, num_classes: int) -> None:
        super().__init__()
        self.lstm = RowwiseLSTM(features, hidden, layers, rows)
        self.readout = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, T, 4) in [0, 1] to logits (n, num_classes)."""
        # Not rounded: gradients flow, and images of whole levels are decoded exactly but for float32's own error.
        rows = (x * LEVELS - OFFSET_LEVEL).transpose(1, 2)
        lengths = digit_lengths(rows[:, :, 0])
        packed = pack_padded_sequence(rows.flatten(2), lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        logits: Tensor = self.readout(outputs[torch.arange(len(x), device=x.device), lengths - 1])
        return logits


def digit_lengths(rows: Tensor) -> Tensor:
    """Number of rows, 1 to T, up to and including the first whose end of digit is nearer to 1 than to 0.

    Args:
        rows: (n, T, 4), decoded. Where no row ends the digit, all T count.

    Returns:
        int64 (n,).
    """
    ends = rows[:, :, COLUMNS - 1] > 0.5
    return torch.where(ends.any(1), ends.int().argmax(1) + 1, rows.shape[1])


class RowwiseLSTM(nn.LSTM):
    """An LSTM whose outputs for one packed sequence are the same to the last bit whatever its neighbours are.

    torch multiplies fewer and fewer rows of a packed batch as sequences end, and the number of rows decides the last
    bit of a sum. Here each sequence runs to the full length instead, and what comes after its end is left out,
    which costs the steps of the padding.

    Args:
        features: of a row.
        hidden: units of each layer.
        layers: number of layers.
        rows: the length that every batch is padded to.
    """

    computes_as_torch = True  # noise inside the network may replace this forward by its own of nn.LSTM

    def __init__(self, features: int, hidden: int, layers: int, rows: int) -> None:
        super().__init__(features, hidden, layers, batch_first=True)
        self.rows = rows

    def forward(self, input: PackedSequence, hx: None = None) -> tuple[PackedSequence, None]:  # type: ignore[override]  # noqa: A002
        """Outputs of the last layer, packed like the input; no final states, which the end of a row would decide."""
        padded, lengths = pad_packed_sequence(input, batch_first=True, total_length=self.rows)
        outputs, _ = super().forward(padded)
        return pack_padded_sequence(outputs, lengths, batch_first=True, enforce_sorted=False), None
