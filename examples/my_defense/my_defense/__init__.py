"""An example plugin package: names to classes, imported at first use, and a file of recipes."""

from __future__ import annotations

from typing import Any

PLUGINS = {"median-filter": "my_defense.median:MedianFilter"}
RECIPES = "recipes.toml"


def __getattr__(name: str) -> Any:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
