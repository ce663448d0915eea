"""What all targets share: what they declare, and how what they say becomes an answer."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustnoise.errors import BadParameter, TargetFailed
from robustnoise.foreign import seeded_globals
from robustnoise.models.classifier import answer_from_logits
from robustnoise.protocols import Answer
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of
from robustnoise.threat import Access

Array = npt.NDArray[Any]
Output = Literal["labels", "probabilities", "logits"]
"""What a target's numbers are: (n,) whole numbers, or (n, num_classes) probabilities or logits."""
ACCESS = {"labels": Access.LABELS, "probabilities": Access.SCORES, "logits": Access.LOGITS}
SUM_TOLERANCE = 1e-2
"""How far a row of probabilities may be from a sum of 1: half precision and rounded JSON are allowed for."""


class Target:
    """Base of a classifier that only answers: a subclass implements `ask`.

    Global generators are as `noise` says while `ask` runs, and as they were afterwards.

    Args:
        identity: JSON that decides the answers: a file's hash, or a name that the user answers for.
        input_shape: (C, H, W).
        num_classes: at least 2.
        output: what `ask` returns.
        stochastic: two answers to the same image may differ.

    Raises:
        BadParameter: a value is outside its range.
    """

    passes = 1
    metered = False
    """Rows cost the user something, so it is asked about none that nobody reads."""

    def __init__(
        self,
        *,
        identity: object,
        input_shape: tuple[int, int, int],
        num_classes: int,
        output: Output,
        stochastic: bool = False,
    ) -> None:
        self.input_shape = check_shape(input_shape)
        if not isinstance(num_classes, int) or num_classes < 2:
            raise BadParameter(f"num_classes = {num_classes!r}: expected a whole number of at least 2.")
        if output not in get_args(Output):
            raise BadParameter(f"output = {output!r}: expected one of {', '.join(get_args(Output))}.")
        self.num_classes = num_classes
        self.output: Output = output
        self.stochastic = stochastic
        self.access = ACCESS[output]
        self.digest = digest_of([type(self).__name__, identity, list(input_shape), num_classes, output, stochastic])

    def ask(self, x: Array) -> Array:
        """What the target says of `x`, float32 (n, C, H, W) in [0, 1], its to keep."""
        raise NotImplementedError

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`.

        Raises:
            TargetFailed: it says something that is no answer: a wrong shape, NaN, ...
        """
        with seeded_globals(noise.seed("global")), torch.no_grad():
            said = self.ask(np.array(x.detach().cpu().numpy()))
        return to_answer(checked(said, self.output, len(x), self.num_classes, type(self).__name__), self.output)

    def again(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """As `predict`, but never from memory: the probe asks twice."""
        return self.predict(x, noise=noise)


def check_shape(input_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """`input_shape` as a tuple.

    Raises:
        BadParameter: it is no (C, H, W).
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise BadParameter(f"input_shape = {input_shape!r}: expected (channels, height, width).")
    return shape


def named(name: str) -> str:
    """`name`, which stands for an object that can't be hashed.

    Raises:
        BadParameter: it is empty.
    """
    if not isinstance(name, str) or not name.strip():
        raise BadParameter(
            f"name = {name!r}: expected a text. It stands for this object in records and caches, since nothing about "
            "it can be hashed: take another name whenever its answers change."
        )
    return name


def checked(said: object, output: Output, rows: int, num_classes: int, who: str) -> Array:
    """`said` as float32 (rows, num_classes), or int64 (rows,) for labels.

    Raises:
        TargetFailed: it is anything else.
    """
    try:
        array = np.asarray(said)
    except ValueError:
        raise TargetFailed(f"{who}: answered rows of different lengths.") from None
    shape = (rows,) if output == "labels" else (rows, num_classes)
    if array.shape != shape:
        raise TargetFailed(f"{who}: answered shape {array.shape} to {rows} images; expected {shape} of {output}.")
    if output == "labels":
        if array.dtype.kind not in "iu":
            raise TargetFailed(f"{who}: answered labels of type {array.dtype}; expected whole numbers.")
        if rows and not (array.min() >= -1 and array.max() < num_classes):
            raise TargetFailed(
                f"{who}: answered labels from {array.min()} to {array.max()}; expected 0 to {num_classes - 1}, or -1 "
                "for an abstention."
            )
        return array.astype(np.int64)
    if array.dtype.kind not in "fiu":
        raise TargetFailed(f"{who}: answered {output} of type {array.dtype}; expected numbers.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise TargetFailed(f"{who}: answered NaN or infinite {output}.")
    if output == "probabilities" and rows:
        off = np.abs(array.sum(1, dtype=np.float64) - 1).max()
        if array.min() < -1e-6 or off > SUM_TOLERANCE:
            raise TargetFailed(
                f"{who}: answered probabilities as low as {array.min():g} whose sum is off 1 by up to {off:g}. "
                'If these are logits, declare output="logits".'
            )
    return array


def to_answer(array: Array, output: Output) -> Answer:
    """The answer in an array of `checked`."""
    tensor = torch.from_numpy(array)
    if output == "labels":
        return Answer(tensor)
    return answer_from_logits(tensor) if output == "logits" else Answer(tensor.argmax(1), tensor)
