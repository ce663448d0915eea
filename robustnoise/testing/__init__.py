"""For plugin authors: contracts that every plugin must keep, and toys to try it on. See docs/plugins.md."""

from __future__ import annotations

from robustnoise.testing.attacks import check_attack, check_crafter, check_substitute
from robustnoise.testing.common import check_spec, quick
from robustnoise.testing.contracts import check_plugin
from robustnoise.testing.defenses import check_defense, check_model
from robustnoise.testing.toys import CoinClassifier, linear_optimum, linear_toy, toy_dataset, toy_model, toy_split

__all__ = [
    "CoinClassifier",
    "check_attack",
    "check_crafter",
    "check_defense",
    "check_model",
    "check_plugin",
    "check_spec",
    "check_substitute",
    "linear_optimum",
    "linear_toy",
    "quick",
    "toy_dataset",
    "toy_model",
    "toy_split",
]
