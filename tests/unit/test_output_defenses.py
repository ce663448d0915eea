"""Noise on scores, rounding, and AAA: against known answers, torch's own Adam, and labels that must not move."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from torch import Tensor
from torch.nn import functional

from robustnoise.api import (
    Access,
    Answer,
    Context,
    Defense,
    MissingCapability,
    SeedStream,
    TorchClassifier,
    build,
    require_differentiable,
)
from robustnoise.testing import toy_model, toy_split
from robustnoise.testing.toys import SHAPE, CoinClassifier
from robustnoise_defenses import AAA, OutputNoise, Rounding
from robustnoise_defenses.outputs.aaa import mislead, target_margin
from robustnoise_defenses.outputs.temperature import best_temperature, tuned_temperature

NOISE = SeedStream(0, ("victim",))
X = torch.zeros(4, *SHAPE)


class Fixed:
    """The same answer to anything."""

    input_shape, stochastic, digest, passes = SHAPE, False, "fixed", 1

    def __init__(self, logits: Tensor, *, scores_only: bool = False, labels: Tensor | None = None) -> None:
        self.num_classes, self.logits_, self.scores_only = logits.shape[1], logits, scores_only
        self.labels = logits.argmax(1) if labels is None else labels

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return Answer(self.labels, self.logits_.softmax(1), None if self.scores_only else self.logits_)


def ask(defense: Defense, inner: Fixed, stream: int = 0) -> Answer:
    return defense.apply(inner, Context()).predict(X[: len(inner.logits_)], noise=NOISE.child(stream))


def logits_of(answer: Answer) -> Tensor:
    assert answer.logits is not None
    return answer.logits


def scores_of(answer: Answer) -> Tensor:
    assert answer.scores is not None
    return answer.scores


# -------------------------------------------------------------------------------------------------------- output noise


def test_two_classes_change_places_as_often_as_the_normal_distribution_says() -> None:
    """A lead of 1 falls to noise of sqrt(2) sigma with probability Phi(-1 / (sqrt(2) sigma))."""
    fixed = Fixed(torch.tensor([[1.0, 0.0]]).expand(128, 2))
    flips = sum(
        int((OutputNoise(0.7).apply(fixed, Context()).predict(X[:1], noise=NOISE.child(i)).labels == 1).sum())
        for i in range(20)
    )
    p = float(torch.special.ndtr(torch.tensor(-1 / (math.sqrt(2) * 0.7), dtype=torch.float64)))
    low, high = scipy_stats.binom(20 * 128, p).ppf([1e-4, 1 - 1e-4])
    assert low <= flips <= high


def test_the_noise_on_logits_is_standard_normal_times_sigma() -> None:
    logits = torch.randn(128, 10, generator=torch.Generator().manual_seed(0))
    noise = (logits_of(ask(OutputNoise(2.0), Fixed(logits))) - logits).flatten().numpy() / 2
    assert scipy_stats.kstest(noise, "norm").pvalue > 0.001
    assert np.array_equal(
        logits_of(ask(OutputNoise(2.0), Fixed(logits))), logits_of(ask(OutputNoise(2.0), Fixed(logits)))
    )
    assert not np.array_equal(noise, (logits_of(ask(OutputNoise(2.0), Fixed(logits), 1)) - logits).flatten() / 2)


def test_of_scores_alone_the_same_labels_and_scores_come_out_and_no_logits() -> None:
    logits = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
    whole, masked = ask(OutputNoise(1.0), Fixed(logits)), ask(OutputNoise(1.0), Fixed(logits, scores_only=True))
    assert torch.equal(whole.labels, masked.labels)
    torch.testing.assert_close(scores_of(whole), scores_of(masked))
    assert masked.logits is None


def test_below_leaves_sure_answers_alone() -> None:
    logits = torch.tensor([[4.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 3.0, 0.0]])
    answer = ask(OutputNoise(1.0, below=0.6), Fixed(logits))
    changed = (logits_of(answer) != logits).any(1)
    assert changed.tolist() == [False, True, False]


def test_an_abstention_stays_one() -> None:
    fixed = Fixed(torch.eye(3), labels=torch.tensor([-1, 1, -1]))
    for defense in (OutputNoise(5.0), Rounding(1), AAA()):
        assert (ask(defense, fixed).labels < 0).tolist() == [True, False, True]


@pytest.mark.parametrize("defense", [OutputNoise(1.0), Rounding(2), AAA()], ids=lambda d: type(d).__name__)
def test_labels_alone_are_refused_in_words(defense: Defense) -> None:
    with pytest.raises(MissingCapability, match="labels alone"):
        defense.shows(Access.LABELS)
    with pytest.raises(MissingCapability, match="labels alone"):
        defense.apply(CoinClassifier(0.5), Context()).predict(X, noise=NOISE)


# ------------------------------------------------------------------------------------------------------------ rounding


def test_scores_are_shown_in_that_many_decimals_and_logits_not_at_all() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.304, 0.3, 0.396], [0.335, 0.3351, 0.3299]]).log()
    answer = ask(Rounding(2), Fixed(logits))
    expected = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.34, 0.34, 0.33]])
    assert torch.equal(scores_of(answer), expected)
    assert answer.labels.tolist() == [0, 2, 1]  # the label is that of the exact scores
    assert answer.logits is None
    assert Rounding().shows(Access.GRADIENTS) is Access.SCORES


def test_rounding_is_that_of_decimal_numbers_and_fewer_digits_say_less() -> None:
    logits = torch.randn(256, 10, generator=torch.Generator().manual_seed(2))
    shown = [scores_of(ask(Rounding(d), Fixed(logits))) for d in range(5)]
    exact = logits.softmax(1)
    for digits, scores in enumerate(shown):
        np.testing.assert_allclose(scores.numpy(), np.round(exact.double().numpy(), digits), atol=1e-7)
        assert float((scores - exact).abs().max()) <= 0.5 * 10**-digits + 1e-6
    distinct = [len(torch.unique(scores)) for scores in shown]
    assert distinct == sorted(set(distinct))


def test_attacks_with_gradients_see_beneath_rounding_and_aaa() -> None:
    model, x = toy_model(), torch.from_numpy(toy_split(8).floats())
    for defense in (Rounding(1), AAA()):
        soft = require_differentiable(defense.apply(model, Context()), "a test")
        assert torch.equal(soft.logits(x, noise=NOISE), model.logits(x, noise=NOISE))
        assert torch.equal(soft.predict(x, noise=NOISE).labels, model.predict(x, noise=NOISE).labels)


# ----------------------------------------------------------------------------------------------------------------- AAA


def test_the_shown_margin_falls_inside_a_period_and_rises_from_one_to_the_next() -> None:
    margins = torch.tensor([0.5, 1.0, 2.0, 3.5, 4.5, 6.0])
    assert target_margin(margins, 4.0, 1.0).tolist() == [3.5, 3.0, 2.0, 0.5, 7.5, 6.0]
    assert target_margin(margins, 4.0, 0.0).tolist() == [2.0, 2.0, 2.0, 2.0, 6.0, 6.0]


def pair(margins: Tensor) -> Tensor:
    """Logits of four classes with those margins."""
    return torch.stack([margins, torch.zeros_like(margins), *[torch.full_like(margins, -3.0)] * 2], 1)


def margin(z: Tensor) -> Tensor:
    top = z.topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


def test_without_the_confidence_the_shown_margin_is_the_target() -> None:
    """100 steps of 0.1 reach any target within a period of 4, less the last step's size."""
    true = torch.linspace(0.3, 7.7, 38)
    shown = margin(mislead(pair(true), AAA(beta=0.0)))
    torch.testing.assert_close(shown, target_margin(true, 4.0, 1.0), atol=0.25, rtol=0)
    # An attacker who lowers the true margin sees a rising one, up to the period's end.
    inside = (true > 0.5) & (true < 3.5)
    assert bool((shown[inside].diff() < 0).all())


