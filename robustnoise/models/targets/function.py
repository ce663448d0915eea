"""Any Python callable as a classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from robustnoise.errors import BadParameter
from robustnoise.models.targets.base import Array, Output, Target, named


class FunctionTarget(Target):
    """See `from_callable`."""

    metered = True

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        name: str,
        input_shape: tuple[int, int, int],
        num_classes: int,
        output: Output,
        arrays: Literal["numpy", "torch"],
        stochastic: bool,
    ) -> None:
        super().__init__(
            identity=named(name), input_shape=input_shape, num_classes=num_classes, output=output, stochastic=stochastic
        )
        self.function = function
        self.arrays = arrays

    def ask(self, x: Array) -> Array:
        """What the function says."""
        said = self.function(torch.from_numpy(x) if self.arrays == "torch" else x)
        return said.detach().cpu().numpy() if isinstance(said, torch.Tensor) else said


def from_callable(
    function: Callable[[Any], Any],
    *,
    name: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    output: Output,
    arrays: Literal["numpy", "torch"] = "numpy",
    stochastic: bool = False,
) -> FunctionTarget:
    """A classifier from a function of a batch.

    It is called on the rows that are asked about and on no padding, up to 128 at a time. While it runs, the global
    generators of Python, numpy and torch (CPU) are seeded from the victim's stream, so a random function is repeatable.

    Args:
        function: float32 (n, C, H, W) in [0, 1] to what `output` says, as an array, a tensor or nested lists.
        name: stands for the function in records and caches; take another whenever its answers change.
        input_shape: (C, H, W).
        num_classes: at least 2.
        output: ``"labels"``: (n,) whole numbers, -1 an abstention; ``"probabilities"`` or ``"logits"``:
            (n, num_classes).
        arrays: what the function takes: ``"numpy"`` arrays or ``"torch"`` tensors, on the CPU.
        stochastic: two answers to the same image may differ.

    Raises:
        BadParameter: a value is outside its range, or the function is a network.
    """
    if isinstance(function, nn.Module):
        raise BadParameter("from_callable takes a function; for a torch network use from_torch, which has gradients.")
    if not callable(function):
        raise BadParameter(f"from_callable takes a function, not {type(function).__name__}.")
    if arrays not in ("numpy", "torch"):
        raise BadParameter(f"arrays = {arrays!r}: expected numpy or torch.")
    return FunctionTarget(
        function, name=name, input_shape=input_shape, num_classes=num_classes, output=output, arrays=arrays,
        stochastic=stochastic,
    )  # fmt: skip
