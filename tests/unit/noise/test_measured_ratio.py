"""The measured signal-to-noise ratio is the asked one within 1 %: sites, powers, modes and kinds of layers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise.seeds import SeedStream
from robustnoise_defenses import LayerNoise
from robustnoise_defenses.noise.inside import device
from robustnoise_defenses.noise.layers import ENDS, ON_INPUT, ON_OUTPUT
from robustnoise_defenses.noise.measure import measure
from tests.unit.noise.nets import CTX, NOISE, PRODUCTS, Probe, classifier, every_kind, floats

ROWS = 2600
"""Images of a pass: the smallest signal has 64 numbers of each, so the power of 166,400 draws, known within 0.35 %."""
RATIO = 10 ** (-3 / 20)
ORDER = {"input": ON_INPUT, "layer_input": ON_INPUT, "pre_activation": ON_OUTPUT, "logits": ON_OUTPUT}

FROZEN = [(False, "additive", p, s) for p in ("calibrated", "channel", "sample") for s in ("second_moment", "variance")]
FROZEN += [(False, "both", "calibrated", "second_moment"), (False, "both", "sample", "variance")]
FROZEN += [(False, "multiplicative", "calibrated", "second_moment")]
MOVING = [(True, "additive", "batch", s) for s in ("second_moment", "variance")]
MOVING += [(True, "additive", "calibrated", "second_moment"), (True, "both", "channel", "variance")]


def power_of(t: Tensor, axes: tuple[int, ...], statistic: str) -> Tensor:
    """The definition, in float64."""
    t = t.double()
    return t.square().mean(axes, keepdim=True) if statistic == "second_moment" else t.var(axes, False, keepdim=True)


def wanted(t: Tensor, frozen: Tensor | None, axis: int, mode: str, power: str, statistic: str) -> Tensor:
    """The noise power that each number of t should meet, by the definitions in docs/noise.md."""
    every = tuple(range(t.dim()))
    axes = {"sample": every[1:], "channel": tuple(a for a in every if a != axis % t.dim())}.get(power, every)
    common = power_of(t if frozen is None else frozen, axes, statistic)
    own = t.double().square()
    chosen = {"additive": common, "multiplicative": own, "both": (own + common) / 2}[mode]
    return chosen.expand_as(t) * RATIO**2


def check(net: Any, names: list[str], site: str, training: bool, mode: str, power: str, statistic: str) -> None:
    defense: Any = LayerNoise(3, site, power, statistic, mode)  # type: ignore[arg-type]
    before, clean, after = Probe(names, ORDER[site] - 1), Probe(names, 0), Probe(names, ORDER[site] + 1)
    train = CTX.need_train("test")
    noise = (
        defense.training_effect(PRODUCTS, 0.0, SeedStream(0))
        if training
        else defense.effect(PRODUCTS, lambda: measure(net.module, train), 0)
    )
    with torch.inference_mode():
        with device(net.module, [before, noise, after], NOISE):
            net.logits(floats(ROWS), noise=NOISE)
        with device(net.module, [clean], NOISE):  # on the images of the calibration
            net.logits(floats(256), noise=NOISE)
    kind = "outputs" if site == "pre_activation" else "inputs"
    for name in names:
        frozen = None
        if not training and power in ("calibrated", "channel"):
            frozen = torch.cat(getattr(clean, kind)[name])
        asked = measured = units = 0.0
        count = 0
        for t, noisy in zip(getattr(before, kind)[name], getattr(after, kind)[name], strict=True):
            power_each = wanted(t, frozen, before.axes[name], mode, power, statistic)
            added = (noisy.double() - t.double()).square()
            asked, measured = asked + power_each.sum().item(), measured + added.sum().item()
            there = power_each > 1e-9  # not where the first hidden state is 0
            units += (added[there] / power_each[there]).sum().item()
            count += int(there.sum())
        assert count >= 160_000, name
        assert measured / asked == pytest.approx(1, abs=0.01), name
        assert units / count == pytest.approx(1, abs=0.01), name


@pytest.mark.parametrize(("training", "mode", "power", "statistic"), [*FROZEN, *MOVING])
def test_pre_activation_of_every_kind_of_product(training: bool, mode: str, power: str, statistic: str) -> None:
    check(every_kind(), PRODUCTS, "pre_activation", training, mode, power, statistic)


@pytest.mark.parametrize(("training", "mode", "power", "statistic"), [*FROZEN[::2], *MOVING[1::2]])
def test_input_of_every_kind_of_product(training: bool, mode: str, power: str, statistic: str) -> None:
    check(every_kind(), PRODUCTS, "layer_input", training, mode, power, statistic)


@pytest.mark.parametrize("site", ["input", "logits"])
@pytest.mark.parametrize(("training", "mode", "power", "statistic"), [*FROZEN, *MOVING])
def test_the_ends_of_the_network(site: str, training: bool, mode: str, power: str, statistic: str) -> None:
    net = classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 128)), classes=128)
    check(net, [ENDS[site]], site, training, mode, power, statistic)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_the_ratio_is_in_decibels_of_power(snr_db: float) -> None:
    """Without a formula or a probe in between: what the logits of one linear layer are, and what they become."""
    net = classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 128)), classes=128)
    victim: Any = LayerNoise(snr_db, power="sample").apply(net, CTX)
    x = floats(ROWS)
    t, noisy = net.logits(x, noise=NOISE).double(), victim.logits(x, noise=NOISE).double()
    found = 10 * math.log10(t.square().sum() / (noisy - t).square().sum())
    assert found == pytest.approx(snr_db, abs=0.043)  # 1 % of the power
