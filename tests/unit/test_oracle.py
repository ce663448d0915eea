"""The counted door: refused whole and uncharged, hides what the access level hides, counts what the model sees."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustnoise.errors import BadData, BadParameter, BudgetExceeded
from robustnoise.models.classifier import TorchClassifier
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Answer, Context
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf
from robustnoise_defenses import GaussianInputNoise

NOISE = SeedStream(0, ("victim",))


class Spy:
    """Notes every row that isn't padding; images here never are black."""

    num_classes, input_shape, stochastic, passes, digest = 3, (1, 2, 2), False, 1, "spy"

    def __init__(self) -> None:
        self.rows = 0

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.rows += int((x.flatten(1).amax(1) > 0).sum())
        logits = torch.stack([x.flatten(1)[:, 0], x.flatten(1)[:, 1], x.flatten(1)[:, 2]], 1)
        return Answer(logits.argmax(1), logits.softmax(1), logits)


def _batch(n: int) -> Tensor:
    return torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(n)) * 0.9 + 0.05


def _oracle(spy: object, access: Access = Access.LABELS, **limits: int) -> CountingOracle:
    return CountingOracle(spy, Linf(0.3, access), NOISE, **limits)  # type: ignore[arg-type]


def test_total_budget_is_refused_before_answering_and_without_charge() -> None:
    spy = Spy()
    oracle = _oracle(spy, total=5)
    oracle.query(_batch(3), torch.arange(3))
    with pytest.raises(BudgetExceeded, match="3 queries refused: 3 of 5"):
        oracle.query(_batch(3), torch.arange(3))
    assert (oracle.spent, oracle.remaining, spy.rows) == (3, 2, 3)
    assert oracle.counts == {0: 1, 1: 1, 2: 1}
    oracle.query(_batch(2), torch.tensor([0, 1]))
    assert (oracle.spent, oracle.remaining, spy.rows) == (5, 0, 5)


def test_nobody_gets_a_budget_for_an_image_that_is_not_under_attack() -> None:
    spy = Spy()
    oracle = CountingOracle(spy, Linf(0.3), NOISE, per_image=1, ids=torch.arange(2))
    oracle.query(_batch(2), torch.arange(2))
    with pytest.raises(BadData, match="image 7 is not under attack"):
        oracle.query(_batch(2), torch.tensor([7, 8]))
    assert (oracle.spent, oracle.counts, spy.rows) == (2, {0: 1, 1: 1}, 2)


def test_per_image_budget_counts_repeats_within_a_call() -> None:
    spy = Spy()
    oracle = _oracle(spy, per_image=2)
    oracle.query(_batch(2), torch.tensor([7, 8]))
    with pytest.raises(BudgetExceeded, match="image 7: 2 queries refused: 1 of 2"):
        oracle.query(_batch(3), torch.tensor([8, 7, 7]))
    assert (oracle.spent, spy.rows, oracle.counts) == (2, 2, {7: 1, 8: 1})
    assert oracle.remaining is None
    oracle.query(_batch(2), torch.tensor([8, 7]))
    assert oracle.counts == {7: 2, 8: 2}


def test_a_budget_of_zero_answers_nothing() -> None:
    spy = Spy()
    for oracle in (_oracle(spy, total=0), _oracle(spy, per_image=0)):
        with pytest.raises(BudgetExceeded):
            oracle.query(_batch(1), torch.arange(1))
    assert spy.rows == 0


def test_a_refused_call_does_not_move_the_noise() -> None:
    victim = GaussianInputNoise(1.0).apply(Spy(), Context())
    answers = []
    for refused in (False, True):
        oracle = _oracle(victim, Access.LOGITS, total=4)
        oracle.query(_batch(2), torch.arange(2))
        if refused:
            with pytest.raises(BudgetExceeded):
                oracle.query(_batch(4), torch.arange(4))
        answers.append(oracle.query(_batch(2), torch.arange(2)).logits)
    assert torch.equal(answers[0], answers[1])


def test_noise_is_fresh_at_each_call_and_reproducible() -> None:
    victim = GaussianInputNoise(1.0).apply(Spy(), Context())
    runs = []
    for _ in range(2):
        oracle = _oracle(victim, Access.LOGITS)
        runs.append([oracle.query(_batch(2), torch.arange(2)).logits for _ in range(2)])
    assert not torch.equal(runs[0][0], runs[0][1])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize(
    ("access", "scores", "logits"),
    [(Access.LABELS, False, False), (Access.SCORES, True, False), (Access.LOGITS, True, True)],
)
def test_access_level_hides_the_rest(access: Access, scores: bool, logits: bool) -> None:
    answer = _oracle(Spy(), access).query(_batch(2), torch.arange(2))
    assert answer.labels.shape == (2,)
    assert (answer.scores is not None, answer.logits is not None) == (scores, logits)


def test_gradients_are_never_answered() -> None:
    with pytest.raises(BadParameter, match="access = gradients"):
        _oracle(Spy(), Access.GRADIENTS)


def test_no_gradient_flows_through_an_answer() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    x = _batch(2).requires_grad_(True)
    answer = _oracle(TorchClassifier(linear, (1, 2, 2), 3), Access.LOGITS).query(x, torch.arange(2))
    assert answer.logits is not None
    assert not answer.logits.requires_grad


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1e-6, 1 + 1e-6])
def test_bad_pixels_are_refused_without_charge(value: float) -> None:
    spy = Spy()
    oracle = _oracle(spy)
    x = _batch(2)
    x[1, 0, 1, 1] = value
    with pytest.raises(BadData, match=r"NaN or outside \[0, 1\]"):
        oracle.query(x, torch.arange(2))
    assert (oracle.spent, spy.rows, oracle.counts) == (0, 0, {})


@pytest.mark.parametrize(
    ("x", "ids"),
    [
        (_batch(2).double(), torch.arange(2)),
        (_batch(2)[0], torch.arange(1)),
        (_batch(2).view(2, 1, 1, 4), torch.arange(2)),
        (_batch(2), torch.arange(3)),
        (_batch(2), torch.arange(2)[:, None]),
        ((_batch(2) * 255).to(torch.uint8), torch.arange(2)),
    ],
)
def test_bad_shapes_and_types_are_refused_without_charge(x: Tensor, ids: Tensor) -> None:
    spy = Spy()
    oracle = _oracle(spy)
    with pytest.raises(BadData):
        oracle.query(x, ids)
    assert (oracle.spent, spy.rows) == (0, 0)


@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 600))
@settings(max_examples=25)
def test_the_count_agrees_with_the_model_to_the_row(calls: list[int], total: int) -> None:
    spy = Spy()
    oracle = _oracle(spy, total=total)
    expected = 0
    for n in calls:
        if expected + n > total:
            with pytest.raises(BudgetExceeded):
                oracle.query(_batch(n), torch.arange(n))
        else:
            answer = oracle.query(_batch(n), torch.arange(n))
            assert len(answer.labels) == n
            expected += n
        assert oracle.spent == spy.rows == expected == sum(oracle.counts.values())
        assert oracle.remaining == total - expected
