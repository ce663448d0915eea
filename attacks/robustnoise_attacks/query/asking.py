"""The books of a query attack: who has been asked how often, and what the best image so far is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import BudgetExceeded, MissingCapability, Oracle, Targets, ThreatModel

LEVELS = 255
CALL = 8192
"""Rows of a call to the oracle; bounds memory."""
Queries = Annotated[
    int, Field(ge=0, le=10_000_000, description="queries about one image at most; the oracle's budget may be lower")
]
Draws = Annotated[
    int, Field(ge=1, le=10_000, description="times that a noisy victim is asked about a candidate; each is a query")
]


class Observed(NamedTuple):
    """What k answers to each of m candidates say."""

    margins: Tensor
    """(m, k) float32 log-probability of the true class less the best other's."""
    wrong: Tensor
    """(m, k) bool: the answer isn't the true label."""


class Asker:
    """Asks an oracle about some of the targets at a time and repeats a question to a noisy victim.

    `best` holds every image's best candidate and is for the attack to write; the books note it whenever an image's
    queries pass one of the oracle's stops. Rows are indices into the targets, each at most once in a call. A total
    budget is shared out evenly, so that no image depends on what another one needs.

    Args:
        oracle: the victim's.
        targets: the images under attack.
        threat: norm and radius; with a radius of 0 nothing is asked.
        queries: the most that the attack asks about one image; the oracle's budget may be lower.
        draws: how often a candidate is asked where the victim is noisy; one that isn't is asked once.

    Raises:
        MissingCapability: there is no oracle.
    """

    def __init__(
        self, oracle: Oracle | None, targets: Targets, threat: ThreatModel, *, queries: int, draws: int = 1
    ) -> None:
        if oracle is None:
            raise MissingCapability("a query attack asks the victim: pass its oracle.")
        self._oracle = oracle
        self._start = oracle.spent
        self.ids, self.y = targets.ids, targets.y
        self.noisy = oracle.stochastic
        self.draws = draws if self.noisy else 1
        self.best = targets.x.clone()
        self.spent = torch.zeros(len(self.ids), dtype=torch.int64)
        self.limit = oracle.left(self.ids).clamp(max=queries if threat.eps else 0)
        if oracle.remaining is not None and len(self.ids):
            self.limit = self.limit.clamp(max=oracle.remaining // len(self.ids))
        self._threat, self._levels = threat, (targets.x * LEVELS).round().to(torch.uint8)
        self.trace = {stop: targets.x.clone() for stop in oracle.stops}

    @property
    def queries(self) -> int:
        """Rows that the oracle answered for this attack."""
        return self._oracle.spent - self._start

    def can_pay(self, candidates: int) -> Tensor:
        """(n,) bool: the images that can pay for `candidates` more candidates, each asked `draws` times."""
        return self.limit - self.spent >= candidates * self.draws

    def inside(self, x: Tensor, rows: Tensor) -> Tensor:
        """`x` (m, C, H, W) as it would be handed in: projected into the ball and rounded as the harness will."""
        return self._threat.to_levels(self._levels[rows], x).float() / LEVELS

    def observe(self, x: Tensor, rows: Tensor) -> Observed:
        """Every single one of the attack's `draws`.

        Args:
            x: (m, C, H, W) candidates in [0, 1].
            rows: (m,) int64, whose they are.

        Raises:
            BudgetExceeded: the total is spent; nothing is asked.
            MissingCapability: the oracle answers labels alone.
        """
        return self._observe(x if self.draws == 1 else x.repeat_interleave(self.draws, 0), rows, self.draws)

    def neighbours(self, x: Tensor, rows: Tensor) -> Tensor:
        """(m, k) margins of k candidates for each row, each asked once.

        Args:
            x: (m, k, C, H, W) in [0, 1].
            rows: (m,) int64, whose they are.

        Raises:
            BudgetExceeded: the total is spent; nothing is asked.
            MissingCapability: the oracle answers labels alone.
        """
        return self._observe(x.flatten(0, 1), rows, x.shape[1]).margins

    def _observe(self, x: Tensor, rows: Tensor, repeats: int) -> Observed:
        labels, scores = self._ask(x, rows, repeats)
        if scores is None:
            raise MissingCapability(
                "this attack reads scores, and the oracle answers labels alone. "
                "Give it access = scores, or take an attack that reads labels."
            )
        logs = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
        truth = self.y[rows].repeat_interleave(repeats)
        true = logs.gather(1, truth[:, None])[:, 0]
        other = logs.scatter_(1, truth[:, None], -torch.inf).amax(1)
        return Observed((true - other).view(-1, repeats), (labels != truth).view(-1, repeats))

    def wrong(self, x: Tensor, rows: Tensor, draws: int | None = None) -> Tensor:
        """(m,) float32 share of the draws in which the answer isn't the true label; arguments as of `observe`.

        `draws` is how often each is asked; None is the attack's own.
        """
        repeats = draws or self.draws
        labels = self._ask(x.repeat_interleave(repeats, 0), rows, repeats)[0]
        return (labels.view(-1, repeats) != self.y[rows][:, None]).float().mean(1)

    def wrong_each(self, x: Tensor, rows: Tensor) -> Tensor:
        """(m, k) bool whether the answer isn't the true label, of k candidates for each row, each asked once.

        Args:
            x: (m, k, C, H, W) in [0, 1].
            rows: (m,) int64, whose they are.

        Raises:
            BudgetExceeded: the total is spent; nothing is asked.
        """
        labels = self._ask(x.flatten(0, 1), rows, x.shape[1])[0]
        return labels.view(-1, x.shape[1]) != self.y[rows][:, None]

    def _ask(self, x: Tensor, rows: Tensor, repeats: int) -> tuple[Tensor, Tensor | None]:
        """Labels and scores of `x` (m * repeats, C, H, W), `repeats` in turn for each row."""
        total = len(rows) * repeats
        if self._oracle.remaining is not None and total > self._oracle.remaining:
            raise BudgetExceeded(f"{total} queries refused: {self._oracle.remaining} are left in total.")
        self._note(rows, repeats)
        labels, scores = [], []
        per_call = max(1, CALL // repeats)
        for start in range(0, len(rows), per_call):
            part = rows[start : start + per_call]
            asked = x[start * repeats : (start + per_call) * repeats]
            answer = self._oracle.query(asked, self.ids[part].repeat_interleave(repeats))
            self.spent[part] += repeats
            labels.append(answer.labels)
            scores.append(answer.scores)
        if not labels:
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, self._oracle.num_classes)
        known = [s for s in scores if s is not None]
        return torch.cat(labels), torch.cat(known) if known else None

    def _note(self, rows: Tensor, repeats: int) -> None:
        """Keep the images of those that are about to pass a stop."""
        if not self.trace:
            return
        before = self.spent[rows]
        for stop, images in self.trace.items():
            passing = rows[(before <= stop) & (before + repeats > stop)]
            if len(passing):
                images[passing] = self.best[passing]

    @contextmanager
    def until_spent(self) -> Iterator[None]:
        """Ends the attack's loop when the total budget is spent, and settles the books."""
        with suppress(BudgetExceeded):
            yield
        for stop, images in self.trace.items():
            early = self.spent <= stop
            images[early] = self.best[early]
