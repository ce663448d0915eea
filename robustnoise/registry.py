"""Names to classes: entry points of installed packages, and one-file plugins given on the command line.

A package registers one entry point in the group ``robustnoise.plugins`` that points at a table ``name ->
"module:Class"``. Nothing is imported before it is asked for; a package that fails to import stays listed as broken.
Beside the table a package may name a file of recipes and one of rungs for the audit (`robustnoise.recipes`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from robustnoise.errors import (
    BadSpec,
    BrokenPlugin,
    DuplicatePlugin,
    UnknownPlugin,
    did_you_mean,
)
from robustnoise.recipes import Recipe, Rung, read_ladder, read_recipes
from robustnoise.spec import (
    Plugin,
    article,
    child_type,
    field_types,
)

GROUP = "robustnoise.plugins"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One registered name.

    Args:
        name: as users type it.
        target: ``"module:Class"``.
        origin: distribution and version, or the path of a one-file plugin.
        code: sha256 of a one-file plugin; None for an installed one.
    """

    name: str
    target: str
    origin: str
    code: str | None = None

    def load(self) -> type[Plugin]:
        """Import the class.

        Raises:
            BrokenPlugin: the import fails, or the target is no plugin.
        """
        module, _, attribute = self.target.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            # A third party's module may raise anything while it is imported; the cause is kept and named.
            raise BrokenPlugin(
                f"plugin {self.name!r} of {self.origin} can't be imported ({self.target}): "
                f"{type(error).__name__}: {error}."
            ) from error
        if not (isinstance(found, type) and issubclass(found, Plugin) and dataclasses.is_dataclass(found)):
            raise BrokenPlugin(f"plugin {self.name!r} of {self.origin}: {self.target} is no dataclass based on Plugin.")
        return found


