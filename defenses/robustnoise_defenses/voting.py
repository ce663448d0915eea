"""One answer from several noisy passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from robustnoise.api import Answer, Classifier, Context, Defense, DefenseTraits, SeedStream, Stage, Wrapper


@dataclass(frozen=True)
class Vote(Defense):
    """Asks the classifier `passes` times and answers what most passes answer.

    A tie goes to the class that was answered first, which is a fair draw, since the passes are exchangeable. Scores are
    the shares of the votes. Abstentions don't vote; the answer abstains where every pass did. One query, many passes.
    """

    reference = "Qin & Vucinic 2018, arXiv 1811.10649 (voting over repeated inferences)"
    traits = DefenseTraits(Stage.INFERENCE, differentiable=False, off={"passes": 1})

    passes: Annotated[int, Field(ge=1, le=100_000, description="forward passes an answer")] = 16

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return model if self.passes == 1 else _Voting(model, self)


class _Voting(Wrapper):
    def __init__(self, inner: Classifier, defense: Vote) -> None:
        super().__init__(inner, defense, stochastic=False)
        self.votes = defense.passes
        self.passes = defense.passes * inner.passes

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        with torch.inference_mode():
            labels = torch.stack(
                [self.inner.predict(x, noise=noise.child("pass", t)).labels for t in range(self.votes)]
            )
            return majority(labels, self.num_classes)


def majority(labels: Tensor, num_classes: int) -> Answer:
    """The majority of (passes, n) int64 labels, -1 for an abstention; ties to the label that came first."""
    one_hot = functional.one_hot(labels.clamp_min(0), num_classes) * (labels >= 0)[..., None]
    counts = one_hot.sum(0)
    # The rank bonus is below one vote in all, and larger the earlier a class was first answered.
    passes = len(labels)
    first = torch.where(one_hot.bool().any(0), one_hot.argmax(0), passes)
    winner = (counts * (passes + 1) + (passes - first)).argmax(1)
    total = counts.sum(1)
    answer = torch.where(total > 0, winner, -1)
    return Answer(answer, counts / total.clamp_min(1)[:, None])
