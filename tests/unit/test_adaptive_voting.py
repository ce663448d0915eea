"""The vote that stops early: its evidence and bound against plain arithmetic, its answers against the fixed vote's."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from robustnoise.errors import BadParameter
from robustnoise.protocols import Answer, Classifier, Context
from robustnoise.seeds import SeedStream
from robustnoise_defenses import AdaptiveVote, Vote
from robustnoise_defenses.adaptive_voting import log_evidence

NOISE = SeedStream(0, ("victim",))
NO_EVIDENCE = 1e-12
"""At this error 40 unanimous passes are no evidence yet, and curtailment ends 64 passes after 32."""


class Dice:
    """Image i shows class k with probability p[i, k], whatever it looks like; what is left of 1 is abstention."""

    input_shape, stochastic, digest = (1, 1, 1), True, "dice"

    def __init__(self, p: Tensor, passes: int = 1) -> None:
        self.edges, self.num_classes, self.passes, self.asked = p.cumsum(1), p.shape[1], passes, 0

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.asked += 1
        draws = torch.rand(len(self.edges), 1, generator=noise.generator("dice"))
        labels = (draws > self.edges).sum(1)
        return Answer(torch.where(labels < self.num_classes, labels, -1)[: len(x)])


class Table(Dice):
    """Pass t answers row t."""

    def __init__(self, rows: list[list[int]], num_classes: int = 3, passes: int = 1) -> None:
        super().__init__(torch.zeros(len(rows[0]), num_classes), passes)
        self.rows = torch.tensor(rows)

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.asked += 1
        return Answer(self.rows[self.asked - 1])


class Priced(Table):
    """Image i costs i + 1 passes, of at most the stated ones."""

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return super().predict(x, noise=noise)._replace(passes=torch.arange(1, len(x) + 1))


def _ask(defense: AdaptiveVote | Vote, inner: Classifier, n: int, noise: SeedStream = NOISE) -> Answer:
    return defense.apply(inner, Context()).predict(torch.zeros(n, 1, 1, 1), noise=noise)


def _spent(answer: Answer) -> Tensor:
    assert answer.passes is not None
    assert answer.passes.dtype == torch.int64
    return answer.passes


def _mixed(n: int, num_classes: int = 5, seed: int = 0) -> Tensor:
    """Clear, hard, tied and partly abstaining images."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(num_classes, 0.3), n)
    p[::4] *= rng.uniform(0, 1, (len(p[::4]), 1))
    p[1::4] = 1 / num_classes
    return torch.from_numpy(p)


# ----------------------------------------------------------------------------------------------- evidence, by fractions


@cache
def _mass(a: int, b: int) -> Fraction:
    """2^(a+b) times the integral of q^a (1-q)^b over (1/2, 1), from P(a binomial of a + b + 1 fair coins is <= a)."""
    n = a + b
    below = sum(math.comb(n + 1, i) for i in range(a + 1))
    return Fraction(below, 2 * (n + 1) * math.comb(n, a))


@cache
def _evidence(a: int, b: int) -> Fraction:
    return _mass(a + 14, b) / _mass(14, 0)


def test_evidence_is_that_of_exact_fractions() -> None:
    for a in range(64):
        for b in range(min(64 - a, a + 2)):
            expected = _evidence(a, b)
            found = math.exp(log_evidence(np.array([a]), np.array([b]))[0])
            assert found == pytest.approx(float(expected), rel=1e-10)


def test_evidence_is_the_integral() -> None:
    """The closed form of the reference, against a sum over q."""
    q = 0.5 + (np.arange(200_000) + 0.5) / 400_000
    weight = q**14 / (q**14).sum()
    for a, b in [(0, 0), (3, 0), (9, 2), (20, 17)]:
        integral = ((2 * q) ** a * (2 - 2 * q) ** b * weight).sum()
        assert integral == pytest.approx(float(_evidence(a, b)), rel=1e-8)


def test_evidence_is_a_martingale_of_the_fair_coin_and_falls_with_the_other_side() -> None:
    for a in range(30):
        for b in range(30):
            assert _evidence(a + 1, b) + _evidence(a, b + 1) == 2 * _evidence(a, b)
            assert _evidence(a, b + 1) < _evidence(a, b) < _evidence(a + 1, b)
    assert _evidence(0, 0) == 1


