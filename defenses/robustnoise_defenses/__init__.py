"""The built-in defenses, an ordinary plugin package: names to classes, imported at first use."""

from __future__ import annotations

PLUGINS = {
    "fast-training": "robustnoise_defenses.adversarial_training.pgd:FastTraining",
    "gaussian-input-noise": "robustnoise_defenses.noise.inputs:GaussianInputNoise",
    "identity": "robustnoise.compose:Identity",
    "layer-noise": "robustnoise_defenses.noise.layers:LayerNoise",
    "pgd-training": "robustnoise_defenses.adversarial_training.pgd:PGDTraining",
    "plain-training": "robustnoise_defenses.plain:PlainTraining",
    "pretrained": "robustnoise_defenses.plain:Pretrained",
    "vote": "robustnoise_defenses.voting:Vote",
}


def __getattr__(name: str) -> object:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
