"""A one-file plugin of defenses and an attack that each break one promise, for the tests of 'robustnoise check'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    Answer,
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Classifier,
    Context,
    Defense,
    DefenseTraits,
    InputWrapper,
    MissingExtra,
    Number,
    Oracle,
    SeedStream,
    Split,
    Stage,
    Targets,
    ThreatModel,
)

PLUGINS = {
    "sound": "Sound",
    "any-parameter": "AnyParameter",
    "asks-in-secret": "AsksInSecret",
    "batch-mean": "BatchMean",
    "batch-size": "BatchSize",
    "edits-the-model": "EditsTheModel",
    "global-noise": "GlobalNoise",
    "lacks-a-package": "LacksAPackage",
    "needs-a-file": "NeedsAFile",
    "never-off": "NeverOff",
    "no-plugin": "NoPlugin",
    "raises": "Raises",
    "says-it-is-calm": "SaysItIsCalm",
    "writes-into-images": "WritesIntoImages",
    "wrong-labels": "WrongLabels",
}


class _Changed(InputWrapper):
    def __init__(self, inner: Classifier, defense: Sound) -> None:
        super().__init__(inner, defense, stochastic=True)
        self.defense = defense

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return self.defense.change(x, noise)


@dataclass(frozen=True)
class Sound(Defense):
    """Noise as it should be, from which the others differ in one way each."""

    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"sigma": 0.0})

    sigma: Annotated[Number, Field(ge=0, le=1)] = 0.1

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return x + self.sigma * torch.randn(x.shape, generator=noise.generator("sound"))

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return _Changed(model, self)


@dataclass(frozen=True)
class GlobalNoise(Sound):
    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return x + self.sigma * torch.randn(x.shape)


@dataclass(frozen=True)
class BatchMean(Sound):
    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return super().change(x, noise) - self.sigma * x.mean()


class _Calm(_Changed):
    def __init__(self, inner: Classifier, defense: Sound) -> None:
        super().__init__(inner, defense)
        self.stochastic = inner.stochastic


@dataclass(frozen=True)
class BatchSize(Sound):
    """Rows of one batch don't see each other; how many there are still decides."""

    traits = DefenseTraits(Stage.INFERENCE, off={"sigma": 0.0})

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return x * (1 + self.sigma * len(x))

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return _Calm(model, self)


@dataclass(frozen=True)
class NeverOff(Sound):
    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return x + (self.sigma + 0.01) * torch.randn(x.shape, generator=noise.generator("sound"))


@dataclass(frozen=True)
class EditsTheModel(Sound):
    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        module = getattr(model, "module", None)
        if module is not None:
            with torch.no_grad():
                next(module.parameters()).mul_(1.01)
        return _Changed(model, self)


@dataclass(frozen=True)
class WritesIntoImages(Sound):
    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        if not x.requires_grad:
            x += self.sigma * torch.randn(x.shape, generator=noise.generator("sound"))
        return super().change(x, noise)


@dataclass(frozen=True)
class SaysItIsCalm(Sound):
    traits = DefenseTraits(Stage.INFERENCE, off={"sigma": 0.0})


@dataclass(frozen=True)
class Raises(Sound):
    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return x + torch.ones(3, 5)


class _WrongLabels(_Changed):
    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        answer = super().predict(x, noise=noise)
        return answer._replace(labels=answer.labels + 7)


@dataclass(frozen=True)
class WrongLabels(Sound):
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True)

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return _WrongLabels(model, self)


@dataclass(frozen=True)
class AnyParameter(Sound):
    extra: Any = None


@dataclass(frozen=True)
class LacksAPackage(Sound):
    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        raise MissingExtra("lacks-a-package needs the package 'spare'. Install it: pip install 'spare'")


@dataclass(frozen=True)
class NeedsAFile(Defense):
    traits = DefenseTraits(Stage.INFERENCE)

    path: str


class NoPlugin:
    pass


@dataclass(frozen=True)
class AsksInSecret(BlackBoxAttack):
    """Moves, and reports half of what it asks."""

    @property
    def traits(self) -> AttackTraits:
        return AttackTraits()

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        assert oracle is not None
        x = threat.project(targets.x, targets.x + threat.eps)
        rows = torch.arange(len(x)) if oracle.remaining is None else torch.arange(len(x))[: oracle.remaining]
        if len(rows):
            oracle.query(x[rows], targets.ids[rows])
        return AttackResult(x, len(rows) // 2, trace=dict.fromkeys(oracle.stops, x))
