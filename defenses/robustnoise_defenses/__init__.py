"""The built-in defenses, an ordinary plugin package: names to classes, imported at first use."""

from __future__ import annotations

from typing import Any

PLUGINS = {
    "aaa": "robustnoise_defenses.outputs.aaa:AAA",
    "adaptive-vote": "robustnoise_defenses.adaptive_voting:AdaptiveVote",
    "adc": "robustnoise_defenses.noise.quantise:ADC",
    "bit-depth": "robustnoise_defenses.inputs.art:BitDepth",
    "conductance-drift": "robustnoise_defenses.noise.memory:ConductanceDrift",
    "dac": "robustnoise_defenses.noise.quantise:DAC",
    "device-noise": "robustnoise_defenses.noise.layers:DeviceNoise",
    "fast-training": "robustnoise_defenses.adversarial_training.pgd:FastTraining",
    "gaussian-input-noise": "robustnoise_defenses.noise.inputs:GaussianInputNoise",
    "identity": "robustnoise.compose:Identity",
    "jpeg": "robustnoise_defenses.inputs.art:JPEG",
    "layer-noise": "robustnoise_defenses.noise.layers:LayerNoise",
    "median-smoothing": "robustnoise_defenses.inputs.art:MedianSmoothing",
    "noise-training": "robustnoise_defenses.noise.training:NoiseTraining",
    "output-noise": "robustnoise_defenses.outputs.scores:OutputNoise",
    "pgd-training": "robustnoise_defenses.adversarial_training.pgd:PGDTraining",
    "plain-training": "robustnoise_defenses.plain:PlainTraining",
    "pretrained": "robustnoise_defenses.plain:Pretrained",
    "random-resize": "robustnoise_defenses.inputs.resizing:RandomResize",
    "rounding": "robustnoise_defenses.outputs.scores:Rounding",
    "smoothing": "robustnoise_defenses.smoothing:Smoothing",
    "stuck-cells": "robustnoise_defenses.noise.memory:StuckCells",
    "vote": "robustnoise_defenses.voting:Vote",
    "weight-quantiser": "robustnoise_defenses.noise.quantise:WeightQuantiser",
}


def __getattr__(name: str) -> Any:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
