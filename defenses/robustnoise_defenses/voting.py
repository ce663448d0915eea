"""One answer from several noisy passes."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from robustnoise.api import (
    Access,
    Answer,
    Classifier,
    Context,
    Defense,
    DefenseTraits,
    Differentiable,
    MissingCapability,
    SeedStream,
    Stage,
    Wrapper,
    repeating,
    require_differentiable,
)

SOFT_PASSES = 16
"""Passes that an attack with gradients averages in one draw; their activations are held together."""


@dataclass(frozen=True)
class Vote(Defense):
    """Asks the classifier `passes` times and sums its answers up. One query, many passes.

    - ``majority``: the label that most passes answer. A tie goes to the class that was answered first, which is a fair
      draw, since the passes are exchangeable. Scores are the shares of the votes.
    - ``mean-probability``: the largest mean of the passes' scores, ``argmax_k 1/T sum_t p_tk``; the means are the
      scores.
    - ``mean-logit``: the largest mean logit, ``argmax_k 1/T sum_t z_tk``; the means are the logits, their softmax (the
      normalised geometric mean of the passes' probabilities) the scores.

    Attacks with gradients climb the mean logits (``mean-logit``) or the logarithm of the mean probabilities of the
    passes, of the first `SOFT_PASSES` where there are more. For a mean rule that is what the answer follows from; for
    ``majority`` it is a smooth stand-in for the share of the votes.

    A pass that abstains counts for nothing; the answer abstains, with zeros, where every pass did.

    Raises:
        MissingCapability: a mean is asked of a classifier that shows labels alone; at the first answer where that isn't
            known before.
    """

    reference = (
        "Qin & Vucinic 2018, arXiv 1811.10649 (voting over repeated inferences); means: Lakshminarayanan, Pritzel & "
        "Blundell 2017, arXiv 1612.01474, section 2.4; the rules compared: Kittler et al. 1998, IEEE TPAMI 20(3)"
    )
    traits = DefenseTraits(Stage.INFERENCE, differentiable=False, softened=True, off={"passes": 1})

    passes: Annotated[int, Field(ge=1, le=100_000, description="forward passes an answer")] = 16
    _: KW_ONLY
    rule: Annotated[
        Literal["majority", "mean-probability", "mean-logit"], Field(description="how passes become one answer")
    ] = "majority"

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return model if self.passes == 1 else _Voting(model, self)

    def shows(self, inner: Access) -> Access:
        """Shares or means of the votes."""
        if self.passes == 1:
            return inner
        if self.rule == "majority":
            return Access.SCORES
        needed = Access.SCORES if self.rule == "mean-probability" else Access.LOGITS
        if inner < needed:
            raise MissingCapability(_lacking(self.rule, needed.name.lower()))
        return needed


class _Voting(Wrapper):
    def __init__(self, inner: Classifier, defense: Vote) -> None:
        super().__init__(inner, defense, stochastic=False)
        self.defense = defense
        self.passes = defense.passes * inner.passes

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        with torch.inference_mode(), repeating(self.inner):
            summary = self._summary()
            spent: Tensor | None = None
            for t in range(self.defense.passes):
                answer = self.inner.predict(x, noise=noise.child("pass", t))
                summary.add(answer)
                if answer.passes is not None:
                    spent = answer.passes if spent is None else spent + answer.passes
            return summary.answer()._replace(passes=spent)

    def softened(self) -> Differentiable:
        return SoftVote(self, self.defense.passes, "logits" if self.defense.rule == "mean-logit" else "scores")

    def _summary(self) -> _Summary:
        if self.defense.rule == "majority":
            return Ballot(self.num_classes, self.defense.passes)
        return _Mean("scores" if self.defense.rule == "mean-probability" else "logits", self.defense)


class SoftVote:
    """The stand-in for a vote: its answers, and the mean of its first passes as logits.

    Args:
        voting: the vote.
        passes: forward passes that the vote makes; more than `SOFT_PASSES` are cut short.
        part: what is averaged: logits, or scores, of which the logarithm is taken.

    Raises:
        MissingCapability: a pass has no gradients.
    """

    def __init__(self, voting: Wrapper, passes: int, part: Literal["scores", "logits"]) -> None:
        self.inner = require_differentiable(voting.inner, "an attack")
        self.count, self.part = min(passes, SOFT_PASSES), part
        self.predict = voting.predict
        self.num_classes, self.input_shape = voting.num_classes, voting.input_shape
        self.stochastic, self.passes, self.digest = voting.stochastic, voting.passes, voting.digest

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `Differentiable.logits`; pass t has the draws of pass t of the vote."""
        passes = torch.stack([self.inner.logits(x, noise=noise.child("pass", t)) for t in range(self.count)])
        if self.part == "logits":
            return passes.mean(0)
        return passes.log_softmax(2).logsumexp(0) - math.log(self.count)


def _lacking(rule: str, part: str) -> str:
    return (
        f"vote(rule={rule}) needs the {part} of every pass, and the classifier it votes over answers without {part}. "
        "Use rule=majority, or put the vote before the stage that hides them."
    )


class _Summary(Protocol):
    """What the passes said so far."""

    def add(self, answer: Answer) -> None: ...
    def answer(self) -> Answer: ...


class Ballot:
    """The votes of up to `limit` passes; -1 is no vote.

    Attributes:
        cast: passes so far.
        counts: (n, num_classes) int64 votes.
        first: (n, num_classes) int64, the pass that first answered the class; `limit` where none did.
    """

    def __init__(self, num_classes: int, limit: int) -> None:
        self.num_classes = num_classes
        self.limit = limit
        self.cast = 0
        self.counts = torch.zeros(0, num_classes, dtype=torch.int64)
        self.first = self.counts

    def add(self, answer: Answer) -> None:
        """Count one pass."""
        labels = answer.labels
        votes = functional.one_hot(labels.clamp_min(0), self.num_classes) * (labels >= 0)[:, None]
        if self.cast == 0:
            self.counts, self.first = torch.zeros_like(votes), torch.full_like(votes, self.limit)
        self.first = torch.where((votes > 0) & (self.counts == 0), self.cast, self.first)
        self.counts = self.counts + votes
        self.cast += 1

    def ranks(self, extra: int = 0) -> Tensor:
        """(n, num_classes) int64 that order the classes by votes, then by age, had each `extra` more votes."""
        # The bonus for age is below one vote in all.
        return (self.counts + extra) * (self.limit + 1) + (self.limit - self.first)

    def leaders(self) -> Tensor:
        """(n,) int64: the class with the most votes, of several the one answered first; -1 where there is no vote."""
        return torch.where(self.counts.any(1), self.ranks().argmax(1), -1)

    def shares(self) -> Tensor:
        """(n, num_classes) float32 of the votes; zeros where there is none."""
        return self.counts / self.counts.sum(1).clamp_min(1)[:, None]

    def answer(self) -> Answer:
        """The leaders, and the shares as scores."""
        return Answer(self.leaders(), self.shares())


class _Mean:
    """The mean of one part of the answers."""

    def __init__(self, part: Literal["scores", "logits"], defense: Vote) -> None:
        self.part = part
        self.defense = defense
        self.total: Tensor | None = None
        self.counted: Tensor | None = None

    def add(self, answer: Answer) -> None:
        values = answer.scores if self.part == "scores" else answer.logits
        if values is None:
            raise MissingCapability(_lacking(self.defense.rule, self.part))
        votes = (answer.labels >= 0).to(torch.int64)
        # An abstaining pass may hold anything, NaN too, so it is cut out and not multiplied by zero.
        values = torch.where(votes[:, None] > 0, values, 0.0).double()
        self.total = values if self.total is None else self.total + values
        self.counted = votes if self.counted is None else self.counted + votes

    def answer(self) -> Answer:
        assert self.total is not None
        assert self.counted is not None
        voted = self.counted > 0
        mean = self.total / self.counted.clamp_min(1)[:, None]
        labels = torch.where(voted, mean.argmax(1), -1)
        if self.part == "scores":
            return Answer(labels, mean.float())
        scores = torch.where(voted[:, None], mean.softmax(1), 0.0)
        return Answer(labels, scores.float(), mean.float())
