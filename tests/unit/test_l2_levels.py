"""8-bit rounding in an l2 ball: as long as the perturbation was, never outside, one image for itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustnoise.threat import L2, LEVELS

SEEDS = st.integers(0, 2**32)
EPS = st.one_of(st.sampled_from([0.0, 1 / 255, 0.25, 0.5, 3.0]), st.floats(0, 5, allow_subnormal=False))


def levels(eps: float, start: list[int], moved: list[float]) -> list[int]:
    """One image of one row, in levels."""
    origin = torch.tensor(start, dtype=torch.uint8).view(1, 1, 1, -1)
    found = L2(eps / LEVELS).to_levels(origin, torch.tensor(moved, dtype=torch.float64).view(1, 1, 1, -1) / LEVELS)
    return found.flatten().tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("eps", "moved", "expected"),
    [
        (50, [10.6, -7.4, 0.4], [11, -7, 0]),  # room enough: the nearest
        (5, [3.8, -3.2], [4, -3]),  # projected to 3.82 and -3.22; exactly on the sphere
        (2.3, [1.6, -1.62], [1, -2]),  # 2 and -2 would be outside: the one nearer to its level stays
        (63.75, [63.75, 0.0], [63, 0]),  # 64 would be outside
        (9, [0.4, 0.45, 0.3, 0.1, 0.4], [0, 0, 0, 0, 0]),  # of length 0.79, too short for a level
        (9, [0.4, 0.45, 0.3, 0.41, 0.4, 0.4, 0.4], [0, 1, 0, 0, 0, 0, 0]),  # of length 1.05
        (0, [1.0, -2.0], [0, 0]),
    ],
)
def test_known_roundings(eps: float, moved: list[float], expected: list[int]) -> None:
    assert levels(eps, [100] * len(moved), [100 + m for m in moved]) == [100 + e for e in expected]


def images(seed: int, size: float, n: int = 3, side: int = 12) -> tuple[Tensor, Tensor]:
    """Levels, and images that are `size` pixels of [0, 1] away, some with a heavy tail."""
    generator = torch.Generator().manual_seed(seed)
    origin = torch.randint(0, 256, (n, 3, side, side), generator=generator).to(torch.uint8)
    delta = torch.randn(origin.shape, generator=generator) ** torch.tensor([1, 3, 1]).view(3, 1, 1, 1)
    delta *= size / delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return origin, (origin.float() / LEVELS + delta).clamp(0, 1)


@given(SEEDS, EPS, st.floats(0, 2))
@settings(max_examples=150)
def test_it_is_inside_beside_and_as_long_as_there_is_room(seed: int, eps: float, share: float) -> None:
    threat = L2(eps)
    origin, x = images(seed, eps * share)
    found = threat.to_levels(origin, x)
    assert bool((threat.violation(origin, found) <= 1e-9).all())
    wanted = threat.project(origin.double() / LEVELS, x.double()) * LEVELS - origin.double()
    moved = found.double() - origin.double()
    assert bool(((moved - wanted).abs() < 1 + 1e-3).all())
    assert bool((moved * wanted >= -1e-3).all())
    # One more pixel a level further out would be longer than both the perturbation and the ball.
    step = 2 * wanted.abs().floor().flatten(1).amax(1) + 1
    length, room = moved.flatten(1).square().sum(1), wanted.flatten(1).square().sum(1)
    assert bool((length + step + 0.1 > room).all())


@given(SEEDS, st.sampled_from([0.25, 0.5, 1.0]))
@settings(max_examples=30)
def test_where_the_nearest_levels_are_inside_and_long_enough_it_takes_them(seed: int, eps: float) -> None:
    origin, x = images(seed, eps / 2, n=3)
    nearest = (x.double() * LEVELS).round()
    long = (nearest - origin).flatten(1).norm(dim=1) >= (x.double() * LEVELS - origin).flatten(1).norm(dim=1) + 0.1
    assert torch.equal(L2(eps).to_levels(origin, x)[long], nearest.to(torch.uint8)[long])


@pytest.mark.parametrize("eps", [0.25, 0.5, 1.0])
def test_a_perturbation_on_the_sphere_keeps_its_length(eps: float) -> None:
    """Rounding towards the original kept 0.72 of it at 0.25, 0.84 at 0.5, 0.92 at 1."""
    origin, x = grey(eps)
    moved = (L2(eps).to_levels(origin, x).double() - origin.double()) / LEVELS
    assert bool((moved.flatten(1).norm(dim=1) / eps >= 0.998).all())


def grey(eps: float) -> tuple[Tensor, Tensor]:
    """Far from black and white, so that nothing is clipped."""
    origin = torch.full((6, 3, 32, 32), 120, dtype=torch.uint8)
    delta = torch.randn(origin.shape, generator=torch.Generator().manual_seed(1))
    return origin, origin.float() / LEVELS + delta * eps / delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    origin, x = grey(0.25)
    many = L2(0.25).to_levels(origin.repeat(7, 1, 1, 1), x.repeat(7, 1, 1, 1))
    assert torch.equal(many[36:], L2(0.25).to_levels(origin, x))
    assert torch.equal(many[5:6], L2(0.25).to_levels(origin[5:], x[5:]))
