"""Converters: levels, error power, clipping, gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from robustnoise.errors import BadParameter
from robustnoise.seeds import SeedStream
from robustnoise_defenses import ADC, DAC, WeightQuantiser
from robustnoise_defenses.noise.inside import device
from robustnoise_defenses.noise.quantise import quantised
from tests.unit.noise.nets import CTX, NOISE, PRODUCTS, Probe, classifier, every_kind, floats

UNIFORM = torch.rand(400_000, generator=NOISE.generator("uniform")) * 2 - 1


@pytest.mark.parametrize("bits", [2, 4, 6, 8, 12])
@pytest.mark.parametrize("peak", [1.0, 2.5])
def test_the_error_has_the_power_of_a_step(bits: int, peak: float) -> None:
    t = UNIFORM * peak
    step = peak / (2 ** (bits - 1) - 1)
    found = quantised(t, peak, bits).double()
    assert (found - t).square().mean().item() == pytest.approx(step**2 / 12, rel=0.01)
    assert (found - t).abs().max().item() <= step / 2 * (1 + 1e-3)


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_levels(bits: int) -> None:
    found = quantised(UNIFORM * 3, 3.0, bits).unique()
    count = 2**bits - 1
    torch.testing.assert_close(found, torch.linspace(-3, 3, count))
    assert 0.0 in found.tolist()


def test_values_beyond_full_scale_clip() -> None:
    t = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0])
    assert quantised(t, 1.0, 8).tolist() == [-1, -1, 0, 1, 1]


@pytest.mark.parametrize("peak", [1.0, torch.tensor(1.0)], ids=["float", "tensor"])
def test_the_gradient_goes_straight_through_and_ends_at_full_scale(peak: Any) -> None:
    t = torch.tensor([-1.5, -1.0, -0.3, 0.0, 0.77, 1.0, 1.5], requires_grad=True)
    quantised(t, peak, 3).sum().backward()
    assert t.grad is not None
    assert t.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_signal_of_0_stays_0(dtype: torch.dtype) -> None:
    assert quantised(torch.zeros(3, dtype=dtype), 0.0, 8).tolist() == [0, 0, 0]
    assert quantised(torch.ones(3, dtype=dtype), torch.tensor(0.0), 8).tolist() == [0, 0, 0]


def test_one_bit_is_refused() -> None:
    with pytest.raises(BadParameter, match="bits = 1 leaves the level 0 alone"):
        DAC(1)


@pytest.mark.parametrize(("defense", "kind"), [(DAC(4, full_scale=0.8), "inputs"), (ADC(4, full_scale=0.8), "outputs")])
def test_full_scale_is_the_peak_on_training_images(defense: Any, kind: str) -> None:
    net = every_kind()
    clean, after = Probe(PRODUCTS, 0), Probe(PRODUCTS, 99)
    with torch.inference_mode(), device(net.module, [clean], NOISE):
        net.logits(floats(256), noise=NOISE)
    victim = defense.apply(net, CTX)
    with torch.inference_mode(), device(net.module, [after], NOISE):
        victim.logits(floats(256), noise=NOISE)
    for name in PRODUCTS:
        peak = max(t.abs().max().item() for t in getattr(clean, kind)[name]) * 0.8
        found = torch.cat([t.flatten() for t in getattr(after, kind)[name]]) * 7 / peak
        torch.testing.assert_close(found, found.round(), atol=1e-4, rtol=0)
        assert found.abs().max().item() <= 7 + 1e-4
        assert len(found.round().unique()) > 4


def test_weights_take_their_levels_and_nothing_else_does() -> None:
    plain = classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)))
    victim: Any = WeightQuantiser(4).apply(plain, CTX)
    layer = plain.module[1]  # type: ignore[index]
    images = torch.eye(128).view(128, 2, 8, 8)
    stored = (victim.logits(images, noise=NOISE) - layer.bias).T * 7 / layer.weight.abs().max()
    torch.testing.assert_close(stored, stored.round(), atol=1e-4, rtol=0)
    assert stored.abs().max().item() == pytest.approx(7, abs=1e-4)
    assert victim.stochastic is False


def test_padded_rows_do_not_set_the_full_scale_while_training() -> None:
    effect = DAC(3).training_effect(["a"], 0.0, SeedStream(0))
    a = torch.tensor([[1.0, 0.4], [100.0, 100.0]])
    found = effect.on_input("a", a, -1, torch.tensor([True, False]), None)  # type: ignore[arg-type]
    torch.testing.assert_close(found[0], torch.tensor([1.0, 1 / 3]))
    nothing = effect.on_input("a", a, -1, torch.tensor([False, False]), None)  # type: ignore[arg-type]
    assert nothing.isfinite().all()
