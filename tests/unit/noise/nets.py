"""Small networks with every kind of product, images for them, and probes that look at a signal on its way."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from robustnoise.data import Split
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise_defenses.noise.draws import Draws
from robustnoise_defenses.noise.inside import Effect
from robustnoise_defenses.noise.products import Op

SHAPE = (2, 8, 8)
NOISE = SeedStream(7, ("victim",))


class EveryKind(nn.Module):
    """Convolutions with stride, groups and padding modes, an LSTM, attention and a linear layer, in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(2, 8, 3, stride=2, padding=1, padding_mode="circular")
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
        self.line = nn.Conv1d(8, 12, 3, stride=2, padding=1, padding_mode="reflect")
        self.lstm = nn.LSTM(12, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.strided(x).relu()).relu().flatten(2)
        x, _ = self.lstm(self.line(x).transpose(1, 2))
        x, _ = self.attention(x, x, x, need_weights=False)
        out: Tensor = self.last(x).flatten(1)
        return out


PRODUCTS = [
    "strided",
    "grouped",
    "line",
    "lstm.l0",
    "attention.q",
    "attention.k",
    "attention.v",
    "attention.out",
    "last",
]


def classifier(module: nn.Module, shape: tuple[int, int, int] = SHAPE, classes: int = 3) -> TorchClassifier:
    """`module` with weights that follow from a seed, far from 0 so that every signal matters."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_((torch.rand(p.shape, generator=generator) * 2 - 0.8) / max(1.0, p[0].numel() ** 0.5) * 2)
    return TorchClassifier(module, shape, classes)


def every_kind() -> TorchClassifier:
    return classifier(EveryKind(), classes=128)


def replaced_forwards(module: nn.Module) -> list[str]:
    """Names of the layers that have a forward of their own in place of their class's."""
    return [name for name, layer in module.named_modules() if "forward" in layer.__dict__]


def split(n: int, shape: tuple[int, int, int] = SHAPE, classes: int = 3) -> Split:
    images = np.random.default_rng(1).integers(0, 256, (n, *shape)).astype(np.uint8)
    return Split(np.arange(n), images=images, labels=np.arange(n) % classes, num_classes=classes, name="train")


def floats(n: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.from_numpy(split(n, shape).floats())


CTX = Context(train=split(256))


class Probe(Effect):
    """Keeps copies of a product's signals, at one place among the effects."""

    def __init__(self, names: list[str], order: float) -> None:
        super().__init__(names)
        self.order = order  # type: ignore[assignment]
        self.inputs: dict[str, list[Tensor]] = {n: [] for n in names}
        self.outputs: dict[str, list[Tensor]] = {n: [] for n in names}
        self.axes: dict[str, int] = {}

    def on_input(self, name: str, a: Tensor, axis: int, counted: Tensor | None, draws: Draws) -> Tensor:
        self.inputs[name].append(a.detach().clone())
        self.axes[name] = axis
        return a

    def on_output(
        self, name: str, out: Tensor, a: Tensor, weight: Tensor, op: Op, axis: int, counted: Tensor | None, draws: Draws
    ) -> Tensor:
        self.outputs[name].append(out.detach().clone())
        return out
