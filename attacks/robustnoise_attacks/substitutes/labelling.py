"""What the victim says of images, asked several times where its answers are random, and paid from the budget."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustnoise.api import BudgetExceeded, Oracle


class Labelled(NamedTuple):
    """The victim's word on the first m images of those handed in: as many as the budget paid for."""

    labels: Tensor
    """(m,) int64, the most frequent answer; -1 is an abstention."""
    scores: Tensor | None
    """(m, num_classes) float32, the mean; None where the oracle shows none."""


def affordable(oracle: Oracle, rows: int, repeats: int) -> int:
    """How many of `rows` images the rest of the budget pays for, each asked `repeats` times as `label` does."""
    return rows if oracle.remaining is None else min(rows, oracle.remaining // _times(oracle, repeats))


def need_answers(name: str, oracle: Oracle, repeats: int = 1) -> None:
    """Refuse to fit what could learn nothing: a network with its first weights would stand in a row as an attack.

    Args:
        name: the substitute's.
        oracle: the victim's.
        repeats: how often a noisy victim is asked for one label.

    Raises:
        BudgetExceeded: the budget doesn't pay for one label.
    """
    if affordable(oracle, 1, repeats) == 0:
        raise BudgetExceeded(
            f"{name}: {oracle.remaining} queries are left of budget total, and one label costs "
            f"{_times(oracle, repeats)}. Raise total, or take a substitute that asks nothing, such as independent."
        )


def _times(oracle: Oracle, repeats: int) -> int:
    """A victim without noise gives the same answer again, so it is asked once."""
    return repeats if oracle.stochastic else 1


def label(oracle: Oracle, x: Tensor, ids: Tensor, repeats: int = 1) -> Labelled:
    """Ask for each of the first images, as many as can be paid for, `repeats` times; a victim without noise once.

    Args:
        oracle: the victim's.
        x: (n, C, H, W) float32 in [0, 1].
        ids: (n,) int64, the image that each stands for.
        repeats: at least 1.
    """
    rows = affordable(oracle, len(x), repeats)
    answers = [oracle.query(x[:rows], ids[:rows]) for _ in range(_times(oracle, repeats))]
    scores = [a.scores for a in answers if a.scores is not None]
    return Labelled(
        majority(torch.stack([a.labels for a in answers]), oracle.num_classes),
        torch.stack(scores).mean(0) if scores else None,
    )


def majority(labels: Tensor, num_classes: int) -> Tensor:
    """(n,) the most frequent of (r, n) labels; of equals the smallest. Abstentions (-1) count only if all abstain."""
    counts = torch.zeros(labels.shape[1], num_classes + 1, dtype=torch.int64)
    votes = counts.scatter_add_(1, labels.T + 1, torch.ones_like(labels.T))[:, 1:]
    # Not argmax, which may return any of several equal ones.
    best = (votes == votes.amax(1, keepdim=True)).int()
    first = (best.cumsum(1) == 0).sum(1)
    return torch.where(votes.sum(1) > 0, first, -1)
