"""Recipes: named settings of a plugin, which a package keeps in a TOML file beside its table of plugins.

```toml
[mi-fgsm]
plugin = "gradient"
reference = "Dong et al. 2018, arXiv 1710.06081 (MI-FGSM)"
steps = 10
momentum = 1.0
```

A recipe's name stands wherever a plugin's can. What it builds is the plugin it names, whose spec and digest know
nothing of the recipe.

Another file holds the rungs of the audit: attacks as texts, each with the place where it stands.
"""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robustnoise.errors import BrokenPlugin

RUNGS = ("null", "control", "transfer", "query", "white-box")
"""The ladder of an audit, from what can do nothing to what sees everything."""
OWN = ("plugin", "reference")
"""Keys of a recipe that are no parameters."""


@dataclass(frozen=True)
class Recipe:
    """One named setting.

    Args:
        name: as users type it.
        plugin: the registered name of the plugin that it configures.
        params: parameters that aren't the plugin's defaults.
        reference: where the setting comes from: paper and section.
        origin: distribution and version.
        package: import name of the package that it comes with.
    """

    name: str
    plugin: str
    params: Mapping[str, Any]
    reference: str
    origin: str
    package: str

    @property
    def attribute(self) -> str:
        """Its name in the package: capitals without hyphens, ``MIFGSM`` for ``mi-fgsm``."""
        return self.name.rpartition("/")[2].replace("-", "").upper()


def read_recipes(package: str, file: str, prefix: str, origin: str) -> Iterator[Recipe]:
    """The recipes in `file`, a path inside the folder of `package`.

    Raises:
        BrokenPlugin: the file is absent or no TOML, or a recipe names no plugin or no reference.
    """
    path = importlib.resources.files(package) / file
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenPlugin(f"recipes of {origin}: {file} can't be read: {error}.") from None
    for bare, table in tables.items():
        plugin, reference = (table.get(key) if isinstance(table, dict) else None for key in OWN)
        if not (isinstance(plugin, str) and plugin and isinstance(reference, str) and reference):
            raise BrokenPlugin(f"recipes of {origin}: {file}: [{bare}] needs the texts {' and '.join(OWN)}.")
        params = {key: value for key, value in table.items() if key not in OWN}
        name = f"{prefix}/{bare}" if prefix else bare
        yield Recipe(name, plugin, params, reference, origin, package)


@dataclass(frozen=True)
class Rung:
    """An attack of the audit.

    Args:
        name: as results are called; ``package/name`` for a third party's.
        rung: where it stands, one of `RUNGS`.
        attack: its text, with ``{steps}``, ``{draws}`` and ``{queries}`` for the audit to fill in.
        norm: the one that it is for; None is any.
    """

    name: str
    rung: str
    attack: str
    norm: str | None = None

    def filled(self, **numbers: int) -> str:
        """The text with its numbers."""
        text = self.attack
        for key, value in numbers.items():
            text = text.replace(f"{{{key}}}", str(value))
        return text


def read_ladder(package: str, file: str, prefix: str, origin: str) -> Iterator[Rung]:
    """The rungs in `file`, a path inside the folder of `package`.

    Raises:
        BrokenPlugin: the file is absent or no TOML, or a table has other keys than those of a `Rung`.
    """
    path = importlib.resources.files(package) / file
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenPlugin(f"ladder of {origin}: {file} can't be read: {error}.") from None
    for bare, table in tables.items():
        try:
            rung = Rung(f"{prefix}/{bare}" if prefix else bare, **table)
        except TypeError as error:
            raise BrokenPlugin(f"ladder of {origin}: {file}: [{bare}]: {error}.") from None
        if rung.rung not in RUNGS:
            raise BrokenPlugin(f"ladder of {origin}: {file}: [{bare}]: rung = {rung.rung!r}: expected {RUNGS}.")
        yield rung