def test_with_the_confidence_alone_the_shown_one_is_calibrated() -> None:
    """tau so short that the margin has nothing to do, and a weight that leaves the confidence the last word."""
    true = torch.linspace(1, 4, 16)
    z = pair(true)
    shown = mislead(z, AAA(tau=1e-6, beta=1000.0, temperature=2.0, rate=0.02, steps=400)).softmax(1)[:, 0]
    torch.testing.assert_close(shown, (z / 2).softmax(1)[:, 0], atol=0.02, rtol=0)


def test_margin_and_confidence_come_out_together_where_some_logits_have_both() -> None:
    """A margin of m allows confidences from 1 / (1 + 9 e^-m), the others equal, to 1 / (1 + e^-m), all but one far."""
    z = torch.randn(400, 10, generator=torch.Generator().manual_seed(3)) * 3
    wanted, confidence = target_margin(margin(z), 4.0, 1.0), z.softmax(1).amax(1)
    possible = (confidence >= 1 / (1 + 9 * (-wanted).exp())) & (confidence <= 1 / (1 + (-wanted).exp()))
    assert int(possible.sum()) > 80
    shown = mislead(z, AAA())
    assert float((margin(shown) - wanted)[possible].abs().max()) < 0.15
    assert float((shown.softmax(1).amax(1) - confidence)[possible].abs().max()) < 0.02
    assert float((margin(z) - wanted)[possible].abs().median()) > 0.5


