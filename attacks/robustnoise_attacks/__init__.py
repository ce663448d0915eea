"""The built-in attacks, an ordinary plugin package: names to classes, imported at first use."""

from __future__ import annotations

PLUGINS = {
    "fgsm": "robustnoise_attacks.gradient.crafters:FGSM",
    "independent": "robustnoise_attacks.substitutes.independent:IndependentSubstitute",
    "jacobian": "robustnoise_attacks.substitutes.jacobian:JacobianSubstitute",
    "mi-fgsm": "robustnoise_attacks.gradient.crafters:MIFGSM",
    "null": "robustnoise_attacks.controls:NullAttack",
    "pgd": "robustnoise_attacks.gradient.crafters:PGD",
    "random-noise": "robustnoise_attacks.controls:RandomNoiseAttack",
    "nes": "robustnoise_attacks.query.nes:NES",
    "simba": "robustnoise_attacks.query.simba:SimBA",
    "square": "robustnoise_attacks.query.square:Square",
    "transfer": "robustnoise_attacks.transfer:TransferAttack",
}


def __getattr__(name: str) -> object:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
