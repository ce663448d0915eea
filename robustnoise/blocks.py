"""Fixed blocks: a model always sees `BLOCK` rows, padded with black images.

The shape of a batch decides rounding in the last bit and the layout of random draws. With one fixed shape, neither
depends on how many images are processed at a time or which neighbours an image has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from robustnoise.protocols import Answer, Classifier
from robustnoise.seeds import SeedStream

BLOCK = 128
"""Rows of a block; part of the identity of every result."""
CHUNK = 8 * BLOCK
"""Images that an attack which asks the oracle works on at a time; part of the identity of its result."""


def to_tensor(array: npt.NDArray[Any]) -> Tensor:
    """A tensor of its own: a split's arrays are read-only, which torch does not support."""
    return torch.from_numpy(array.copy())


def block_ranges(n: int) -> Iterator[tuple[int, int, int]]:
    """(block number, first row, last row + 1) for n rows."""
    for number, start in enumerate(range(0, n, BLOCK)):
        yield number, start, min(start + BLOCK, n)


def pad(x: Tensor) -> Tensor:
    """`x` with rows of zeros up to `BLOCK`."""
    missing = BLOCK - len(x)
    return x if missing == 0 else torch.cat([x, x.new_zeros(missing, *x.shape[1:])])


def predict_blocks(classifier: Classifier, x: Tensor, noise: SeedStream) -> Answer:
    """The answer to any number of rows; block b draws from ``noise.child(b)``.

    A classifier whose attribute ``metered`` is true is asked about these rows alone, since each costs something.
    """
    fill = (lambda rows: rows) if getattr(classifier, "metered", False) else pad
    answers = [
        _cut(classifier.predict(fill(x[start:stop]), noise=noise.child(number)), stop - start)
        for number, start, stop in block_ranges(len(x))
    ]
    if not answers:
        return Answer(torch.zeros(0, dtype=torch.int64))
    return Answer(*(None if part[0] is None else torch.cat(part) for part in zip(*answers, strict=True)))  # type: ignore[arg-type]


def _cut(answer: Answer, rows: int) -> Answer:
    return Answer(*(None if part is None else part[:rows].cpu() for part in answer))  # type: ignore[arg-type]
