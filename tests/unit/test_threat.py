"""Projection and 8-bit rounding never leave the ball, and lose no level that fits in it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustnoise.errors import BadParameter
from robustnoise.threat import L2, Access, Budget, Linf, Norm, ThreatModel

TOLERANCE = 1e-6
EPS = st.one_of(st.sampled_from([0.0, 8 / 255, 0.3, 1 / 255, 1.0]), st.floats(0, 1, allow_subnormal=False))
SEEDS = st.integers(0, 2**32)


def _images(seed: int, n: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    origin = torch.randint(0, 256, (n, 1, 4, 4), generator=generator).to(torch.uint8)
    far = torch.randn((n, 1, 4, 4), generator=generator) * 3
    return origin, far


@given(SEEDS, EPS, st.sampled_from(list(Norm)))
@settings(max_examples=150)
def test_projection_stays_inside_ball_and_box(seed: int, eps: float, norm: Norm) -> None:
    threat = ThreatModel(norm, eps)
    origin, far = _images(seed)
    x = threat.project(origin.double() / 255, far.double())
    assert bool((threat.violation(origin, x) <= TOLERANCE).all())
    assert bool(((x >= 0) & (x <= 1)).all())
    assert torch.allclose(threat.project(origin.double() / 255, x), x, atol=1e-9)


@given(SEEDS, EPS, st.sampled_from(list(Norm)))
@settings(max_examples=150)
def test_levels_stay_inside_ball(seed: int, eps: float, norm: Norm) -> None:
    threat = ThreatModel(norm, eps)
    origin, far = _images(seed)
    levels = threat.to_levels(origin, origin.float() / 255 + far)
    assert levels.dtype == torch.uint8
    assert bool((threat.violation(origin, levels) <= TOLERANCE).all())


@given(SEEDS, st.sampled_from(list(Norm)))
@settings(max_examples=30)
def test_no_radius_returns_the_input(seed: int, norm: Norm) -> None:
    origin, far = _images(seed)
    assert torch.equal(ThreatModel(norm, 0).to_levels(origin, far), origin)
    start = origin.float() / 255
    assert torch.equal(ThreatModel(norm, 0).project(start, far), start)


@pytest.mark.parametrize("k", range(256))
def test_every_whole_number_of_levels_is_reached(k: int) -> None:
    origin = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    threat = Linf(k / 255)
    start = origin.float() / 255
    up = threat.to_levels(origin, start + 5)
    down = threat.to_levels(origin, start - 5)
    assert torch.equal(up.int(), (origin.int() + k).clamp(max=255))
    assert torch.equal(down.int(), (origin.int() - k).clamp(min=0))


@pytest.mark.parametrize("k", [1, 8, 77, 200])
def test_a_radius_written_in_ten_digits_loses_no_level(k: int) -> None:
    eps = math.floor(k / 255 * 1e10) / 1e10
    origin = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    assert Linf(eps).to_levels(origin, torch.ones(1, 1, 1, 1)).item() == k


def test_the_usual_radii_reach_eight_and_seventy_six_levels() -> None:
    origin = torch.full((1, 1, 1, 1), 100, dtype=torch.uint8)
    assert Linf(8 / 255).to_levels(origin, torch.ones(1, 1, 1, 1)).item() == 108
    assert Linf(0.3).to_levels(origin, torch.ones(1, 1, 1, 1)).item() == 176  # 76.5 levels: 76 fit


@given(SEEDS)
@settings(max_examples=50)
def test_an_image_of_levels_inside_the_ball_is_kept(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    origin = torch.randint(0, 256, (4, 1, 4, 4), generator=generator).to(torch.uint8)
    moved = (origin.int() + torch.randint(-8, 9, origin.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    for threat in (Linf(8 / 255), L2(float((moved.double() - origin.double()).flatten(1).norm(dim=1).max()) / 255)):
        assert torch.equal(threat.to_levels(origin, moved.float() / 255), moved)


def test_l2_shortens_a_long_perturbation_along_its_own_direction() -> None:
    origin = torch.full((1, 1, 1, 2), 0.5)
    x = L2(0.25).project(origin, origin + torch.tensor([0.3, 0.4]))
    assert torch.allclose(x - origin, torch.tensor([0.15, 0.2]))


def test_another_radius_can_be_given() -> None:
    origin = torch.full((1, 1, 1, 1), 0.5)
    assert Linf(0.3).project(origin, origin + 1, eps=0.1).item() == pytest.approx(0.6)


@pytest.mark.parametrize("norm", list(Norm))
def test_nan_fails_the_check(norm: Norm) -> None:
    threat = ThreatModel(norm, 0.3)
    origin = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    x = torch.zeros(2, 1, 2, 2)
    x[1, 0, 0, 0] = math.nan
    violation = threat.violation(origin, x)
    assert (~(violation <= TOLERANCE)).tolist() == [False, True]


def test_violation_is_the_distance_beyond_the_radius() -> None:
    origin = torch.zeros(1, 1, 1, 2, dtype=torch.uint8)
    x = torch.tensor([0.3, 0.4]).view(1, 1, 1, 2)
    assert Linf(0.1).violation(origin, x).item() == pytest.approx(0.3)
    assert L2(0.1).violation(origin, x).item() == pytest.approx(0.4)


@pytest.mark.parametrize("eps", [-0.1, 8, 1.0001, math.nan, math.inf, True, "0.3", None])
def test_a_bad_linf_radius_is_refused(eps: object) -> None:
    with pytest.raises(BadParameter, match="eps = ") as caught:
        Linf(eps)  # type: ignore[arg-type]
    assert repr(eps) in str(caught.value)


@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf, True])
def test_a_bad_l2_radius_is_refused(eps: float) -> None:
    with pytest.raises(BadParameter, match="eps = "):
        L2(eps)


def test_json_round_trip() -> None:
    for threat in (Linf(8 / 255), L2(2, Access.SCORES), Linf(0.3, Access.GRADIENTS)):
        assert ThreatModel.from_json(threat.to_json()) == threat


def test_access_is_read_by_name_and_ordered() -> None:
    assert Access.parse("scores") is Access.SCORES
    assert Access.LABELS < Access.SCORES < Access.LOGITS < Access.GRADIENTS
    with pytest.raises(BadParameter, match="'score': expected one of labels, scores, logits, gradients"):
        Access.parse("score")


@pytest.mark.parametrize("name", ["per_image", "total", "seed_examples"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "3"])
def test_a_bad_budget_is_refused(name: str, value: object) -> None:
    with pytest.raises(BadParameter, match=f"budget {name} = "):
        Budget(**{name: value})  # type: ignore[arg-type]
