"""Smoothed answers: the binomial test against scipy's, a half-space whose probabilities are known, and abstentions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from torch import Tensor

import robustnoise as rn
from robustnoise.api import Access, Answer, BadParameter, Context, SeedStream, build, require_differentiable
from robustnoise.flags import raised
from robustnoise.protocols import Smoothed
from robustnoise.report.contents import Contents
from robustnoise.report.markdown import reading
from robustnoise.report.tables import row_tables
from robustnoise.report.views import flat, row_view
from robustnoise.testing import linear_toy, toy_dataset, toy_model, toy_split
from robustnoise.testing.toys import SHAPE
from robustnoise_defenses import Smoothing
from robustnoise_defenses.smoothing import clearly_first

NOISE = SeedStream(0, ("victim",))
PROTOCOL = {"threat": {"access": "labels"}}


def at_margins(margins: Tensor) -> Tensor:
    """Images of `linear_toy` at signed distances from its boundary, positive on the side of class 0."""
    weight = linear_toy().module.get_parameter("1.weight").detach()[0].view(1, *SHAPE)
    return 0.5 + margins.view(-1, 1, 1, 1) * weight


def test_the_test_is_scipys_exact_binomial_test() -> None:
    pairs = [(a, b) for a in range(25) for b in range(a + 1)] + [(60, 40), (70, 30), (99, 1), (100, 0)]
    counts = torch.tensor([[0, b, 0, a] for a, b in pairs])
    for alpha in (0.5, 0.05, 0.001):
        expected = [a > 0 and scipy_stats.binomtest(a, a + b).pvalue <= alpha for a, b in pairs]
        assert clearly_first(counts, alpha).tolist() == expected


def test_a_third_class_takes_no_part() -> None:
    assert clearly_first(torch.tensor([[40, 10, 9], [40, 10, 10]]), 0.01).tolist() == [True, True]
    assert clearly_first(torch.tensor([[26, 24, 24], [26, 24, 0]]), 0.01).tolist() == [False, False]


def test_answers_of_a_half_space_follow_the_normal_distribution() -> None:
    """P(class 0) is Phi(margin / sigma), whatever the dimension."""
    sigma, margins = 0.5, torch.linspace(-1, 1, 128)
    passes = 400
    smooth = Smoothing(sigma, passes=passes).apply(linear_toy(), Context())
    answer = smooth.predict(at_margins(margins), noise=NOISE)
    assert answer.scores is not None
    expected = torch.special.ndtr(margins.double() / sigma)
    z = (answer.scores[:, 0] - expected) / (expected * (1 - expected) / passes).sqrt()
    assert float(z.abs().max()) < 4.5
    assert float((z**2).mean()) == pytest.approx(1, abs=0.5)
    far = margins.abs() > sigma
    assert torch.equal(answer.labels[far], (margins[far] < 0).long())
    assert bool((answer.labels[margins.abs() < 0.02] == -1).all())


def test_a_boundary_image_is_answered_as_seldom_as_alpha_says() -> None:
    """On the boundary both classes are equally likely, so an answer is a mistake of the test."""
    alpha = 0.05
    smooth = Smoothing(0.5, passes=50, alpha=alpha).apply(linear_toy(), Context())
    x = at_margins(torch.zeros(128))
    answered = sum(int((smooth.predict(x, noise=NOISE.child(r)).labels >= 0).sum()) for r in range(4))
    exact = sum(math.comb(50, k) for k in range(51) if scipy_stats.binomtest(k, 50).pvalue <= alpha) / 2**50
    assert exact <= alpha
    low, high = scipy_stats.binom(512, exact).ppf([1e-4, 1 - 1e-4])
    assert low <= answered <= high


def test_where_it_answers_it_answers_as_the_vote_over_the_same_noise() -> None:
    model, x = linear_toy(), at_margins(torch.linspace(-1, 1, 64))
    smooth = Smoothing(1.0, passes=40, alpha=0.05).apply(model, Context())
    vote = build("gaussian-input-noise(1.0) | vote(40)", "defense").apply(model, Context())
    mine, theirs = smooth.predict(x, noise=NOISE), vote.predict(x, noise=NOISE)
    assert torch.equal(mine.scores, theirs.scores)  # type: ignore[arg-type]
    answered = mine.labels >= 0
    assert 0 < int(answered.sum()) < len(x)
    assert torch.equal(mine.labels[answered], theirs.labels[answered])


def test_a_larger_alpha_only_adds_answers() -> None:
    model, x = linear_toy(), at_margins(torch.linspace(-0.5, 0.5, 64))
    answers = [
        Smoothing(0.5, passes=60, alpha=alpha).apply(model, Context()).predict(x, noise=NOISE).labels
        for alpha in (0.001, 0.05, 0.5)
    ]
    for strict, loose in pairwise(answers):
        assert torch.equal(strict[strict >= 0], loose[strict >= 0])
        assert int((loose >= 0).sum()) > int((strict >= 0).sum())


def test_too_few_passes_to_ever_answer_are_refused() -> None:
    assert scipy_stats.binomtest(11, 11).pvalue <= 0.001 < scipy_stats.binomtest(10, 10).pvalue
    assert Smoothing(0.25, passes=11).passes == 11
    with pytest.raises(BadParameter, match="passes = 10.*at least 11"):
        Smoothing(0.25, passes=10)


class Silent:
    """Abstains always, at a price of two passes of at most three."""

    num_classes, input_shape, stochastic, digest, passes = 3, SHAPE, False, "silent", 3

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return Answer(torch.full((len(x),), -1), passes=torch.full((len(x),), 2))


def test_abstaining_passes_are_spent_and_do_not_vote() -> None:
    smooth = Smoothing(0.25, passes=20).apply(Silent(), Context())
    answer = smooth.predict(torch.zeros(5, *SHAPE), noise=NOISE)
    assert answer.labels.tolist() == [-1] * 5
    assert answer.passes is not None
    assert answer.passes.tolist() == [40] * 5
    assert smooth.passes == 60
    assert answer.scores is not None
    assert not answer.scores.any()


def test_it_shows_scores_and_says_what_can_be_certified() -> None:
    model = toy_model()
    smooth = Smoothing(0.5, passes=20).apply(model, Context())
    assert Smoothing().shows(Access.LABELS) is Access.SCORES
    assert isinstance(smooth, Smoothed)
    assert (smooth.base, smooth.sigma) == (model, 0.5)


def test_the_stand_in_climbs_the_mean_probability_of_the_first_passes() -> None:
    model, x = toy_model(), torch.from_numpy(toy_split(8).floats())
    smooth = Smoothing(0.5, passes=100).apply(model, Context())
    noisy = build("gaussian-input-noise(0.5)", "defense").apply(model, Context())
    passes = [noisy.logits(x, noise=NOISE.child("pass", t)).softmax(1) for t in range(16)]  # type: ignore[attr-defined]
    soft = require_differentiable(smooth, "a test").logits(x, noise=NOISE)
    torch.testing.assert_close(soft.softmax(1), torch.stack(passes).mean(0))


def test_abstentions_count_as_wrong_and_are_shown_apart() -> None:
    data = toy_dataset(64)
    victim = Smoothing(3.0, passes=20).apply(toy_model(), Context())
    record = rn.evaluate(victim, build("random-noise", "attack"), data=data, threat=rn.Linf(0.1), draws=4, threads=1)
    tally = record.victim.clean
    assert 0 < int(tally.abstained.sum()) < 4 * 64
    assert bool((tally.right.astype(int) + tally.abstained <= 4).all())
    view = row_view(record, ranked=True, flags=tuple(raised(record, [record])))
    share = float(tally.abstained.mean()) / 4
    assert view.clean.abstained == share
    assert flat(view)["clean_abstained"] == share
    assert view.robust is not None
    (table,) = row_tables([view])
    assert table.lines[0][table.head.index("abstained")] == f"{100 * view.robust.abstained:.1f}"
    assert any("abstention counts as wrong" in part for part in reading(PROTOCOL, Contents([view])))


def test_a_table_without_abstentions_has_no_column_for_them() -> None:
    record = rn.evaluate(
        toy_model(), build("null", "attack"), data=toy_dataset(20), threat=rn.Linf(0.1), draws=1, threads=1
    )
    (table,) = row_tables([row_view(record, ranked=True)])
    assert "abstained" not in table.head
    assert not any("bstain" in part for part in reading(PROTOCOL, Contents([row_view(record, ranked=True)])))
    assert np.all(record.victim.clean.abstained == 0)
