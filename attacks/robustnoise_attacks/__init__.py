"""The built-in attacks, an ordinary plugin package: names to classes, imported at first use."""

from __future__ import annotations

PLUGINS = {
    "apgd": "robustnoise_attacks.gradient.apgd:APGD",
    "audit": "robustnoise_attacks.audit:AuditAttack",
    "both": "robustnoise_attacks.substitutes.both:BothSubstitutes",
    "gradient": "robustnoise_attacks.gradient.crafter:Gradient",
    "independent": "robustnoise_attacks.substitutes.independent:IndependentSubstitute",
    "jacobian": "robustnoise_attacks.substitutes.jacobian:JacobianSubstitute",
    "knockoff": "robustnoise_attacks.substitutes.knockoff:KnockoffSubstitute",
    "null": "robustnoise_attacks.controls:NullAttack",
    "random-noise": "robustnoise_attacks.controls:RandomNoiseAttack",
    "transfer": "robustnoise_attacks.transfer:TransferAttack",
}
RECIPES = "recipes/crafters.toml"


def __getattr__(name: str) -> object:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
