"""The effects of a device act in physical order, whatever their order in the stack."""

from __future__ import annotations

import functools
import itertools
import operator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise.compose import Defense
from robustnoise_defenses import ADC, DAC, GaussianInputNoise, LayerNoise, StuckCells, WeightQuantiser
from robustnoise_defenses.noise.draws import Draws
from tests.unit.noise.nets import CTX, NOISE, classifier, floats

X = floats(9)
PARTS: dict[str, Any] = {
    "dac": DAC(5),
    "input noise": LayerNoise(6, "layer_input"),
    "weights": WeightQuantiser(4),
    "output noise": LayerNoise(3),
    "adc": ADC(6, full_scale=1.5),
}
ORDERS = [*itertools.islice(itertools.permutations(PARTS), 0, None, 17)]


def net() -> Any:
    return classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)))


def stack(parts: list[Defense]) -> Defense:
    return functools.reduce(operator.or_, parts)


def levels(t: Tensor, peak: float, bits: int) -> Tensor:
    step = peak / (2 ** (bits - 1) - 1)
    return step * torch.round(t.clamp(-peak, peak) / step)


def by_hand(plain: Any, order: tuple[str, ...]) -> Tensor:
    """Converter, noise on the input, stored weights, noise on the output, converter: one linear layer, step by step."""
    layer, train = plain.module[1], floats(256).flatten(1)

    def draw(what: str, like: Tensor) -> Tensor:
        return Draws(NOISE.child("effect", order.index(what))).normal_like("1", like)

    clean = layer(train)
    a = levels(X.flatten(1), train.abs().max().item(), 5)
    a = a + 10 ** (-6 / 20) * train.double().square().mean().sqrt().item() * draw("input noise", a)
    weight = levels(layer.weight, layer.weight.abs().max().item(), 4)
    out = a @ weight.T + layer.bias
    out = out + 10 ** (-3 / 20) * clean.double().square().mean().sqrt().item() * draw("output noise", out)
    return levels(out, 1.5 * clean.abs().max().item(), 6)


@pytest.mark.parametrize("order", ORDERS, ids=" | ".join)
def test_one_layer_by_hand(order: tuple[str, ...]) -> None:
    plain = net()
    victim = stack([PARTS[name] for name in order]).apply(plain, CTX)
    torch.testing.assert_close(victim.logits(X, noise=NOISE), by_hand(plain, order), atol=1e-5, rtol=1e-5)  # type: ignore[attr-defined]


@pytest.mark.parametrize("parts", [[LayerNoise(0), ADC(3)], [ADC(3), LayerNoise(0)]], ids=str)
def test_also_with_a_stage_between_that_is_no_part_of_the_device(parts: list[Defense]) -> None:
    """The converter is last, so nothing but its levels comes out."""
    victim: Any = stack([parts[0], GaussianInputNoise(0.1), parts[1]]).apply(net(), CTX)
    found = victim.logits(X, noise=NOISE)
    step = net().logits(floats(256), noise=NOISE).abs().max() / 3
    torch.testing.assert_close(found / step, (found / step).round(), atol=1e-4, rtol=0)
    assert len((found / step).round().unique()) > 3


def test_stuck_cells_stay_whatever_noise_was_programmed() -> None:
    plain = net()
    both: Any = (StuckCells(1.0) | WeightQuantiser(3)).apply(plain, CTX)
    assert torch.equal(both.logits(X, noise=NOISE), plain.module[1].bias.expand(len(X), 3))
