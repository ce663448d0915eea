"""A vote that stops, image by image, once its answer is settled.

The passes of one image that don't abstain are independent draws from class probabilities p. What a vote of
ever more passes settles on is the mode, the class of largest ``p``. Every class has an error level of its own, fixed by
the first vote: the class that it names gets ``0.9 error``, the other K - 1 classes share ``0.1 error``. A class j is
accepted once the votes after the first hold enough evidence that it beats each other class k one to one. Of the
``a + b`` later votes for j or k let a be for j: then

    E_jk = integral of (2q)^a (2 - 2q)^b w(q) dq over 1/2 < q < 1,    w(q) proportional to q^14,

is the likelihood of "j has the share q of the votes for j or k", averaged over q, against "both have half", and class j
is accepted as soon as ``E_jk >= 1 / level_j`` for all k.

Where k is the mode, a vote for j or k is for j with probability at most 1/2, so E_jk is a nonnegative supermartingale
that starts at 1, and by Ville's inequality it ever reaches ``1 / level_j`` with probability at most ``level_j``. Given
the first vote, the wrong classes together are thus accepted with at most the sum of their levels, and

    P(a class other than the mode is accepted) <= 0.9 error (1 - max p) + 0.1 error <= error,

for every p, any number of passes and any time of looking. Since the first vote is spent on choosing, the bound costs
one pass and not the factor K - 1 that a union over the classes would.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy import special
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
    Number,
    SeedStream,
    Stage,
    Wrapper,
    repeating,
)
from robustnoise_defenses.voting import Ballot, SoftVote

PRIOR_VOTES = 14
"""The exponent of w, whose mean is 0.94: about the share of the right class in the votes on a typical image."""
OTHERS = 0.1
"""The part of the error that classes not named by the first vote share."""


@dataclass(frozen=True)
class AdaptiveVote(Defense):
    """A majority vote that stops asking for an image once its label is settled. One query, up to `max_passes` passes.

    An image is settled by whichever comes first:

    - evidence: a sequential test accepts the leading class. For an image whose passes are independent and whose class
      probabilities are p, the test accepts a class that isn't the mode of p with probability at most ``error``, and at
      most ``0.55 error`` where ``max p >= 1/2``, whatever p is and however often one looks (see the module). These
      are bounds for the worst image; over images that are mostly clear, far fewer labels are wrong;
    - curtailment: no other class can get ahead in the passes left, so the label is that of ``vote(max_passes)``;
    - `max_passes`: the label is that of ``vote(max_passes)``, ties included. It may differ from the mode.

    The same noise gives the passes the draws that they have in ``vote(max_passes)``. Label and scores (shares of the
    votes) are frozen when an image is settled; the passes go on for the whole batch until all of its images are, so
    that no draw depends on which. `Answer.passes` counts up to each image's end, which is what a device that asks image
    by image would spend; the time that a batch takes is that of its slowest image. Abstaining passes are spent and
    don't vote.

    With ten classes, unanimous passes settle an image after 5 at ``error`` 0.1, 6 at 0.05, 9 at 0.01, 12 at 0.001. What
    that takes and gives on noisy networks stands on the boards analog-mnist, analog-strokes and analog-cifar10.
    """

    reference = (
        "one-versus-one mode tests: Jain et al. 2022, arXiv 2109.05047 (PPR-1v1), after Waudby-Smith & Ramdas 2020, "
        "arXiv 2006.04347; a target fixed beforehand needs no union over classes: Ota et al. 2026, arXiv 2605.05873; "
        "averaged likelihood ratios: Robbins 1970, Ann. Math. Statist. 41(5); curtailment: Lan, Simon & Halperin "
        "1982, Sequential Analysis 1(3)"
    )
    traits = DefenseTraits(Stage.INFERENCE, differentiable=False, softened=True, off={"max_passes": 1})

    max_passes: Annotated[int, Field(ge=1, le=10_000, description="most forward passes an answer")] = 64
    _: KW_ONLY
    error: Annotated[
        Number, Field(gt=0, le=0.5, description="bound on P(an image settles on a label that isn't its mode)")
    ] = 0.1

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return model if self.max_passes == 1 else _Adaptive(model, self)

    def shows(self, inner: Access) -> Access:
        """Shares of the votes."""
        return inner if self.max_passes == 1 else Access.SCORES


class _Adaptive(Wrapper):
    def __init__(self, inner: Classifier, defense: AdaptiveVote) -> None:
        super().__init__(inner, defense, stochastic=False)
        self.defense = defense
        self.passes = defense.max_passes * inner.passes

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        n = len(x)
        limit = self.defense.max_passes
        with torch.inference_mode(), repeating(self.inner):
            ballot = Ballot(self.num_classes, limit)
            settled = torch.zeros(n, dtype=torch.bool)
            labels, scores = torch.full((n,), -1), torch.zeros(n, self.num_classes)
            spent = torch.zeros(n, dtype=torch.int64)
            for t in range(limit):
                given = self.inner.predict(x, noise=noise.child("pass", t))
                ballot.add(Answer(given.labels.cpu()))
                cost = torch.full((n,), self.inner.passes) if given.passes is None else given.passes.cpu()
                spent += torch.where(settled, 0, cost)
                now = ~settled & self._settles(ballot)
                labels = torch.where(now, ballot.leaders(), labels)
                scores = torch.where(now[:, None], ballot.shares(), scores)
                settled |= now
                if bool(settled.all()):
                    break
            return Answer(labels, scores, passes=spent)

    def softened(self) -> Differentiable:
        return SoftVote(self, self.defense.max_passes, "scores")

    def _settles(self, ballot: Ballot) -> Tensor:
        left = ballot.limit - ballot.cast
        if left == 0:
            return torch.ones(len(ballot.counts), dtype=torch.bool)
        return decided(ballot, left) | accepted(ballot, self.defense.error)


def decided(ballot: Ballot, left: int) -> Tensor:
    """(n,) bool: the leader stays the leader whatever `left` more passes answer."""
    now, reachable = ballot.ranks(), ballot.ranks(left)
    leader = functional.one_hot(now.argmax(1), ballot.num_classes).bool()
    # A class that was never answered would come later than the leader, so it loses the tie: its rank has no bonus.
    return now.amax(1) > torch.where(leader, -1, reachable).amax(1)


def accepted(ballot: Ballot, error: float) -> Tensor:
    """(n,) bool: the test accepts the leader."""
    leader = functional.one_hot(ballot.leaders().clamp_min(0), ballot.num_classes)
    named = functional.one_hot(ballot.first.argmin(1), ballot.num_classes)
    later = ballot.counts - torch.where(ballot.counts > 0, named, 0)
    ahead = (later * leader).sum(1)
    behind = torch.where(leader.bool(), -1, later).amax(1)  # the evidence is least against the runner-up
    others = torch.full((len(leader),), OTHERS * error / (ballot.num_classes - 1), dtype=torch.float64)
    level = torch.where((leader == named).all(1), (1 - OTHERS) * error, others)
    return torch.from_numpy(log_evidence(ahead.numpy(), behind.numpy())) >= -level.log()


def log_evidence(ahead: npt.NDArray[Any], behind: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """ln E of the module's formula for `ahead` votes against `behind`; needs ``ahead + PRIOR_VOTES >= behind``.

    Both integrals are incomplete beta functions; in ``betainc`` the arguments are swapped for the upper tail.
    """
    found: npt.NDArray[np.float64] = _log_mass(ahead + PRIOR_VOTES, behind) - _log_mass(PRIOR_VOTES, 0)
    return found


def _log_mass(a: Any, b: Any) -> Any:
    """ln of 2^(a+b) times the integral of q^a (1-q)^b over 1/2 < q < 1."""
    return (a + b) * math.log(2) + special.betaln(a + 1, b + 1) + np.log(special.betainc(b + 1, a + 1, 0.5))
