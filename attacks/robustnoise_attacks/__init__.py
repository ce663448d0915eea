"""The built-in attacks, an ordinary plugin package: names to classes, imported at first use."""

from __future__ import annotations

PLUGINS = {
    "art": "robustnoise_attacks.adapters.art:ArtAttack",
    "art-crafter": "robustnoise_attacks.adapters.art:ArtCrafter",
    "art-extraction": "robustnoise_attacks.adapters.art_extraction:ArtExtraction",
    "fgsm": "robustnoise_attacks.gradient.crafters:FGSM",
    "foolbox": "robustnoise_attacks.adapters.foolbox:FoolboxAttack",
    "foolbox-crafter": "robustnoise_attacks.adapters.foolbox:FoolboxCrafter",
    "independent": "robustnoise_attacks.substitutes.independent:IndependentSubstitute",
    "jacobian": "robustnoise_attacks.substitutes.jacobian:JacobianSubstitute",
    "mi-fgsm": "robustnoise_attacks.gradient.crafters:MIFGSM",
    "null": "robustnoise_attacks.controls:NullAttack",
    "pgd": "robustnoise_attacks.gradient.crafters:PGD",
    "random-noise": "robustnoise_attacks.controls:RandomNoiseAttack",
    "transfer": "robustnoise_attacks.transfer:TransferAttack",
}


def __getattr__(name: str) -> object:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