def _plain_stop(votes: list[int], num_classes: int, error: float) -> int | None:
    """Passes after which the test accepts the leader, in plain Python; None if it doesn't."""
    for t in range(1, len(votes) + 1):
        cast = [v for v in votes[:t] if v >= 0]
        if not cast:
            continue
        leader = max(sorted(set(cast), key=cast.index), key=cast.count)
        later = cast[1:]
        level = 0.9 * error if leader == cast[0] else 0.1 * error / (num_classes - 1)
        rivals = [k for k in range(num_classes) if k != leader]
        if all(_evidence(later.count(leader), later.count(k)) >= 1 / level for k in rivals):
            return t
    return None


@pytest.mark.parametrize("error", [0.5, 0.1, 0.01])
def test_stopping_times_are_those_of_a_plain_computation(error: float) -> None:
    """Of 90 passes the first 40 are looked at, which leave nothing to curtailment."""
    n, horizon = 60, 40
    inner = Dice(_mixed(n))
    blank = torch.zeros(n, 1, 1, 1)
    votes = torch.stack([inner.predict(blank, noise=NOISE.child("pass", t)).labels for t in range(horizon)])
    spent = _spent(_ask(AdaptiveVote(90, error=error), inner, n)).tolist()
    stops = [_plain_stop(votes[:, i].tolist(), 5, error) for i in range(n)]
    assert [s if s <= horizon else None for s in spent] == stops
    assert len({s for s in stops if s}) > 5
    assert None in stops


@pytest.mark.parametrize(("error", "passes"), [(0.1, 5), (0.05, 6), (0.01, 9), (0.001, 12)])
def test_unanimous_passes_settle_when_the_docs_say(error: float, passes: int) -> None:
    assert _spent(_ask(AdaptiveVote(error=error), Table([[4]] * 64, 10), 1)).tolist() == [passes]


# --------------------------------------------------------------------------------------------------------- error bound


def _exact_error(p: float, error: float, horizon: int) -> float:
    """P(class 1 of two, of probability p, is accepted within so many passes), by following every pair of counts."""
    wrong = 0.0
    for first, chance in ((0, 1 - p), (1, p)):
        level = [0.1 * error, 0.1 * error]
        level[first] = 0.9 * error
        alive = {(0, 0): chance}
        for _ in range(horizon - 1):
            following: dict[tuple[int, int], float] = {}
            for (zeros, ones), mass in alive.items():
                following[zeros + 1, ones] = following.get((zeros + 1, ones), 0.0) + mass * (1 - p)
                following[zeros, ones + 1] = following.get((zeros, ones + 1), 0.0) + mass * p
            wrong += sum(mass for (zeros, ones), mass in following.items() if _evidence(ones, zeros) >= 1 / level[1])
            alive = {
                (zeros, ones): mass
                for (zeros, ones), mass in following.items()
                if _evidence(ones, zeros) < 1 / level[1] and _evidence(zeros, ones) < 1 / level[0]
            }
    return wrong


@pytest.mark.parametrize("error", [0.5, 0.1])
def test_wrong_labels_of_a_near_tie_are_as_many_as_they_must_be_and_below_the_bound(error: float) -> None:
    """Two classes at 0.51 and 0.49, nearly the worst case. Of 64 passes the first 32 leave nothing to curtailment."""
    n = 8000
    answer = _ask(AdaptiveVote(error=error), Dice(torch.tensor([[0.51, 0.49]]).expand(n, 2)), n)
    rate = ((answer.labels == 1) & (_spent(answer) <= 32)).double().mean().item()
    exact = _exact_error(0.49, error, 32)
    assert rate == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / n))
    assert 0.2 * error < exact < 0.55 * error
    assert rate < 0.55 * error


@pytest.mark.parametrize(
    "p", [[0.25] * 4, [0.26, 0.25, 0.25, 0.24], [0.4, 0.3, 0.3, 0.0], [0.34, 0.33, 0.33, 0.0], [0.1, 0.09, 0.0, 0.0]]
)
def test_the_bound_holds_with_more_classes_and_abstention(p: list[float]) -> None:
    n, error = 2000, 0.2
    answer = _ask(AdaptiveVote(error=error), Dice(torch.tensor([p], dtype=torch.float64).expand(n, 4)), n)
    modes = torch.tensor(p) == max(p)
    wrong = ~modes[answer.labels] & (_spent(answer) < 32) & (answer.labels >= 0)
    assert wrong.double().mean().item() < error * (0.9 * (1 - max(p) / sum(p)) + 0.1)


