"""The shipped contracts over configurations that the defaults don't reach."""

from __future__ import annotations

import pytest

from robustnoise.compose import Defense
from robustnoise.testing import check_plugin
from robustnoise_defenses import (
    ADC,
    DAC,
    PNI,
    AbsoluteNoise,
    DeviceNoise,
    LayerNoise,
    NoiseTraining,
    StuckCells,
    WeightQuantiser,
)

CONFIGURATIONS = [
    LayerNoise(0, "input", "channel"),
    LayerNoise(0, "layer_input", "sample", "variance"),
    LayerNoise(0, "weight", "channel", mode="both"),
    LayerNoise(0, "logits", mode="multiplicative"),
    DeviceNoise(0, "pre_activation", "sample"),
    StuckCells(0.2, "peak"),
    DAC(3, full_scale=0.5) | LayerNoise(0, layers="!1*") | WeightQuantiser(3) | ADC(4),
    AbsoluteNoise(0.3, "pre_activation", first=0.0),
    DAC(3) | WeightQuantiser(3) | PNI(0.5, layers="!1*") | AbsoluteNoise(0.1),
    NoiseTraining(PNI() | AbsoluteNoise(0.1), while_crafting=True),
    NoiseTraining(DAC(6) | LayerNoise(0), spread_db=3.0, ramp=0.5, while_crafting=True),
]


@pytest.mark.parametrize("defense", CONFIGURATIONS, ids=str)
def test_contracts(defense: Defense) -> None:
    check_plugin(defense)
