"""Classifiers and data that are small, fast and known in closed form."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from robustnoise.data import Dataset, Split
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.fresh import create
from robustnoise.protocols import Answer
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of
from robustnoise.threat import Norm, ThreatModel

SHAPE = (1, 8, 8)
CLASSES = 3


def linear_toy(input_shape: tuple[int, int, int] = SHAPE, *, seed: int = 0) -> TorchClassifier:
    """Two classes with logits ``(s, -s)``, ``s = w (x - 1/2)``: whatever the image, the gradient points along ``w``."""
    size = math.prod(input_shape)
    direction = torch.randn(size, generator=SeedStream(seed, ("toy", "linear")).generator("weights"))
    direction = direction / direction.norm()
    layer = nn.Linear(size, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([direction, -direction]))
        layer.bias.copy_(torch.stack([-direction.sum() / 2, direction.sum() / 2]))
    return TorchClassifier(nn.Sequential(nn.Flatten(), layer), input_shape, 2)


def linear_optimum(toy: TorchClassifier, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
    """The images in the ball of `threat` at which `linear_toy` has the largest loss, while no pixel leaves [0, 1].

    For l-infinity it is exact also where pixels are clipped; for l2 clipping leaves it a little short of the optimum.
    """
    weight = toy.module.get_parameter("1.weight").detach()[0].view(1, *toy.input_shape)
    away = torch.where(y == 0, -1.0, 1.0).view(-1, 1, 1, 1) * weight
    step = away.sign() if threat.norm is Norm.LINF else away / away.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return threat.project(x, x + threat.eps * step)


def toy_model(
    input_shape: tuple[int, int, int] = SHAPE, num_classes: int = CLASSES, *, seed: int = 0
) -> TorchClassifier:
    """A fresh multilayer perceptron with 16 units in each hidden layer."""
    return create("mlp(hidden=16)", input_shape, num_classes, seed=seed)


class CoinClassifier:
    """Blind to its input: answers class 0 with probability `p`, otherwise any other class alike.

    No attack changes its accuracy, so all that an attack seems to gain on it is the luck of repeated draws.

    Args:
        p: probability of class 0.
        input_shape: (C, H, W).
        num_classes: at least 2.
    """

    stochastic = True
    passes = 1

    def __init__(self, p: float, input_shape: tuple[int, int, int] = SHAPE, num_classes: int = 10) -> None:
        self.p = p
        self.input_shape = input_shape
        self.num_classes = num_classes

    @property
    def digest(self) -> str:
        """sha256 of the parameters."""
        return digest_of(["coin", self.p, list(self.input_shape), self.num_classes])

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """Labels alone."""
        generator = noise.generator("coin")
        heads = torch.rand(len(x), generator=generator) < self.p
        other = torch.randint(1, self.num_classes, (len(x),), generator=generator)
        return Answer(torch.where(heads, 0, other))


def toy_split(
    n: int = 64,
    input_shape: tuple[int, int, int] = SHAPE,
    num_classes: int = CLASSES,
    *,
    seed: int = 0,
    first_id: int = 0,
    name: str = "toy",
) -> Split:
    """`n` images of uniformly random levels; the labels go round the classes."""
    levels = SeedStream(seed, ("toy", "images", first_id)).numpy().integers(0, 256, (n, *input_shape), dtype=np.uint8)
    return Split(
        np.arange(first_id, first_id + n, dtype=np.int64),
        images=levels,
        labels=np.arange(n, dtype=np.int64) % num_classes,
        num_classes=num_classes,
        name=name,
    )


def toy_dataset(
    n: int = 64, input_shape: tuple[int, int, int] = SHAPE, num_classes: int = CLASSES, *, seed: int = 0
) -> Dataset:
    """Four disjoint splits of `n` random images each."""
    names = ("train", "attacker", "validation", "evaluation")
    train, attacker, validation, evaluation = (
        toy_split(n, input_shape, num_classes, seed=seed, first_id=i * n, name=name) for i, name in enumerate(names)
    )
    return Dataset(
        "toy",
        digest=digest_of([s.digest for s in (train, attacker, validation, evaluation)]),
        num_classes=num_classes,
        input_shape=input_shape,
        train=train,
        attacker=attacker,
        validation=validation,
        evaluation=evaluation,
    )