class Registry:
    """All known plugins of a process."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._recipes: dict[str, Recipe] = {}
        self._rungs: dict[str, Rung] = {}
        self.broken: dict[str, str] = {}
        """Packages whose table can't be read, with the cause."""

    def add(self, prefix: str, table: Mapping[str, str], origin: str, code: str | None = None) -> None:
        """Register a table.

        Raises:
            DuplicatePlugin: a name is already taken.
        """
        for bare, target in table.items():
            name = f"{prefix}/{bare}" if prefix else bare
            known = self._entries.get(name)
            if known is not None and known.target == target and known.code == code:
                continue
            self._refuse_known(name, f"{origin} ({target})")
            self._entries[name] = Entry(name, target, origin, code)

    def add_recipe(self, recipe: Recipe) -> None:
        """Register a recipe.

        Raises:
            DuplicatePlugin: its name is already taken, by a plugin or by another recipe.
        """
        if self._recipes.get(recipe.name) == recipe:
            return
        self._refuse_known(recipe.name, f"{recipe.origin} (a recipe for {recipe.plugin})")
        self._recipes[recipe.name] = recipe

    def _refuse_known(self, name: str, newcomer: str) -> None:
        entry, recipe = self._entries.get(name), self._recipes.get(name)
        known = f"{entry.origin} ({entry.target})" if entry else ""
        known = f"{recipe.origin} (a recipe for {recipe.plugin})" if recipe else known
        if known:
            raise DuplicatePlugin(f"the name {name!r} is registered twice: by {known} and by {newcomer}.")

    def add_file(self, path: Path) -> None:
        """Register a one-file plugin, which defines ``PLUGINS = {name: "Class"}``; its names start with the file's.

        Raises:
            BrokenPlugin: the file is absent, fails to import, or has no such table.
        """
        module_name, code = _file_module(path)
        if module_name not in sys.modules:
            module_spec = importlib.util.spec_from_file_location(module_name, path)
            if module_spec is None or module_spec.loader is None:
                raise BrokenPlugin(f"plugin file {path}: not a Python file.")
            module = importlib.util.module_from_spec(module_spec)
            sys.modules[module_name] = module
            try:
                module_spec.loader.exec_module(module)
            except Exception as error:
                del sys.modules[module_name]
                raise BrokenPlugin(f"plugin file {path}: {type(error).__name__}: {error}.") from error
        table = getattr(sys.modules[module_name], "PLUGINS", None)
        if not isinstance(table, dict):
            raise BrokenPlugin(f'plugin file {path}: defines no table PLUGINS = {{"name": "Class"}}.')
        self.add(path.stem, {name: f"{module_name}:{cls}" for name, cls in table.items()}, str(path.name), code)

    def add_entry_point(self, point: EntryPoint) -> None:
        """Register an installed package and its recipes; one that fails is kept in `broken`."""
        dist = point.dist
        origin = f"{dist.name} {dist.version}" if dist else point.value
        prefix = prefix_of(point)
        try:
            table = point.load()
            # Not getattr: the package's own __getattr__ may ask this registry, which isn't there yet.
            package = vars(sys.modules[point.module])
            file, ladder = package.get("RECIPES"), package.get("LADDER")
            recipes = list(read_recipes(point.module, file, prefix, origin)) if file else []
            rungs = list(read_ladder(point.module, ladder, prefix, origin)) if ladder else []
        except Exception as error:  # noqa: BLE001 - a third party's import may raise anything; it is kept as broken
            self.broken[point.name] = f"{origin}: {type(error).__name__}: {error}"
            return
        self.add(prefix, table, origin)
        for recipe in recipes:
            self.add_recipe(recipe)
        self._rungs |= {rung.name: rung for rung in rungs}

    def entries(self) -> list[Entry]:
        """Every registered plugin, sorted by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    def recipes(self) -> list[Recipe]:
        """Every recipe, in the order of its package's file."""
        return list(self._recipes.values())

    def recipe(self, name: str) -> Recipe | None:
        """The recipe called `name`, or None."""
        return self._recipes.get(name)

    def ladder(self) -> list[Rung]:
        """What an audit attacks with, in the order of the packages' files."""
        return list(self._rungs.values())

    def find(self, name: str, kind: str | None = None) -> type[Plugin]:
        """The class registered as `name`, or that the recipe of that name configures.

        Raises:
            UnknownPlugin: with the nearest name and how many there are.
            BadSpec: it is of another kind.
            BrokenPlugin: it can't be imported.
        """
        recipe = self._recipes.get(name)
        entry = self._entries.get(recipe.plugin if recipe else name)
        if recipe is not None and entry is None:
            raise BrokenPlugin(f"recipe {name!r} of {recipe.origin} is for {recipe.plugin!r}, which is no plugin.")
        if entry is None:
            names = [e.name for e in self.entries() if kind is None or self._kind_of(e) == kind]
            names += [r.name for r in self.recipes() if r.plugin in names]
            package = name.split("/", maxsplit=1)[0]
            advice = did_you_mean(name, names)
            if package in self.broken:
                advice += f" Package {package!r} is broken: {self.broken[package]}."
            elif "/" in name and not any(e.name.startswith(f"{package}/") for e in self.entries()):
                advice = (
                    f" No package {package!r} is installed: 'pip install -e FOLDER', or give its one file by --plugin."
                )
            raise UnknownPlugin(
                f"no {kind or 'plugin'} {name!r}.{advice} 'robustnoise plugins' lists all {len(names)}."
            )
        cls = entry.load()
        if kind is not None and cls.kind != kind:
            takers = self._takers(kind, cls)
            advice = (
                f" These {kind}s take one: {', '.join(takers)}; 'robustnoise plugins {takers[0]}' shows how."
                if takers
                else ""
            )
            raise BadSpec(
                f"{name!r} is {article(cls.kind)} {cls.kind}, but {article(kind)} {kind} is expected here.{advice}"
            )
        return cls

    def _takers(self, kind: str, given: type[Plugin]) -> list[str]:
        """The plugins of a kind that hold one such as `given`."""
        found = []
        for entry in self.entries():
            if self._kind_of(entry) == kind:
                held = [child_type(entry.load(), name) for name in field_types(entry.load())]
                if any(child is not None and issubclass(given, child) for child in held):
                    found.append(entry.name)
        return sorted(found)

    @staticmethod
    def _kind_of(entry: Entry) -> str | None:
        try:
            return entry.load().kind
        except BrokenPlugin:
            return None

    def entry_of(self, cls: type[Plugin]) -> Entry | None:
        """The entry that leads to `cls`, or None."""
        target = f"{cls.__module__}:{cls.__qualname__}"
        for entry in self._entries.values():
            if entry.target == target:
                return entry
        for entry in self._entries.values():
            # A table may name a package that re-exports the class.
            if entry.target.endswith(f":{cls.__name__}") and self._kind_of(entry) and entry.load() is cls:
                return entry
        return None


def is_loaded(path: Path) -> bool:
    """Whether a one-file plugin is in this process as its file is now.

    Raises:
        BrokenPlugin: there is no file.
    """
    return _file_module(path)[0] in sys.modules


def _file_module(path: Path) -> tuple[str, str]:
    """The name of the module that a one-file plugin becomes, and the file's sha256."""
    try:
        code = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BrokenPlugin(f"plugin file {path}: {error.strerror}. Give the path of a Python file.") from None
    # The hash in the module's name keeps two files of one name apart, and two versions of one file.
    return f"robustnoise_file_{path.stem}_{code[:12]}", code


def prefix_of(point: EntryPoint) -> str:
    """What stands before the names of a package's plugins: nothing before our own."""
    return "" if point.dist and point.dist.name == "robustnoise" else point.name


@functools.cache
def registry() -> Registry:
    """The registry of this process, filled from the installed packages."""
    found = Registry()
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        found.add_entry_point(point)
    return found
