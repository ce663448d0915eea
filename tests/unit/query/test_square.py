"""Square's schedule, starts and changes against the paper written out one image at a time, and against ART."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from robustnoise.models import create
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Targets
from robustnoise.seeds import SeedStream
from robustnoise.testing.toys import linear_toy
from robustnoise.threat import L2, Linf
from robustnoise.training import Schedule, fit
from robustnoise_attacks import Square
from robustnoise_attacks.query.asking import Asker
from robustnoise_attacks.query.own_numbers import OwnNumbers
from robustnoise_attacks.query.square import LONG, LONG_IN_NOISE
from robustnoise_attacks.query.square_moves import Bumps, Corners, bumps
from tests.unit.query.victims import SEEDS, NoisyInput, attack, right_targets


def _targets(n: int, shape: tuple[int, int, int]) -> Targets:
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))
    return Targets(torch.arange(n), x, torch.zeros(n, dtype=torch.int64))


def _share(i: int, p: float) -> float:
    """The schedule of the paper, section 4.1 and its code, for 10,000 iterations."""
    for last, halvings in ((10, 0), (50, 1), (200, 2), (500, 3), (1000, 4), (2000, 5), (4000, 6), (6000, 7), (8000, 8)):
        if i <= last:
            return p / 2**halvings
    return p / 2**9


class Unrounded:
    """Stands for the books where nothing is to be rounded."""

    def inside(self, x: Tensor, rows: Tensor) -> Tensor:
        return x


UNROUNDED = cast("Asker", Unrounded())


def test_the_schedule_is_the_papers() -> None:
    spent = torch.arange(10_001)
    for noisy in (False, True):
        found = Square(p_init=0.3).share(spent.double() / 10_000, spent, noisy=noisy)
        assert found.tolist() == pytest.approx([_share(i, 0.3) for i in spent.tolist()])


@pytest.mark.parametrize(("noisy", "long"), [(False, LONG), (True, LONG_IN_NOISE)])
def test_few_candidates_get_as_far_as_in_a_long_search(noisy: bool, long: int) -> None:
    """However soon the budget is gone: it was small, or each candidate of a noisy victim was asked about many times."""
    turn = torch.tensor([0, long // 500, long // 50, long // 10, long])
    found = Square().share(torch.ones(5, dtype=torch.float64), turn, noisy=noisy)
    assert found.tolist() == pytest.approx([_share(i, 0.8) for i in (turn * 10_000 // long).tolist()])


@pytest.mark.parametrize("noisy", [False, True])
def test_a_search_keeps_to_that_schedule(noisy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    step = Corners.next

    def watched(self: Corners, rows: Tensor, best: Tensor, turn: Tensor, share: Tensor) -> Tensor:
        seen.append((turn.clone(), share))
        return step(self, rows, best, turn, share)

    monkeypatch.setattr(Corners, "next", watched)
    victim = NoisyInput(linear_toy(), 0.01) if noisy else linear_toy()
    attack(Square(queries=60), victim, right_targets(margin=0.05), Linf(0.001), per_image=60)
    turn, share = (torch.cat(column) for column in zip(*seen, strict=True))
    spent = torch.ones(len(turn), dtype=torch.float64)
    assert turn.max() > 1
    assert torch.equal(share, Square().share(spent, turn, noisy=noisy))


def test_linf_starts_from_stripes_at_the_ends_of_the_interval() -> None:
    targets = _targets(40, (3, 5, 6))
    first = Corners(UNROUNDED, targets, Linf(0.1), SEEDS).first(torch.arange(40))
    up = first == (targets.x + 0.1).clamp(max=1)
    assert (up | (first == (targets.x - 0.1).clamp(min=0))).all()
    assert (up == up[:, :, :1]).all()
    assert 0.4 < up.float().mean() < 0.6


@pytest.mark.parametrize("side", [1, 2, 4])
def test_linf_changes_one_square_to_one_corner_per_channel(side: int) -> None:
    targets = _targets(300, (3, 5, 6))
    moves = Corners(UNROUNDED, targets, Linf(0.1), SEEDS)
    rows = torch.arange(300)
    best = moves.first(rows)
    found = moves.next(rows, best.clone(), torch.full((300,), 4), torch.full((300,), side**2 / 30))
    places = set()
    for before, after, high, low in zip(
        best, found, (targets.x + 0.1).clamp(max=1), (targets.x - 0.1).clamp(min=0), strict=True
    ):
        changed = (before != after).any(0).nonzero()
        assert len(changed)  # never a query for nothing
        assert int((changed.amax(0) - changed.amin(0)).max()) < side
        for channel in range(3):
            moved = before[channel] != after[channel]
            ends = {bool(v) for v in (after[channel] == high[channel])[moved]}
            assert len(ends) <= 1
            assert (after[channel] == torch.where(torch.tensor(True in ends), high[channel], low[channel]))[moved].all()
        if side == 1:
            places.add(tuple(changed[0].tolist()))
    assert side > 1 or len(places) == 30  # every pixel is reached, the last row and column too


def _bump(height: int, width: int) -> np.ndarray:  # type: ignore[type-arg]
    """Algorithm 3 of the paper's code: add rectangles that grow around the middle."""
    out = np.zeros((height, width))
    top, left = height // 2, width // 2
    for k in range(max(height // 2 + 1, width // 2 + 1)):
        out[max(top, 0) : top + 2 * k + 1, max(left, 0) : left + 2 * k + 1] += 1 / (k + 1) ** 2
        top, left = top - 1, left - 1
    return out / np.sqrt((out**2).sum())


@pytest.mark.parametrize("side", [3, 5, 8])
def test_l2_bumps(side: int) -> None:
    pair = np.concatenate([_bump(side // 2, side), -_bump(side - side // 2, side)])
    assert np.allclose(bumps(side).numpy(), pair / np.sqrt((pair**2).sum()), atol=1e-6)


def test_l2_changes_are_algorithm_3_one_image_at_a_time() -> None:
    shape, eps, side = (3, 8, 9), 0.5, 3
    targets = Targets(torch.arange(20), torch.full((20, *shape), 0.5), torch.zeros(20, dtype=torch.int64))
    moves = Bumps(UNROUNDED, targets, L2(eps), SEEDS)
    rows = torch.arange(20)
    best = 0.5 + (moves.first(rows) - 0.5) * 0.9  # some norm is left to give
    found = moves.next(rows, best.clone(), torch.full((20,), 2), torch.full((20,), side**2 / 72))
    numbers = OwnNumbers(SEEDS.child("squares"), targets.ids).uniform(rows, 2, 8).numpy()
    for i, u in enumerate(numbers):
        delta = (best[i] - 0.5).double().numpy()
        (r, s), (r2, s2) = ((int(u[k] * 6), int(u[k + 1] * 7)) for k in (0, 2))
        one, two = (slice(r, r + side), slice(s, s + side)), (slice(r2, r2 + side), slice(s2, s2 + side))
        union = np.zeros(shape[1:], bool)
        union[one] = union[two] = True
        budget = (eps**2 - (delta**2).sum()) / 3 + (delta**2 * union).sum((1, 2))
        pair = bumps(side).double().numpy() if u[4] < 0.5 else bumps(side).double().numpy().T
        new = np.zeros((3, side, side))
        for c in range(3):
            old = delta[c][one]
            direction = pair * (-1 if u[5 + c] < 0.5 else 1) + old / max(1e-12, math.sqrt((old**2).sum()))
            new[c] = direction / math.sqrt((direction**2).sum()) * math.sqrt(budget[c])
        delta[:, two[0], two[1]] = 0
        delta[:, one[0], one[1]] = new
        assert math.sqrt((delta**2).sum()) == pytest.approx(eps, rel=1e-5)
        assert np.allclose(found[i].numpy(), 0.5 + delta, atol=1e-5)


@pytest.fixture(scope="module")
def trained() -> tuple[TorchClassifier, Targets]:
    x = torch.rand(600, 1, 8, 8, generator=torch.Generator().manual_seed(7))
    y = (x[:, 0, :4].sum((1, 2)) > x[:, 0, 4:].sum((1, 2))).long() + (x[:, 0, :, :4].mean((1, 2)) > 0.5).long()
    model = fit(create("mlp(hidden=16)", (1, 8, 8), 3), x, y, Schedule(15, 0.02, 50), SeedStream(3))
    return model, Targets(torch.arange(250), x[:250], y[:250])


@pytest.mark.adapter
def test_at_least_as_strong_as_art(trained: tuple[TorchClassifier, Targets]) -> None:
    """ART asks three times a candidate; here both try the same number of candidates."""
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import PyTorchClassifier

    model, targets = trained
    result, _ = attack(Square(queries=40), model, targets, Linf(0.04))
    state = np.random.get_state()  # noqa: NPY002 - ART draws from the global generator
    try:
        np.random.seed(0)  # noqa: NPY002
        net = PyTorchClassifier(
            model.module, torch.nn.CrossEntropyLoss(), (1, 8, 8), 3, clip_values=(0, 1), device_type="cpu"
        )
        theirs = SquareAttack(net, eps=0.04, max_iter=38, batch_size=250, p_init=0.8, nb_restarts=1, verbose=False)
        other = torch.from_numpy(theirs.generate(targets.x.numpy(), targets.y.numpy()))
    finally:
        np.random.set_state(state)  # noqa: NPY002
    ours, art, clean = (
        (model.predict(x, noise=SEEDS).labels == targets.y).float().mean().item() for x in (result.x, other, targets.x)
    )
    spread = 1.96 * math.sqrt(2 * art * (1 - art) / 250)
    assert ours <= art + spread
    assert ours < clean - 2 * spread  # there was something to find
