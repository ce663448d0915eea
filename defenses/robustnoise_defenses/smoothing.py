"""Randomised smoothing: what a classifier answers most often under noise, or nothing where that isn't clear."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import torch
from pydantic import Field
from scipy import special
from torch import Tensor

from robustnoise.api import (
    Access,
    Answer,
    BadParameter,
    Classifier,
    Context,
    Defense,
    DefenseTraits,
    Differentiable,
    Number,
    SeedStream,
    Stage,
    Wrapper,
)
from robustnoise_defenses.noise.inputs import GaussianInputNoise
from robustnoise_defenses.voting import Ballot, SoftVote


@dataclass(frozen=True)
class Smoothing(Defense):
    """Answers by the algorithm PREDICT: the class that most of `passes` noisy images get, or -1.

    The answer is the class of most votes if an exact two-sided binomial test at level `alpha` refuses that it and the
    runner-up are equally likely; else it is an abstention, which counts as wrong. With probability at least
    ``1 - alpha`` the answer is the class that the smoothed classifier ``g(x) = argmax_c P(f(x + sigma n) = c)`` really
    has, or an abstention (proposition 1 of the paper). Noisy images aren't clipped, and scores are the shares of the
    votes, of an abstention too. A pass that abstains is spent and doesn't vote.

    It is what `robustnoise certify` and ``rn.certify`` certify, with a test of their own. Attacks with gradients climb
    the logarithm of the mean probabilities of the first 16 passes, as against a smoothed classifier they should
    (Salman et al. 2019, arXiv 1906.04584).
    """

    reference = "Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918, section 3.2.1 (PREDICT)"
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, differentiable=False, softened=True, abstains=True)

    sigma: Annotated[Number, Field(gt=0, le=10, description="standard deviation, pixels in [0, 1]")] = 0.25
    _: KW_ONLY
    passes: Annotated[int, Field(ge=2, le=100_000, description="noisy images an answer")] = 100
    alpha: Annotated[
        Number, Field(gt=0, lt=1, description="bound on P(an answer is another class than the smoothed classifier's)")
    ] = 0.001

    def check(self) -> None:
        """Refuse passes so few that even unanimous ones don't convince the test."""
        least = math.ceil(1 - math.log2(self.alpha))
        if self.passes < least:
            raise BadParameter(
                f"smoothing: passes = {self.passes}: at alpha = {self.alpha:g} every answer would be an abstention. "
                f"Expected at least {least}, or a larger alpha."
            )

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return _Smoothed(GaussianInputNoise(self.sigma).apply(model, ctx), model, self)

    def shows(self, inner: Access) -> Access:
        """Shares of the votes."""
        return Access.SCORES


class _Smoothed(Wrapper):
    """Attributes ``base`` and ``sigma`` are what `robustnoise.protocols.Smoothed` asks for."""

    def __init__(self, noisy: Classifier, base: Classifier, defense: Smoothing) -> None:
        super().__init__(noisy, defense, stochastic=True)
        self.defense, self.base, self.sigma = defense, base, defense.sigma
        self.passes = defense.passes * noisy.passes

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        with torch.inference_mode():
            ballot = Ballot(self.num_classes, self.defense.passes)
            spent: Tensor | None = None
            for t in range(self.defense.passes):
                answer = self.inner.predict(x, noise=noise.child("pass", t))
                ballot.add(answer)
                if answer.passes is not None:
                    spent = answer.passes if spent is None else spent + answer.passes
            clear = clearly_first(ballot.counts, self.defense.alpha)
            return Answer(torch.where(clear, ballot.leaders(), -1), ballot.shares(), passes=spent)

    def softened(self) -> Differentiable:
        return SoftVote(self, self.defense.passes, "scores")


def clearly_first(counts: Tensor, alpha: float) -> Tensor:
    """(n,) bool: the largest of each row of (n, K) votes is no fair coin's work against the second largest.

    The p-value is that of the exact two-sided binomial test at 1/2, ``min(1, 2 P(X >= a))`` with X of a + b tosses,
    where a is the largest and b the second largest. It is accepted at p <= alpha.
    """
    top = counts.topk(2, dim=1).values.cpu().double().numpy()
    first, second = top[:, 0], top[:, 1]
    # P(X >= a) for a >= 1 is the regularised incomplete beta function; no votes at all prove nothing.
    p = 2 * special.betainc(first.clip(min=1), second + 1, 0.5)
    return torch.from_numpy((p <= alpha) & (first > 0)).to(counts.device)
