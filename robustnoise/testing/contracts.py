"""What every plugin promises, as functions that raise `AssertionError` naming the broken contract.

``check_plugin(MyDefense(sigma=0.1))`` runs all that apply; one check takes a second or so, because `quick` first
shortens trainings and shrinks the networks that a plugin trains.
"""

from __future__ import annotations

from robustnoise.compose import Defense
from robustnoise.protocols import (
    BlackBoxAttack,
    Crafter,
    Model,
    Substitute,
)
from robustnoise.spec import Plugin
from robustnoise.testing.attacks import check_attack, check_crafter, check_substitute
from robustnoise.testing.defenses import check_defense, check_model


def check_plugin(plugin: Plugin) -> None:
    """Every contract of the plugin's kind.

    Raises:
        AssertionError: a contract is broken; the message names it.
    """
    if isinstance(plugin, Defense):
        check_defense(plugin)
    elif isinstance(plugin, BlackBoxAttack):
        check_attack(plugin)
    elif isinstance(plugin, Crafter):
        check_crafter(plugin)
    elif isinstance(plugin, Substitute):
        check_substitute(plugin)
    elif isinstance(plugin, Model):
        check_model(plugin)
    else:
        raise AssertionError(f"{type(plugin).__name__} is no defense, attack, crafter, substitute or model.")
