"""Noise on the scores that are shown, and scores in few digits."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    Access,
    Answer,
    Classifier,
    Context,
    Defense,
    DefenseTraits,
    Differentiable,
    MissingCapability,
    Number,
    SeedStream,
    Stage,
    Wrapper,
    require_differentiable,
)
from robustnoise_defenses.outputs.beneath import Beneath


def need_scores(inner: Access, who: str) -> None:
    """Refuse a classifier that is known to show labels alone.

    Raises:
        MissingCapability: it does.
    """
    if inner < Access.SCORES:
        raise MissingCapability(lacking(who))


def lacking(who: str) -> str:
    """Why `who` can't work on labels."""
    return (
        f"{who} changes scores, and the classifier it is put around answers with labels alone. "
        f"Leave {who} out, or put it before the stage that hides them."
    )


def shown_logits(answer: Answer, who: str) -> Tensor:
    """(n, num_classes) float32 logits of an answer; of one that has none, the logarithms of its scores.

    Raises:
        MissingCapability: it holds labels alone.
    """
    if answer.logits is not None:
        return answer.logits
    if answer.scores is None:
        raise MissingCapability(lacking(who))
    return answer.scores.clamp_min(torch.finfo(torch.float32).tiny).log()


@dataclass(frozen=True)
class OutputNoise(Defense):
    """Adds fresh Gaussian noise to the logits; label and scores follow from the noisy ones.

    A classifier that shows scores alone gets the noise on their logarithms, which are its logits up to a constant that
    no label and no score depends on. With `below` it acts on doubtful answers alone, those whose largest score is
    smaller: near a boundary, where attacks through queries look. An abstention stays one.
    """

    reference = (
        "Aithal & Li 2022, arXiv 2201.13444 (boundary defense, with `below`); without it, OutRND in the code of Chen "
        "et al. 2022, arXiv 2205.12134 (github.com/Sizhe-Chen/AAA)"
    )
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"sigma": 0.0})

    sigma: Annotated[Number, Field(ge=0, le=1000, description="standard deviation, logits")] = 1.0
    _: KW_ONLY
    below: Annotated[
        Number, Field(gt=0, le=1, description="answers with a larger score than this are left alone; 1 leaves none")
    ] = 1.0

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return model if self.sigma == 0 else _NoisyOutput(model, self)

    def shows(self, inner: Access) -> Access:
        """What the inner classifier shows, which must be scores at least."""
        if self.sigma > 0:
            need_scores(inner, "output-noise")
        return inner


class _NoisyOutput(Wrapper):
    def __init__(self, inner: Classifier, defense: OutputNoise) -> None:
        super().__init__(inner, defense, stochastic=True)
        self.sigma, self.below = defense.sigma, defense.below

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        with torch.inference_mode():
            answer = self.inner.predict(x, noise=noise.child("inner"))
            logits = self._noisy(shown_logits(answer, "output-noise"), noise)
            labels = torch.where(answer.labels < 0, -1, logits.argmax(1))
            return Answer(labels, logits.softmax(1), None if answer.logits is None else logits, answer.passes)

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        inner = require_differentiable(self.inner, "an attack")
        return self._noisy(inner.logits(x, noise=noise.child("inner")), noise)

    def _noisy(self, logits: Tensor, noise: SeedStream) -> Tensor:
        draw = torch.randn(logits.shape, generator=noise.generator("output-noise")).to(logits.device)
        if self.below < 1:
            draw = draw * (logits.detach().softmax(1).amax(1, keepdim=True) <= self.below)
        return logits + self.sigma * draw


@dataclass(frozen=True)
class Rounding(Defense):
    """Shows scores in `digits` decimals and hides logits; the label stays that of the exact scores.

    Rounded scores need not add up to 1, and the two largest may be equal. Attacks with gradients climb the logits
    beneath.
    """

    reference = "Tramer et al. 2016, arXiv 1609.02943 (rounding confidences)"
    traits = DefenseTraits(Stage.INFERENCE, differentiable=False, softened=True)

    digits: Annotated[int, Field(ge=0, le=6, description="decimals of a score in [0, 1]")] = 2

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return _Rounded(model, self)

    def shows(self, inner: Access) -> Access:
        """Scores."""
        need_scores(inner, "rounding")
        return Access.SCORES


class _Rounded(Wrapper):
    def __init__(self, inner: Classifier, defense: Rounding) -> None:
        super().__init__(inner, defense, stochastic=False)
        self.digits = defense.digits

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        with torch.inference_mode():
            answer = self.inner.predict(x, noise=noise.child("inner"))
            if answer.scores is None:
                raise MissingCapability(lacking("rounding"))
            # In float64 a score that is a whole number of hundredths is shown as just that.
            rounded = (answer.scores.double() * 10**self.digits).round() / 10**self.digits
            return Answer(answer.labels, rounded.float(), passes=answer.passes)

    def softened(self) -> Differentiable:
        return Beneath(self)
