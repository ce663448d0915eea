"""The rules of a fixed vote on answers made by hand, and what an answer cost, through all that hands it on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from robustnoise.blocks import predict_blocks
from robustnoise.building import build, describe, spec_of
from robustnoise.compose import Defense
from robustnoise.errors import MissingCapability
from robustnoise.models.classifier import TorchClassifier
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Answer, Context
from robustnoise.seeds import SeedStream
from robustnoise.testing import check_plugin, toy_model
from robustnoise.threat import Access, Linf
from robustnoise_defenses import AdaptiveVote, GaussianInputNoise, Vote

SHAPE = (1, 2, 2)
NOISE = SeedStream(0, ("victim",))
MEANS = [Vote(3, rule="mean-probability"), Vote(3, rule="mean-logit")]


class Scripted:
    """Pass t gives the t-th answer."""

    num_classes, input_shape, stochastic, digest = 3, SHAPE, True, "scripted"

    def __init__(self, answers: Sequence[Answer], passes: int = 1) -> None:
        self.answers, self.passes, self.asked = answers, passes, 0

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.asked += 1
        return self.answers[self.asked - 1]


def _scripted(labels: list[list[int]], values: list[list[list[float]]], part: str) -> Scripted:
    return Scripted(
        [Answer(torch.tensor(row), **{part: torch.tensor(v)}) for row, v in zip(labels, values, strict=True)]
    )


def _ask(defense: Defense, inner: Scripted, n: int) -> Answer:
    return defense.apply(inner, Context()).predict(torch.zeros(n, *SHAPE), noise=NOISE)


# ---------------------------------------------------------------------------------------------------------- mean rules

PROBABILITIES = [
    [[0.4, 0.35, 0.25], [0.1, 0.1, 0.8]],
    [[0.4, 0.35, 0.25], [0.9, 0.1, 0.0]],
    [[0.1, 0.8, 0.1], [0.2, 0.6, 0.2]],
]


def test_the_mean_probability_may_overrule_the_majority() -> None:
    """Image 0: two lukewarm passes for class 0, one sure one for class 1."""
    labels = [[0, 2], [0, 0], [1, 1]]
    means = [[0.3, 0.5, 0.2], [0.4, 0.8 / 3, 1 / 3]]
    answer = _ask(Vote(3, rule="mean-probability"), _scripted(labels, PROBABILITIES, "scores"), 2)
    assert answer.labels.tolist() == [1, 0]
    assert answer.scores is not None
    assert answer.scores.dtype == torch.float32
    torch.testing.assert_close(answer.scores, torch.tensor(means))
    assert answer.logits is None
    assert _ask(Vote(3), _scripted(labels, PROBABILITIES, "scores"), 2).labels.tolist() == [0, 2]


def test_the_mean_logit_and_the_mean_probability_are_not_the_same() -> None:
    """Probabilities (.99, .01) once and (.3, .7) twice: the means favour class 0 by logit and, less so, otherwise."""
    logits = [[[8.0, 0.0, -9.0]], [[0.0, 3.0, -9.0]], [[0.0, 3.0, -9.0]]]
    labels = [[0], [1], [1]]
    answer = _ask(Vote(3, rule="mean-logit"), _scripted(labels, logits, "logits"), 1)
    mean = torch.tensor([[8 / 3, 2.0, -9.0]])
    assert answer.labels.tolist() == [0]
    assert answer.logits is not None
    assert answer.scores is not None
    torch.testing.assert_close(answer.logits, mean)
    torch.testing.assert_close(answer.scores, mean.softmax(1))
    shown = torch.tensor(logits).softmax(2).tolist()
    assert _ask(Vote(3, rule="mean-probability"), _scripted(labels, shown, "scores"), 1).labels.tolist() == [1]


@pytest.mark.parametrize(("rule", "part"), [("mean-probability", "scores"), ("mean-logit", "logits")])
def test_abstaining_passes_count_for_nothing_in_a_mean(rule, part: str) -> None:
    nan = [float("nan")] * 3
    values = [[[0.1, 0.2, 0.7], nan], [nan, nan], [[0.3, 0.6, 0.1], nan]]
    answer = _ask(Vote(3, rule=rule), _scripted([[2, -1], [-1, -1], [1, -1]], values, part), 2)
    assert answer.labels.tolist() == [1, -1]
    mean = getattr(answer, part)
    torch.testing.assert_close(mean, torch.tensor([[0.2, 0.4, 0.4], [0.0, 0.0, 0.0]]))
    assert answer.scores is not None
    assert answer.scores[1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("defense", "missing"), [(MEANS[0], "mean-probability.*scores"), (MEANS[1], "mean-logit.*logits")], ids=str
)
def test_a_mean_of_what_is_not_shown_is_refused(defense: Vote, missing: str) -> None:
    with pytest.raises(MissingCapability, match=missing):
        _ask(defense, Scripted([Answer(torch.tensor([0]))] * 3), 1)
    if defense.rule == "mean-logit":
        with pytest.raises(MissingCapability, match=missing):
            _ask(defense, _scripted([[0]] * 3, [[[0.1, 0.2, 0.7]]] * 3, "scores"), 1)


@pytest.mark.parametrize("defense", MEANS, ids=str)
def test_the_mean_of_equal_passes_is_the_pass(defense: Vote) -> None:
    model = toy_model()
    x = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    once, voted = model.predict(x, noise=NOISE), defense.apply(model, Context()).predict(x, noise=NOISE)
    assert torch.equal(once.labels, voted.labels)
    torch.testing.assert_close(once.scores, voted.scores)
    if defense.rule == "mean-logit":
        torch.testing.assert_close(once.logits, voted.logits)


@pytest.mark.parametrize("defense", [*MEANS, AdaptiveVote(8, error=0.01)], ids=str)
def test_contracts_of_the_rules(defense: Defense) -> None:
    check_plugin(defense)


def test_the_rule_is_part_of_the_identity_and_majority_is_the_default() -> None:
    assert len({spec_of(v).digest() for v in (Vote(3), *MEANS)}) == 3
    assert Vote(3) == Vote(3, rule="majority") == build("vote(3)", "defense")
    for defense in (Vote(3), *MEANS):
        assert build(describe(defense), "defense") == defense


# ------------------------------------------------------------------------------------------------------- what it costs


class Priced(TorchClassifier):
    """A net whose answers say what they cost: one pass for a dark image, `passes` for a bright one."""

    passes = 5

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        bright = x.flatten(1).mean(1) > 0.5
        return super().predict(x, noise=noise)._replace(passes=torch.where(bright, 5, 1))


def _priced() -> Priced:
    return Priced(toy_model().module, (1, 8, 8), 3)


def _images(n: int) -> Tensor:
    x = torch.full((n, 1, 8, 8), 0.1)
    x[::3] = 0.9
    return x


def test_the_passes_of_a_fixed_vote_add_up_where_they_are_counted() -> None:
    voting = Vote(4).apply(_priced(), Context())
    assert voting.passes == 20
    spent = voting.predict(_images(6), noise=NOISE).passes
    assert spent is not None
    assert spent.tolist() == [20, 4, 4, 20, 4, 4]
    assert Vote(4).apply(toy_model(), Context()).predict(_images(6), noise=NOISE).passes is None


@pytest.mark.parametrize("n", [1, 127, 128, 129, 300])
def test_passes_survive_wrappers_and_blocks(n: int) -> None:
    victim = GaussianInputNoise(0.01).apply(_priced(), Context())
    spent = predict_blocks(victim, _images(n), NOISE).passes
    assert spent is not None
    assert spent.dtype == torch.int64
    assert spent.tolist() == [5 if i % 3 == 0 else 1 for i in range(n)]


@pytest.mark.parametrize("access", [Access.LABELS, Access.SCORES, Access.LOGITS])
def test_an_attacker_never_sees_the_passes_and_pays_one_query(access: Access) -> None:
    victim = AdaptiveVote(9).apply(_priced(), Context())
    assert victim.predict(_images(4), noise=NOISE).passes is not None
    oracle = CountingOracle(victim, Linf(0.3, access), NOISE, total=4)
    assert oracle.query(_images(4), torch.arange(4)).passes is None
    assert oracle.spent == 4


def test_the_contracts_catch_a_wrong_bill() -> None:
    class Bills(GaussianInputNoise):
        def apply(self, model, ctx):
            return Overcharging(GaussianInputNoise(self.sigma).apply(model, ctx), self.sigma)

    class Overcharging:
        passes, stochastic, num_classes, input_shape = 1, True, 3, (1, 8, 8)

        def __init__(self, inner, sigma: float) -> None:
            self.inner, self.digest = inner, inner.digest

        def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
            return self.inner.predict(x, noise=noise)._replace(passes=torch.full((len(x),), 2))

    with pytest.raises(AssertionError, match="contract 'passes'"):
        check_plugin(Bills(0.1))
