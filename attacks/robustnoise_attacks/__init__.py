"""The built-in attacks, an ordinary plugin package: names to classes, imported at first use."""

from __future__ import annotations

from typing import Any

PLUGINS = {
    "apgd": "robustnoise_attacks.gradient.apgd:APGD",
    "art": "robustnoise_attacks.adapters.art:ArtAttack",
    "art-crafter": "robustnoise_attacks.adapters.art:ArtCrafter",
    "art-extraction": "robustnoise_attacks.adapters.art_extraction:ArtExtraction",
    "audit": "robustnoise_attacks.audit:AuditAttack",
    "both": "robustnoise_attacks.substitutes.both:BothSubstitutes",
    "foolbox": "robustnoise_attacks.adapters.foolbox:FoolboxAttack",
    "foolbox-crafter": "robustnoise_attacks.adapters.foolbox:FoolboxCrafter",
    "gradient": "robustnoise_attacks.gradient.crafter:Gradient",
    "hop-skip-jump": "robustnoise_attacks.query.hop_skip_jump:HopSkipJump",
    "independent": "robustnoise_attacks.substitutes.independent:IndependentSubstitute",
    "jacobian": "robustnoise_attacks.substitutes.jacobian:JacobianSubstitute",
    "knockoff": "robustnoise_attacks.substitutes.knockoff:KnockoffSubstitute",
    "null": "robustnoise_attacks.controls:NullAttack",
    "random-noise": "robustnoise_attacks.controls:RandomNoiseAttack",
    "nes": "robustnoise_attacks.query.nes:NES",
    "rays": "robustnoise_attacks.query.rays:RayS",
    "sign-flip": "robustnoise_attacks.query.sign_flip:SignFlip",
    "simba": "robustnoise_attacks.query.simba:SimBA",
    "square": "robustnoise_attacks.query.square:Square",
    "transfer": "robustnoise_attacks.transfer:TransferAttack",
}
RECIPES = "recipes/crafters.toml"
LADDER = "recipes/ladder.toml"


def __getattr__(name: str) -> Any:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