# ----------------------------------------------------------------------------------------------- against the fixed vote


@pytest.mark.parametrize("limit", [2, 3, 8, 15, 64])
def test_without_evidence_the_labels_are_those_of_the_fixed_vote(limit: int) -> None:
    """Curtailment is exact, ties and abstentions included, and saves passes."""
    p = _mixed(128)
    saved = 0
    for stream in range(4):
        noise = NOISE.child(stream)
        adaptive = _ask(AdaptiveVote(limit, error=NO_EVIDENCE), Dice(p), 128, noise)
        assert torch.equal(adaptive.labels, _ask(Vote(limit), Dice(p), 128, noise).labels)
        saved += int((limit - _spent(adaptive)).sum())
    assert saved > 0


def test_no_pass_is_spent_on_a_vote_that_is_decided() -> None:
    """Each image stops at the first pass after which no continuation changes the label: all continuations are tried."""
    limit, rng = 6, np.random.default_rng(1)
    rows = rng.integers(-1, 3, (limit, 40))
    spent = _spent(_ask(AdaptiveVote(limit, error=NO_EVIDENCE), Table(rows.tolist()), 40)).tolist()

    def label(votes: list[int]) -> int:
        cast = [v for v in votes if v >= 0]
        return max(sorted(set(cast), key=cast.index), key=cast.count) if cast else -1

    def settled(votes: list[int]) -> bool:
        ends: set[int] = set()
        stack = [votes]
        while stack:
            votes = stack.pop()
            if len(votes) == limit:
                ends.add(label(votes))
            else:
                stack += [[*votes, v] for v in (-1, 0, 1, 2)]
        return len(ends) == 1

    for i, found in enumerate(spent):
        votes = rows[:, i].tolist()
        assert found == next(t for t in range(1, limit + 1) if settled(votes[:t]))
    assert len(set(spent)) > 2


def test_more_error_never_takes_more_passes() -> None:
    p = _mixed(128)
    bills = [_spent(_ask(AdaptiveVote(error=error), Dice(p), 128)) for error in (0.5, 0.2, 0.1, 0.01, 1e-3, 1e-6)]
    for less, more in pairwise(bills):
        assert bool((less <= more).all())
        assert int(less.sum()) < int(more.sum())


def test_a_permutation_of_the_classes_permutes_the_answers() -> None:
    inner, order = Dice(_mixed(128)), torch.tensor([3, 0, 4, 1, 2])

    class Renamed(Dice):
        def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
            labels = inner.predict(x, noise=noise).labels
            return Answer(torch.where(labels < 0, -1, order[labels.clamp_min(0)]))

    plain, renamed = (_ask(AdaptiveVote(), c, 128) for c in (inner, Renamed(torch.zeros(1, 5))))
    assert torch.equal(torch.where(plain.labels < 0, -1, order[plain.labels.clamp_min(0)]), renamed.labels)
    assert torch.equal(_spent(plain), _spent(renamed))


def test_a_neighbour_that_takes_longer_changes_nothing() -> None:
    hard = torch.cat([_mixed(64), torch.full((64, 5), 0.2, dtype=torch.float64)])
    easy = torch.cat([_mixed(64), torch.eye(5, dtype=torch.float64)[torch.zeros(64, dtype=torch.int64)]])
    a, b = (_ask(AdaptiveVote(), Dice(p), 128) for p in (hard, easy))
    for mine, theirs in zip(a[:2], b[:2], strict=True):
        assert torch.equal(mine[:64], theirs[:64])  # type: ignore[index]
    assert torch.equal(_spent(a)[:64], _spent(b)[:64])


