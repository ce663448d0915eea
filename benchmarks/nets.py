"""The nets and images of the benchmarks of speed: natural and adversarially trained, on MNIST and CIFAR-10."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

import robustnoise as rn
from robustnoise.blocks import predict_blocks, to_tensor
from robustnoise.building import build
from robustnoise.data import Dataset, SplitSizes
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise.threat import Linf

MNIST, CIFAR = 0.3, 8 / 255
BRIEF = "epochs={}, batch_size=128, learning_rate=0.004"
NETS = {
    "MNIST, small-cnn, natural": ("mnist", "small-cnn", MNIST, f"plain-training({BRIEF.format(1)})"),
    "MNIST, small-cnn, adversarially trained": ("mnist", "small-cnn", MNIST, "baseline(mnist-pgd)"),
    "CIFAR-10, resnet9(width=16), natural": (
        "cifar10", "resnet9(width=16)", CIFAR, f"plain-training({BRIEF.format(2)})"
    ),
    "CIFAR-10, resnet9(width=16), adversarially trained": (
        "cifar10", "resnet9(width=16)", CIFAR, "baseline(cifar10-fast)"
    ),
}  # fmt: skip
"""Data set, architecture, radius and training. Those adversarially trained ship."""
SIZES = {name: (128, 1024) if name.startswith("MNIST") else (64, 1024) for name in NETS}
"""How many images a timed batch has, and a check of agreement."""
TRAIN = 5000
"""Images of the brief trainings."""


class Case(NamedTuple):
    """A net under attack."""

    name: str
    """Of `NETS`."""
    model: TorchClassifier
    data: Dataset
    eps: float
    x: Tensor
    """(n, C, H, W) float32."""
    y: Tensor
    """(n,) int64."""

    def first(self, images: int) -> Case:
        """The same with fewer images."""
        data = replace(self.data, evaluation=self.data.evaluation.take(images))
        return self._replace(data=data, x=self.x[:images], y=self.y[:images])

    def accuracy(self, x: Tensor) -> float:
        """Of the net on an attack's images, after projection and rounding to 8 bit."""
        levels = Linf(self.eps).to_levels((self.x * 255).round().to(torch.uint8), x.detach())
        labels = predict_blocks(self.model, levels.float() / 255, SeedStream(0)).labels
        return (labels == self.y).double().mean().item()


def case(name: str, images: int, *, train: int = TRAIN) -> Case:
    """The net of that name, trained anew where it doesn't ship, and the first evaluation images.

    Args:
        name: a key of `NETS`.
        images: how many are attacked.
        train: how many a training gets.
    """
    source, architecture, eps, training = NETS[name]
    data = rn.load_dataset(source, sizes=SplitSizes(train=train))
    data = replace(data, evaluation=data.evaluation.take(images))
    fresh = rn.models.create(architecture, data.input_shape)
    model = build(training, "defense").apply(fresh, Context(train=data.train, seed=0))
    assert isinstance(model, TorchClassifier)
    return Case(name, model, data, eps, torch.from_numpy(data.evaluation.floats()), to_tensor(data.evaluation.labels))