@pytest.mark.parametrize("settings", [{}, {"beta": 0.0}, {"temperature": 2.0}, {"alpha": 0.3, "tau": 6.0}])
def test_it_is_what_torchs_adam_makes_of_the_objective(settings: dict[str, float]) -> None:
    z = torch.randn(32, 10, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 3
    defense = AAA(steps=40, **settings)
    first = functional.one_hot(z.argmax(1), 10).bool()
    target = target_margin(margin(z), defense.tau, defense.alpha)
    confidence = (z / defense.temperature).softmax(1).amax(1)
    u = z.clone().requires_grad_(True)
    adam = torch.optim.Adam([u], lr=defense.rate)
    for _ in range(40):
        adam.zero_grad()
        lead = u[first] - u.masked_fill(first, -torch.inf).amax(1)
        objective = (lead - target).abs() + defense.beta * (u.softmax(1)[first] - confidence).abs()
        objective.sum().backward()
        adam.step()
    kept = u.argmax(1) == z.argmax(1)
    assert int(kept.sum()) > 24
    torch.testing.assert_close(mislead(z, defense)[kept], u.detach()[kept], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 5.0])
def test_labels_never_change_and_rows_follow_from_themselves_alone(alpha: float) -> None:
    z = torch.randn(200, 10, generator=torch.Generator().manual_seed(5)) * torch.linspace(0.1, 8, 200)[:, None]
    shown = mislead(z, AAA(alpha=alpha))
    assert torch.equal(shown.argmax(1), z.argmax(1))
    assert float((shown - z).abs().max()) > 1
    assert torch.equal(mislead(z[50:60], AAA(alpha=alpha)), shown[50:60])
    order = torch.randperm(10, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(mislead(z[:, order], AAA(alpha=alpha)), shown[:, order])


def test_a_greedy_search_by_scores_is_led_astray_and_one_by_labels_is_not() -> None:
    """A search along one line that keeps what lowers the shown margin: undefended it ends in a lower true one."""
    line = TorchClassifier(torch.nn.Sequential(torch.nn.Flatten(), _Line()), (1, 1, 1), 2)
    found = {}
    for name, victim in {"plain": line, "aaa": AAA(steps=60).apply(line, Context())}.items():
        at, best = 0.45, math.inf
        generator = torch.Generator().manual_seed(7)
        for _ in range(40):
            step = at + 0.02 * float(torch.randn(1, generator=generator))
            shown = float(margin(logits_of(victim.predict(torch.full((1, 1, 1, 1), step), noise=NOISE)))[0])
            if shown < best:
                at, best = step, shown
        found[name] = at
    assert found["plain"] < 0.25
    assert found["aaa"] > 0.4


class _Line(torch.nn.Module):
    """The margin is 8 x, in one period of 4 up to x = 1/2."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([8 * x, torch.zeros_like(x)], 1)


def test_the_temperature_is_the_one_that_labels_were_drawn_at() -> None:
    generator = torch.Generator().manual_seed(8)
    z = torch.randn(20_000, 5, generator=generator) * 3
    for temperature in (0.5, 1.0, 2.5):
        labels = torch.multinomial((z / temperature).softmax(1), 1, generator=generator)[:, 0]
        assert best_temperature(z, labels) == pytest.approx(temperature, rel=0.05)
        assert best_temperature(4 * z, labels) == pytest.approx(4 * best_temperature(z, labels), rel=1e-3)
    sure = tuned_temperature(Fixed(torch.eye(3).repeat(43, 1)[:128] * 5), toy_split(128))
    assert sure < 0.2  # the toy's labels go round, so all of these are right


def test_stacks_that_hide_what_comes_after_say_so() -> None:
    with pytest.raises(MissingCapability, match="layer"):
        build("rounding | layer-noise(20)", "defense").apply(toy_model(), Context())
    victim = build("gaussian-input-noise(0.1) | vote(4) | aaa | rounding(1)", "defense").apply(toy_model(), Context())
    scores = scores_of(victim.predict(X, noise=NOISE))
    assert torch.equal(scores, (scores * 10).round() / 10)
