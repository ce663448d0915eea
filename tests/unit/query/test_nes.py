"""NES's gradient against the true one, and SimBA's directions against a transform of SciPy's."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.fft import dct
from torch import Tensor
from torch.nn import functional

from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Targets
from robustnoise.seeds import SeedStream
from robustnoise.testing.toys import toy_model
from robustnoise.threat import Access, Linf
from robustnoise_attacks import NES
from robustnoise_attacks.query.asking import Asker
from robustnoise_attacks.query.own_numbers import OwnNumbers
from robustnoise_attacks.query.simba import _vectors
from tests.unit.query.victims import SEEDS


def estimated(attack: NES, n: int = 6) -> tuple[Tensor, Tensor, Asker]:
    """What an attack takes for the gradients of the margin of n images, and what they are."""
    model = toy_model()
    x = 0.25 + 0.5 * torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = model.predict(x, noise=SEEDS).labels.clone()
    leaf = x.clone().requires_grad_(True)
    logits = model.logits(leaf, noise=SEEDS)
    true = logits.gather(1, y[:, None])[:, 0]
    other = logits.masked_fill(functional.one_hot(y, 3).bool(), -torch.inf).amax(1)
    (gradient,) = torch.autograd.grad((true - other).sum(), leaf)
    threat = Linf(0.1, Access.SCORES)
    oracle = CountingOracle(model, threat, SeedStream(0))
    asker = Asker(oracle, Targets(torch.arange(n), x, y), threat, queries=attack.samples)
    numbers, turn = OwnNumbers(SEEDS, torch.arange(n)), torch.zeros(n, dtype=torch.int64)
    return attack.gradient(asker, x, torch.arange(n), numbers, turn), gradient, asker


@pytest.mark.parametrize("antithetic", [True, False])
def test_the_estimate_points_along_the_gradient_and_has_its_length(antithetic: bool) -> None:
    """With k independent directions in d dimensions the cosine is about sqrt(k / (k + d))."""
    samples = 4000
    found, gradient, asker = estimated(NES(samples=samples, sigma=0.002, antithetic=antithetic))
    k = samples // 2 if antithetic else samples
    cosine = functional.cosine_similarity(found.flatten(1), gradient.flatten(1))
    assert cosine.mean() > (k / (k + 64)) ** 0.5 - 0.02
    along = (found * gradient).flatten(1).sum(1) / gradient.flatten(1).square().sum(1)
    assert along.mean().item() == pytest.approx(1, abs=0.1)
    assert asker.queries == 6 * samples


@pytest.mark.parametrize("tile", [2, 3, 8, 100])
def test_tiles_give_the_sum_of_the_gradient_over_each(tile: int) -> None:
    """Pixels that move together tell their summed slope; the grid begins somewhere else for each image."""
    found, gradient, _ = estimated(NES(samples=4000, sigma=0.002, tile=tile))
    begins = set()
    for each, slope in zip(found[:, 0], gradient[:, 0], strict=True):
        # Where a neighbour differs, a tile ends.
        down, across = ((each.diff(dim=d).abs() > 1e-7).any(1 - d).nonzero()[:, 0] + 1 for d in (0, 1))
        assert (down.diff() == tile).all()
        assert (across.diff() == tile).all()
        begins.add((*down[:1].tolist(), *across[:1].tolist()))
        tops, lefts = [0, *down.tolist(), 8], [0, *across.tolist(), 8]
        for top, bottom in itertools.pairwise(tops):
            for left, right in itertools.pairwise(lefts):
                expected = slope[top:bottom, left:right].sum().item()
                scale = slope.abs().sum().item()
                assert each[top, left].item() == pytest.approx(expected, abs=0.05 * scale)
    assert tile > 8 or len(begins) > 1


def test_simba_waves_are_the_lowest_cosines() -> None:
    waves = _vectors(8, 0.5, largest=False)
    assert torch.allclose(waves, torch.from_numpy(dct(torch.eye(8).numpy(), norm="ortho").T[:4]), atol=1e-6)
    assert torch.allclose(_vectors(8, 1.0, largest=True).abs().amax(1), torch.ones(8))
    assert torch.equal(_vectors(8, None, largest=True), torch.eye(8))