def test_on_a_population_of_noisy_digits_it_does_as_64_votes_at_a_fifth() -> None:
    """97 % of the images right in 92 % of passes, the others in 30 to 80 %: what a net trained for 0 dB looks like."""
    n, rng = 4000, np.random.default_rng(0)
    top = np.where(rng.random(n) < 0.03, rng.uniform(0.3, 0.8, n), 0.92)
    rest = rng.dirichlet(np.full(9, 0.3), n) * (1 - top)[:, None]
    p = torch.from_numpy(np.concatenate([top[:, None], rest], 1))
    adaptive = _ask(AdaptiveVote(), Dice(p), n)
    mean = _spent(adaptive).double().mean().item()

    def accuracy(answer: Answer) -> float:
        return (answer.labels == 0).double().mean().item()

    assert mean < 64 / 5
    assert abs(accuracy(adaptive) - accuracy(_ask(Vote(64), Dice(p), n))) <= 0.001
    assert accuracy(adaptive) > accuracy(_ask(Vote(math.ceil(mean)), Dice(p), n))


# ------------------------------------------------------------------------------------------------------- what it costs


def test_an_image_is_frozen_when_it_settles() -> None:
    """Image 0 is settled after 5 of 0; what the passes say while image 1 goes on no longer counts."""
    rows = [[0, v] for v in (0, 1, 2, 0, 1)] + [[1, v] for v in (2, 0, 1, 2)]
    inner = Table(rows, 3)
    answer = _ask(AdaptiveVote(9), inner, 2)
    assert answer.labels.tolist() == [0, 0]
    assert answer.scores is not None
    assert answer.scores[0].tolist() == [1.0, 0.0, 0.0]
    assert _spent(answer).tolist() == [5, 9]
    assert inner.asked == 9


def test_abstaining_passes_are_spent_and_do_not_vote() -> None:
    rows = [[-1, -1], [2, -1], [-1, -1], [2, -1], [2, -1], [2, -1], [2, -1], [0, -1]]
    answer = _ask(AdaptiveVote(8), Table(rows), 2)
    assert answer.labels.tolist() == [2, -1]
    assert answer.scores is not None
    assert answer.scores.tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    assert _spent(answer).tolist() == [5, 8]  # 3 votes of 2 against 3 passes left: a tie would go to 2


def test_the_batch_stops_with_its_last_image() -> None:
    inner = Table([[1, 1]] * 64)
    _ask(AdaptiveVote(), inner, 2)
    assert inner.asked == 5


@pytest.mark.parametrize(("inner", "spent"), [(Table, [15, 15, 27]), (Priced, [5, 10, 27])])
def test_passes_are_those_of_the_inner_answers(inner: type[Table], spent: list[int]) -> None:
    """Two images settle after 5 passes, one after 9; an inner pass costs 3, or i + 1."""
    rows = [[1, 1, v] for v in (0, 1, 2, 0, 1, 2, 0, 1, 2)]
    victim = AdaptiveVote(9).apply(inner(rows, passes=3), Context())
    assert victim.passes == 27
    assert _spent(victim.predict(torch.zeros(3, 1, 1, 1), noise=NOISE)).tolist() == spent


def test_votes_nest_and_count_right() -> None:
    """Around a vote of 3 each pass costs 3; inside one, three answers of 5 passes add up."""
    outer = AdaptiveVote().apply(Vote(3).apply(Table([[1]] * 15), Context()), Context())
    assert (outer.passes, _spent(outer.predict(torch.zeros(1, 1, 1, 1), noise=NOISE)).tolist()) == (192, [15])
    inside = Vote(3).apply(AdaptiveVote().apply(Table([[1]] * 15), Context()), Context())
    assert (inside.passes, _spent(inside.predict(torch.zeros(1, 1, 1, 1), noise=NOISE)).tolist()) == (192, [15])
    twice = AdaptiveVote(8).apply(AdaptiveVote(8).apply(Table([[1]] * 16), Context()), Context())
    # Of 8 passes 4 decide: the fifth agreement that evidence asks for isn't waited for.
    assert (twice.passes, _spent(twice.predict(torch.zeros(1, 1, 1, 1), noise=NOISE)).tolist()) == (64, [16])


def test_one_pass_is_no_vote() -> None:
    inner = Table([[1]])
    assert AdaptiveVote(1).apply(inner, Context()) is inner


@pytest.mark.parametrize("error", [0.0, -0.1, 0.6, math.nan])
def test_errors_out_of_range_are_refused(error: float) -> None:
    with pytest.raises(BadParameter, match="error"):
        AdaptiveVote(error=error)
