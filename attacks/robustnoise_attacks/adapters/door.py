"""Between another library's attack and our oracle: one image at a time, every row on the books."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.api import (
    AttackResult,
    BudgetExceeded,
    Oracle,
    SeedStream,
    Targets,
    ThreatModel,
)
from robustnoise_attacks.adapters.library import Library, as_images, third_party


class Door:
    """Answers the questions about one image, within what it may cost, and remembers the best row it was shown.

    `best` is what is left when the budget ends in the middle of the attack: of the rows answered wrongly the one least
    outside the ball, and of equals the one with the lowest margin; of none, with scores, the row in the ball with the
    lowest margin; else the original.

    Args:
        oracle: the victim's.
        number: the image's id.
        x: (1, C, H, W), the image.
        y: its true label.
        threat: the ball.
        limit: rows it may cost.
        scores: whether the attack is shown scores; else labels, one-hot.
    """

    def __init__(
        self, oracle: Oracle, number: int, x: Tensor, y: int, threat: ThreatModel, *, limit: int, scores: bool
    ) -> None:
        self._oracle, self._number, self._threat, self._limit = oracle, number, threat, limit
        self.x, self.y, self.scores = x, y, scores
        self.best = x
        self.trace: dict[int, Tensor] = {}
        self._key = (True, 0.0, 2.0 if scores else 0.0)  # a margin of probabilities is at most 1
        self._spent = 0

    def ask(self, rows: Tensor) -> Tensor:
        """(n, num_classes) float32 probabilities for `rows` (n, C, H, W), which are clipped to [0, 1] first.

        An abstention is shown as a wrong label, since it counts as one.

        Raises:
            BudgetExceeded: the rows would go over the image's budget or the total; none is asked.
            ValueError: they are no images.
        """
        if rows.dim() != 4 or rows.shape[1:] != self.x.shape[1:] or not bool(rows.isfinite().all()):
            raise ValueError(f"it asks about {tuple(rows.shape)}, finite: {bool(rows.isfinite().all())}")
        rows = rows.detach().cpu().to(torch.float32).clamp(0, 1)
        if self._spent + len(rows) > self._limit:
            raise BudgetExceeded(f"{len(rows)} queries refused: {self._spent} of {self._limit} are spent.")
        for stop in self._oracle.stops:
            if self._spent <= stop < self._spent + len(rows):
                self.trace[stop] = self.best
        answer = self._oracle.query(rows, torch.full((len(rows),), self._number))
        self._spent += len(rows)
        classes = self._oracle.num_classes
        labels = torch.where(answer.labels < 0, (self.y + 1) % classes, answer.labels)
        shown = functional.one_hot(labels, classes).float()
        if self.scores and answer.scores is not None:
            shown = torch.where((answer.labels < 0)[:, None], shown, answer.scores)
        self._remember(rows, labels, shown)
        return shown

    def _remember(self, rows: Tensor, labels: Tensor, shown: Tensor) -> None:
        excess = self._threat.violation(self.x.expand_as(rows), rows).clamp_min(0)
        others = shown.clone()
        others[:, self.y] = -1
        margins = shown[:, self.y] - others.amax(1) if self.scores else torch.zeros(len(rows))
        right = (labels == self.y).tolist()
        for i, key in enumerate(zip(right, excess.tolist(), margins.tolist(), strict=True)):
            if key < self._key:
                self._key, self.best = key, rows[i : i + 1].clone()

    def finish(self, found: Tensor) -> None:
        """Take what the attack hands in when it ends by itself."""
        self.best = found


def attack_each(
    library: Library,
    attack: str,
    oracle: Oracle,
    targets: Targets,
    threat: ThreatModel,
    seeds: SeedStream,
    run: Callable[[Door], object],
    *,
    scores: bool,
) -> AttackResult:
    """Let `run` attack one image after the other, so that ids, budgets and results are each image's own.

    A total budget is shared out evenly; what one image leaves over goes to the later ones. An image whose budget ends
    in the middle is handed in as the best row that was asked about it, projected onto the ball.

    Raises:
        AttackFailed: the library raised, or handed in nonsense.
    """
    start = oracle.spent
    stops = oracle.stops
    trace = {stop: targets.x.clone() for stop in stops}
    if threat.eps == 0:
        return AttackResult(targets.x.clone(), 0, trace=trace)
    left = oracle.left(targets.ids).tolist()
    out = targets.x.clone()
    for i, number in enumerate(targets.ids.tolist()):
        limit = left[i] if oracle.remaining is None else min(left[i], oracle.remaining // (len(left) - i))
        x = targets.x[i : i + 1]
        door = Door(oracle, number, x, int(targets.y[i]), threat, limit=limit, scores=scores)
        try:
            with third_party(library, attack, seeds.seed("image", number), noisy=oracle.stochastic):
                found = run(door)
            door.finish(as_images(found, x, library, attack, noisy=oracle.stochastic))
        except BudgetExceeded:
            pass  # `best` is what there is
        out[i] = threat.project(x, door.best)[0]
        for stop in stops:
            trace[stop][i] = threat.project(x, door.trace.get(stop, door.best))[0]
    return AttackResult(out, oracle.spent - start, trace=trace)
