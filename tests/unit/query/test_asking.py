"""The books of a query attack agree with a model that counts, image by image and in total."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustnoise.errors import BudgetExceeded, MissingCapability
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Answer, Targets
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf
from robustnoise_attacks.query import asking
from robustnoise_attacks.query.asking import Asker

THREAT = Linf(0.1)


class Row:
    """Three classes with scores 0.5, 0.3, 0.2, noise or not; notes how often each image, told by its pixels, came."""

    num_classes, input_shape, passes, digest = 3, (1, 1, 1), 1, "row"

    def __init__(self, *, stochastic: bool = False) -> None:
        self.stochastic = stochastic
        self.seen: list[float] = []

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.seen += [v for v in x.flatten().tolist() if v > 0]
        scores = torch.tensor([0.5, 0.3, 0.2]).repeat(len(x), 1)
        return Answer(scores.argmax(1), scores)


def _targets(n: int = 4) -> Targets:
    return Targets(torch.arange(10, 10 + n), (torch.arange(n) + 1.0).view(n, 1, 1, 1) / 8, torch.arange(n) % 3)


def _asker(victim: Row, *, queries: int = 100, draws: int = 1, access: Access = Access.SCORES, **limits: int) -> Asker:
    oracle = CountingOracle(victim, replace(THREAT, access=access), SeedStream(0), **limits)  # type: ignore[arg-type]
    return Asker(oracle, _targets(), THREAT, queries=queries, draws=draws)


def test_margins_and_wrong_of_known_scores() -> None:
    asker = _asker(Row())
    rows = torch.arange(4)
    logs = torch.tensor([0.5, 0.3, 0.2]).log()
    expected = torch.stack([logs[0] - logs[1], logs[1] - logs[0], logs[2] - logs[0], logs[0] - logs[1]])
    assert torch.allclose(asker.observe(asker.best, rows).margins.mean(1), expected)
    assert asker.wrong(asker.best, rows).tolist() == [0, 1, 1, 0]
    assert asker.neighbours(asker.best[:2, None].expand(2, 3, 1, 1, 1), rows[:2]).shape == (2, 3)
    assert asker.spent.tolist() == [5, 5, 2, 2]


def test_the_books_agree_with_the_model_to_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "CALL", 6)  # several calls to the oracle
    victim = Row(stochastic=True)
    asker = _asker(victim, draws=3)
    asker.observe(asker.best, torch.arange(4))
    asker.wrong(asker.best[[3, 1]], torch.tensor([3, 1]), 2)
    asker.observe(asker.best[:0], torch.arange(0))
    counted = [round(v * 8) - 1 for v in victim.seen]
    assert [counted.count(i) for i in range(4)] == asker.spent.tolist() == [3, 5, 3, 5]
    assert asker.queries == len(counted) == 16
    assert asker.can_pay(32).tolist() == [True, False, True, False]


def test_a_deterministic_victim_is_asked_once() -> None:
    asker = _asker(Row(), draws=5)
    asker.observe(asker.best, torch.arange(4))
    assert asker.spent.tolist() == [1] * 4


def test_the_lower_of_the_two_limits_holds() -> None:
    assert _asker(Row(), queries=5, per_image=9).limit.tolist() == [5] * 4
    assert _asker(Row(), queries=9, per_image=5).limit.tolist() == [5] * 4


def test_what_the_total_cannot_pay_is_not_asked_at_all() -> None:
    victim = Row(stochastic=True)
    asker = _asker(victim, draws=2, total=9)
    ended = False
    with asker.until_spent():
        asker.observe(asker.best, torch.arange(4))
        asker.observe(asker.best, torch.arange(4))
        ended = True
    assert not ended
    assert len(victim.seen) == asker.queries == int(asker.spent.sum()) == 8
    with pytest.raises(BudgetExceeded, match="2 queries refused: 1 are left"):
        asker.observe(asker.best[:1], torch.arange(1))


@pytest.mark.parametrize("draws", [1, 3])
def test_the_trace_holds_what_was_best_when_a_stop_was_passed(draws: int) -> None:
    asker = _asker(Row(stochastic=True), draws=draws, stops=(2, 5, 50))  # type: ignore[arg-type]
    with asker.until_spent():
        for turn in range(1, 8):
            rows = torch.tensor([0, 1, 2]) if turn > 2 else torch.arange(4)
            asker.observe(asker.best[rows], rows)
            asker.best[rows] = turn / 16.0  # made from `turn * draws` answers
    for stop, images in asker.trace.items():
        turns = [min(stop // draws, last) for last in (7, 7, 7, 2)]
        start = _targets().x
        assert images.flatten().tolist() == [turn / 16 if turn else start[i].item() for i, turn in enumerate(turns)], (
            stop
        )


def test_labels_alone_have_no_margins() -> None:
    asker = _asker(Row(), access=Access.LABELS)
    with pytest.raises(MissingCapability, match="access = scores"):
        asker.observe(asker.best, torch.arange(4))
    assert asker.wrong(asker.best, torch.arange(4)).tolist() == [0, 1, 1, 0]
    with pytest.raises(MissingCapability, match="pass its oracle"):
        Asker(None, _targets(), THREAT, queries=1)
