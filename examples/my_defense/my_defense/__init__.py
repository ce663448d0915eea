"""An example plugin package: names to classes, imported at first use."""

from __future__ import annotations

PLUGINS = {"median-filter": "my_defense.median:MedianFilter"}


def __getattr__(name: str) -> object:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
