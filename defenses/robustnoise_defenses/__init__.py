"""The built-in defenses, an ordinary plugin package: names to classes, imported at first use."""

from __future__ import annotations

from typing import Any

PLUGINS = {
    "aaa": "robustnoise_defenses.outputs.aaa:AAA",
    "absolute-noise": "robustnoise_defenses.noise.absolute:AbsoluteNoise",
    "adaptive-vote": "robustnoise_defenses.adaptive_voting:AdaptiveVote",
    "adc": "robustnoise_defenses.noise.quantise:ADC",
    "baseline": "robustnoise_defenses.baselines:Baseline",
    "bit-depth": "robustnoise_defenses.inputs.art:BitDepth",
    "conductance-drift": "robustnoise_defenses.noise.memory:ConductanceDrift",
    "dac": "robustnoise_defenses.noise.quantise:DAC",
    "device-noise": "robustnoise_defenses.noise.layers:DeviceNoise",
    "ensemble-training": "robustnoise_defenses.adversarial_training.ensemble:EnsembleTraining",
    "fast-training": "robustnoise_defenses.adversarial_training.pgd:FastTraining",
    "free-training": "robustnoise_defenses.adversarial_training.free:FreeTraining",
    "gaussian-augmentation": "robustnoise_defenses.noise.augmentation:GaussianAugmentation",
    "gaussian-input-noise": "robustnoise_defenses.noise.inputs:GaussianInputNoise",
    "identity": "robustnoise.compose:Identity",
    "jpeg": "robustnoise_defenses.inputs.art:JPEG",
    "layer-noise": "robustnoise_defenses.noise.layers:LayerNoise",
    "mart-training": "robustnoise_defenses.adversarial_training.mart:MartTraining",
    "median-smoothing": "robustnoise_defenses.inputs.art:MedianSmoothing",
    "noise-training": "robustnoise_defenses.noise.training:NoiseTraining",
    "output-noise": "robustnoise_defenses.outputs.scores:OutputNoise",
    "pgd-training": "robustnoise_defenses.adversarial_training.pgd:PGDTraining",
    "plain-training": "robustnoise_defenses.plain:PlainTraining",
    "pni": "robustnoise_defenses.noise.learned:PNI",
    "pni-net": "robustnoise_defenses.noise.learned:PNINet",
    "pretrained": "robustnoise_defenses.plain:Pretrained",
    "random-resize": "robustnoise_defenses.inputs.resizing:RandomResize",
    "rounding": "robustnoise_defenses.outputs.scores:Rounding",
    "smoothing": "robustnoise_defenses.smoothing:Smoothing",
    "stuck-cells": "robustnoise_defenses.noise.memory:StuckCells",
    "trades-training": "robustnoise_defenses.adversarial_training.trades:TradesTraining",
    "vote": "robustnoise_defenses.voting:Vote",
    "weight-perturbation": "robustnoise_defenses.adversarial_training.weights:WeightPerturbation",
    "weight-quantiser": "robustnoise_defenses.noise.quantise:WeightQuantiser",
}
RECIPES = "recipes/noise.toml"


def __getattr__(name: str) -> Any:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
