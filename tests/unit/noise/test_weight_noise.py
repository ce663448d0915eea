"""Noise of reading the weights, drawn at the output, is what fresh W + N for every product would give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise_defenses import LayerNoise
from robustnoise_defenses.noise.inside import device
from robustnoise_defenses.noise.layers import ON_OUTPUT
from robustnoise_defenses.noise.products import product_names
from tests.unit.noise.nets import NOISE, Probe, classifier

DRAWS = 30_000
RATIO = 10 ** (-3 / 20)


def ours(module: nn.Module, x: Tensor, mode: str, power: str, statistic: str) -> Tensor:
    """(DRAWS, ...) outputs for the one image x."""
    names = product_names(module)
    effect = LayerNoise(3, "weight", power, statistic, mode).effect(names, _never, 0)  # type: ignore[arg-type]
    with torch.inference_mode(), device(module, [effect], NOISE):
        out: Tensor = module(x.expand(DRAWS, *x.shape[1:]).contiguous())
    return out.double()


def _never() -> Any:
    raise AssertionError("the power of weights needs no images")


def sigma_of(weight: Tensor, mode: str, power: str, statistic: str) -> Tensor:
    axes = tuple(range(0 if power == "calibrated" else 1, weight.dim()))
    common = weight.square().mean(axes, True) if statistic == "second_moment" else weight.var(axes, False, True)
    own = weight.square()
    chosen = {"additive": common, "multiplicative": own, "both": (own + common) / 2}[mode]
    return RATIO * chosen.expand_as(weight).sqrt()


CASES = [
    ("additive", "calibrated", "second_moment"),
    ("additive", "channel", "variance"),
    ("multiplicative", "calibrated", "second_moment"),
    ("both", "channel", "second_moment"),
]


@pytest.mark.parametrize(("mode", "power", "statistic"), CASES)
def test_linear_has_the_moments_of_fresh_weights(mode: str, power: str, statistic: str) -> None:
    layer = nn.Linear(5, 3)
    classifier(layer)
    x = torch.tensor([[0.3, 1.0, 0.0, 0.7, 0.2]])
    found = ours(layer, x, mode, power, statistic)
    noise = torch.randn(DRAWS, 3, 5, generator=NOISE.generator("simulated")).double()
    weights = layer.weight.double() + sigma_of(layer.weight, mode, power, statistic).double() * noise
    simulated = weights @ x[0].double() + layer.bias.double()
    variance = (sigma_of(layer.weight, mode, power, statistic).square() * x.square()).sum(1).double()
    # The scale of the largest unit; 5 standard errors of each moment.
    size, error = float(variance.max()), 5 / DRAWS**0.5
    for sample in (found, simulated):
        torch.testing.assert_close(sample.mean(0), layer(x)[0].double(), atol=size**0.5 * error, rtol=0)
        torch.testing.assert_close(torch.cov(sample.T), torch.diag(variance), atol=size * error * 2**0.5, rtol=0)


@pytest.mark.parametrize(("mode", "power", "statistic"), CASES)
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2, padding_mode="reflect"),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2),
    ],
    ids=["grouped", "dilated"],
)
def test_each_place_of_a_convolution_reads_afresh(conv: nn.Conv2d, mode: str, power: str, statistic: str) -> None:
    classifier(conv)
    x = torch.rand(1, 4, 4, 4, generator=NOISE.generator("image"))
    sample = ours(conv, x, mode, power, statistic)
    sample = sample.flatten(1)
    # The variance at a place: the sum over its window of (sigma * input) squared, by the plain convolution of squares.
    squares = conv._conv_forward(x.square(), sigma_of(conv.weight, mode, power, statistic).square(), None)
    variance = squares.flatten().double().detach()
    size, error = float(variance.max()), 5.5 / DRAWS**0.5
    torch.testing.assert_close(sample.mean(0), conv(x).flatten().double(), atol=size**0.5 * error, rtol=0)
    torch.testing.assert_close(torch.cov(sample.T), torch.diag(variance), atol=size * error * 2**0.5, rtol=0)
    assert (sample.var(0).sum() / variance.sum()).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_the_candidate_of_a_gru_knows_its_gate(mode: str) -> None:
    layer = nn.GRUCell(3, 2)
    classifier(layer)
    names = product_names(layer)
    effect = LayerNoise(3, "weight", "calibrated", "second_moment", mode, layers="n").effect(names, _never, 0)  # type: ignore[arg-type]
    before, after = Probe(["n"], 0), Probe(["n"], ON_OUTPUT + 1)
    x, h = torch.tensor([[0.5, -0.2, 0.9]]), torch.tensor([[0.8, -0.6]])
    with torch.inference_mode(), device(layer, [before, effect, after], NOISE):
        layer.forward.forward(x.expand(DRAWS, 3), h.expand(DRAWS, 2))  # type: ignore[attr-defined]
    added = (after.outputs["n"][0] - before.outputs["n"][0]).double()
    gate = torch.sigmoid(x @ layer.weight_ih[:2].T + layer.bias_ih[:2] + h @ layer.weight_hh[:2].T + layer.bias_hh[:2])
    weight = torch.cat([layer.weight_ih[4:], layer.weight_hh[4:]], 1)
    a = torch.cat([x.expand(2, 3), gate.T * h], 1)
    sigma = sigma_of(weight, mode, "calibrated", "second_moment")
    torch.testing.assert_close(added.var(0), (sigma * a).square().sum(1).double(), rtol=5 * (2 / DRAWS) ** 0.5, atol=0)


def test_reads_are_fresh_between_rows_and_calls() -> None:
    layer = nn.Linear(4, 3)
    victim: Any = LayerNoise(0, "weight").apply(classifier(nn.Sequential(nn.Flatten(), layer), (1, 2, 2)), Context())
    x = torch.full((2, 1, 2, 2), 0.5)  # calibrated without training images: the power of weights is known
    first = victim.logits(x, noise=SeedStream(1))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, victim.logits(x, noise=SeedStream(2)))
    assert torch.equal(first, victim.logits(x, noise=SeedStream(1)))
