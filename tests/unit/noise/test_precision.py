"""Noise in bfloat16 and with channels last keeps its ratio, its rows to themselves, and its layout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustnoise.seeds import SeedStream
from robustnoise_defenses import LayerNoise
from robustnoise_defenses.noise.inside import device
from robustnoise_defenses.noise.layers import ON_OUTPUT
from tests.unit.noise.nets import NOISE, Probe, classifier, floats

CASES = [
    ("additive", "sample", "second_moment"),
    ("additive", "batch", "variance"),
    ("both", "channel", "second_moment"),
]


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(("mode", "power", "statistic"), CASES)
def test_the_ratio_in_bfloat16(mode: str, power: str, statistic: str, last: bool) -> None:
    layout = torch.channels_last if last else torch.contiguous_format
    net = classifier(nn.Sequential(nn.Conv2d(2, 8, 3, padding=1))).module.to(memory_format=layout)  # type: ignore[call-overload]
    effect = LayerNoise(3, "pre_activation", power, statistic, mode).training_effect(["0"], 0.0, SeedStream(0))  # type: ignore[arg-type]
    before, after = Probe(["0"], ON_OUTPUT - 1), Probe(["0"], ON_OUTPUT + 1)
    x = floats(400).to(memory_format=layout)
    net.requires_grad_(True)
    with device(net, [before, effect, after], NOISE), torch.autocast("cpu", torch.bfloat16):
        out: Tensor = net(x)
    out.float().square().sum().backward()
    (t,), (noisy,) = before.outputs["0"], after.outputs["0"]
    assert t.dtype == noisy.dtype == torch.bfloat16
    assert noisy.is_contiguous(memory_format=layout)
    assert net[0].weight.grad.isfinite().all()
    wide = t.double()
    axes = {"sample": (1, 2, 3), "batch": (0, 1, 2, 3), "channel": (0, 2, 3)}[power]
    common = wide.square().mean(axes, True) if statistic == "second_moment" else wide.var(axes, False, True)
    wanted = (common if mode == "additive" else (common + wide.square()) / 2).expand_as(wide).sum()
    found = (noisy.double() - wide).square().sum() / wanted
    assert found.item() == pytest.approx(10**-0.3, rel=0.01)
