"""What the signals of a network look like with noise off, measured once on training images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustnoise.api import BLOCK, BadParameter, Split
from robustnoise_defenses.noise.products import Op, channel_axis, product_names, replaced

CALIBRATION_IMAGES = 1024
INPUT, LOGITS = ".input", ".logits"
"""The places beside the matrix products: the image, and what the network answers. No layer's name starts with a dot."""


@dataclass
class Signal:
    """Running statistics of one signal; images count alike, padded rows not at all."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    peak: float = 0.0
    channel_totals: Tensor = field(default_factory=lambda: torch.zeros(()))
    channel_squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, t: Tensor, axis: int) -> None:
        """Count in t (n, ...) whose channels lie along `axis`."""
        if not t.numel():
            return
        wide = t.detach().double().movedim(axis, -1)
        totals, squares = (part.flatten(0, -2).sum(0).cpu() for part in (wide, wide.square()))
        self.count += t.numel()
        self.total += totals.sum().item()
        self.squares += squares.sum().item()
        self.peak = max(self.peak, wide.abs().max().item())
        self.channel_totals = self.channel_totals + totals
        self.channel_squares = self.channel_squares + squares

    def power(self, statistic: str) -> float:
        """E[t^2] or the variance."""
        square = self.squares / self.count
        if statistic == "second_moment":
            return square
        return max(0.0, square - (self.total / self.count) ** 2)  # rounding can leave a constant below 0

    def channel_power(self, statistic: str) -> list[float]:
        """The same for each channel."""
        count = self.count / self.channel_totals.numel()
        square = self.channel_squares / count
        if statistic != "second_moment":
            square = (square - (self.channel_totals / count).square()).clamp_min(0)
        return [float(p) for p in square]


@dataclass(frozen=True)
class Signals:
    """The signals of a network.

    Args:
        inputs: of each matrix product; and the image, as `INPUT`.
        outputs: of each matrix product; and the logits, as `LOGITS`.
    """

    inputs: dict[str, Signal]
    outputs: dict[str, Signal]

    def input(self, name: str, who: str) -> Signal:
        """The input of product `name`, or the image.

        Raises:
            BadParameter: the product never ran.
        """
        return _that_ran(self.inputs[name], name, who)

    def output(self, name: str, who: str) -> Signal:
        """The output of product `name`, or the logits.

        Raises:
            BadParameter: the product never ran.
        """
        return _that_ran(self.outputs[name], name, who)


def _that_ran(signal: Signal, name: str, who: str) -> Signal:
    if not signal.count:
        raise BadParameter(
            f"{who}: product {name!r} never ran on the training images, so there is nothing to calibrate on. "
            f"Leave it out: layers = '!{name}'."
        )
    return signal


def measure(module: nn.Module, train: Split) -> Signals:
    """Run `module` on the first 1,024 training images.

    Args:
        module: (n, C, H, W) float32 in [0, 1] to logits, in eval mode.
        train: the images.
    """
    names = product_names(module)
    signals = Signals({n: Signal() for n in [INPUT, *names]}, {n: Signal() for n in [*names, LOGITS]})

    def product(
        name: str, a: Tensor, weight: Tensor, bias: Tensor | None, op: Op, counted: Tensor | None = None
    ) -> Tensor:
        out = op(a, weight, bias)
        axis = channel_axis(op)
        real = slice(None) if counted is None else counted
        signals.inputs[name].add(a[real], axis)
        signals.outputs[name].add(out[real], axis)
        return out

    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    images = train.take(min(CALIBRATION_IMAGES, len(train)))
    before, after = _watching(signals.inputs[INPUT], 1), _watching(signals.outputs[LOGITS], -1)
    with torch.inference_mode(), replaced(module, product, before, after):
        for start in range(0, len(images), BLOCK):
            module(torch.from_numpy(images.floats(start, min(start + BLOCK, len(images)))).to(device))
    return signals


def _watching(signal: Signal, axis: int) -> Callable[[Tensor], Tensor]:
    def watch(t: Tensor) -> Tensor:
        signal.add(t, axis)
        return t

    return watch
