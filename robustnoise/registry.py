"""Names to classes: entry points of installed packages, and one-file plugins given on the command line.

A package registers one entry point in the group ``robustnoise.plugins`` that points at a table ``name ->
"module:Class"``. Nothing is imported before it is asked for; a package that fails to import stays listed as broken.
Beside the table a package may name a file of recipes and one of rungs for the audit (`robustnoise.recipes`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from robustnoise.compose import Stack, compose
from robustnoise.errors import (
    BadParameter,
    BadSpec,
    BrokenPlugin,
    DuplicatePlugin,
    RobustnoiseError,
    UnknownPlugin,
    did_you_mean,
)
from robustnoise.recipes import Recipe, Rung, read_ladder, read_recipes
from robustnoise.spec import (
    WORDS,
    Call,
    Pipe,
    Plugin,
    Scalar,
    Spec,
    article,
    child_type,
    field_types,
    parameter_names,
    parse_text,
    per_class,
    positional_fields,
    required_parameters,
    silent_fields,
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
        try:
            code = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise BrokenPlugin(f"plugin file {path}: {error.strerror}. Give the path of a Python file.") from None
        # The hash in the module's name keeps two files of one name apart, and two versions of one file.
        module_name = f"robustnoise_file_{path.stem}_{code[:12]}"
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
            cause = f" Package {package!r} is broken: {self.broken[package]}." if package in self.broken else ""
            raise UnknownPlugin(
                f"no {kind or 'plugin'} {name!r}.{did_you_mean(name, names)}{cause} "
                f"'robustnoise plugins' lists all {len(names)}."
            )
        cls = entry.load()
        if kind is not None and cls.kind != kind:
            raise BadSpec(f"{name!r} is {article(cls.kind)} {cls.kind}, but {article(kind)} {kind} is expected here.")
        return cls

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


# --------------------------------------------------------------------------------------------------- specs from plugins


def spec_of(plugin: Plugin) -> Spec:
    """The identity of a configured plugin. A class that isn't registered is named by module and source code."""
    if isinstance(plugin, Stack):
        return Spec("defense", "stack", 1, {}, {str(i): spec_of(p) for i, p in enumerate(plugin.parts)})
    cls = type(plugin)
    name, code = _name_of(cls)
    params: dict[str, Scalar] = {}
    children: dict[str, Spec] = {}
    silent = silent_fields(plugin)
    for field in field_types(cls):
        value = getattr(plugin, field)
        if isinstance(value, Plugin):
            children[field] = spec_of(value)
        elif field not in silent:
            params[field] = value
    return Spec(cls.kind, name, cls.version, params, children, code)


@per_class
def _name_of(cls: type[Plugin]) -> tuple[str, str | None]:
    entry = registry().entry_of(cls)
    if entry is not None:
        return entry.name, entry.code
    if cls.unlisted:
        return cls.unlisted, None
    try:
        code = hashlib.sha256(inspect.getsource(cls).encode()).hexdigest()
    except (OSError, TypeError):
        raise BadSpec(
            f"{cls.__qualname__} is not registered and its source can't be read, so it has no identity. "
            "Put it into a file with a PLUGINS table and load it with --plugin."
        ) from None
    return f"{cls.__module__}:{cls.__qualname__}", code


def describe(plugin: Plugin) -> str:
    """The text that builds `plugin`: its first parameter and those not at their default: ``vote(passes=16)``.

    Where a recipe leaves no more parameters to tell, the text starts from it: ``mi-fgsm(steps=10)``. It must come with
    the plugin: the text is part of records, which don't depend on what else is installed.
    """
    if isinstance(plugin, Stack):
        return " | ".join(describe(p) for p in plugin.parts)
    called = _name_of(type(plugin))[0]
    entry = registry().entry_of(type(plugin))
    own = [r for r in registry().recipes() if entry and (r.plugin, r.origin) == (called, entry.origin)]
    candidates = [(r.name, _told(plugin, r)) for r in own]
    candidates.append((called, _told(plugin, None)))
    name, told = min(((n, t) for n, t in candidates if t is not None), key=lambda c: len(c[1]))
    shown = [
        f"{field}={describe(value) if isinstance(value, Plugin) else format_value(value)}"
        for field, value in told.items()
    ]
    return f"{name}({', '.join(shown)})" if shown else name


def _told(plugin: Plugin, recipe: Recipe | None) -> dict[str, Any] | None:
    """The parameters that a text starting from `recipe` tells; None where the recipe doesn't fit the others."""
    cls = type(plugin)
    params = recipe.params if recipe else {}
    try:
        given: Any = dataclasses.replace(plugin, **{k: _value(cls, k, v) for k, v in params.items()})  # type: ignore[type-var]
    except (BadParameter, BadSpec, TypeError):
        return None
    told: dict[str, Any] = {}
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    leading = positional_fields(cls)[:1]
    for name in parameter_names(cls):
        f, value = fields[name], getattr(plugin, name)
        if name in params:
            default = getattr(given, name)
        elif f.default is not dataclasses.MISSING:
            default = f.default
        elif f.default_factory is not dataclasses.MISSING:
            default = f.default_factory()
        else:
            default = dataclasses.MISSING
        if value != default or (name in leading and not isinstance(value, Plugin)):
            told[name] = value
    return told


def stands_for(recipe: Recipe) -> str:
    """The text that a recipe is short for: ``gradient(steps=10, momentum=1)``."""
    told = [f"{name}={format_value(value)}" for name, value in recipe.params.items()]
    return f"{recipe.plugin}({', '.join(told)})" if told else recipe.plugin


def format_value(value: Scalar) -> str:
    """A parameter as the grammar reads it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:.12g}"
        return short if float(short) == value else repr(value)  # 8/255 needs all its digits
    if isinstance(value, str) and not (re.fullmatch(r"[A-Za-z_][\w-]*", value) and value.lower() not in WORDS):
        return f"'{value}'" if '"' in value else f'"{value}"'
    return str(value)


# --------------------------------------------------------------------------------------------------- plugins from specs


def create(kind: str, name: str, **params: Any) -> Any:
    """The plugin or recipe `name` of `kind` with `params`; children may be plugins, texts or parsed trees.

    Raises:
        UnknownPlugin, BadSpec, BadParameter, BrokenPlugin.
    """
    return _build(Call(name, (), params), kind)


def build(value: str | Mapping[str, Any], kind: str) -> Any:
    """A plugin from a text (``"pgd(steps=10)"``) or a table (``{name = "pgd", steps = 10}``).

    Raises:
        UnknownPlugin, BadSpec, BadParameter, BrokenPlugin.
    """
    if isinstance(value, str):
        return _build(parse_text(value), kind)
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise BadSpec(f"{value!r}: expected a text such as 'pgd(steps=10)' or a table with a name.")
    params = {k: v for k, v in value.items() if k != "name"}
    return _build(Call(value["name"], (), params), kind)


def build_call(call: Call) -> Any:
    """The plugin of a parsed ``name(...)``, whatever its kind.

    Raises:
        UnknownPlugin, BadSpec, BadParameter, BrokenPlugin.
    """
    return _build(call, registry().find(call.name).kind)


def from_json(plain: Mapping[str, Any]) -> Any:
    """The inverse of ``spec_of(plugin).to_json()``.

    A recipe's name is read as well: ``pgd`` was a plugin before it became a recipe.

    Raises:
        BadSpec: the installed plugin has another version than the recorded one.
    """
    if plain["name"] == "stack":
        children = plain["children"]
        return compose(*(from_json(children[str(i)]) for i in range(len(children))))
    cls = registry().find(plain["name"], plain["kind"])
    if cls.version != plain["version"]:
        raise BadSpec(f"{plain['name']!r} was recorded at version {plain['version']}; installed is {cls.version}.")
    params = {k: math.inf if v == "inf" else -math.inf if v == "-inf" else v for k, v in plain["params"].items()}
    recipe = registry().recipe(plain["name"])
    if recipe is not None:
        params = {k: _value(cls, k, v) for k, v in recipe.params.items()} | params
    return cls(**params, **{k: from_json(v) for k, v in plain["children"].items()})


def written_out(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A spec as JSON with every recipe's name replaced by the plugin that it configures; all else as it is."""
    if registry().recipe(plain["name"]) is not None:
        with contextlib.suppress(RobustnoiseError, TypeError):  # a setting that is no more stays what it was called
            return spec_of(from_json(plain)).to_json()
    return {**plain, "children": {k: written_out(v) for k, v in plain["children"].items()}}


def _build(tree: Call | Pipe, kind: str) -> Any:
    if isinstance(tree, Pipe):
        if kind != "defense":
            raise BadSpec(f"'|' composes defenses; {article(kind)} {kind} is expected here.")
        return compose(*(_build(stage, kind) for stage in tree.stages))
    cls = registry().find(tree.name, kind)
    names, positional = parameter_names(cls), positional_fields(cls)
    if len(tree.args) > len(positional):
        raise BadParameter(
            f"{tree.name}: {len(tree.args)} values given by position, but it takes {len(positional)} "
            f"({', '.join(positional) or 'none'}). Name the others: {', '.join(names)}."
        )
    params: dict[str, Any] = dict(zip(positional, tree.args, strict=False))
    for key, value in tree.kwargs.items():
        if key not in names:
            raise BadParameter(
                f"{tree.name}: unknown parameter {key!r}.{did_you_mean(key, names)} "
                f"It has: {', '.join(names) or 'none'}."
            )
        if key in params:
            raise BadParameter(f"{tree.name}: {key!r} is given twice, by position and by name.")
        params[key] = value
    recipe = registry().recipe(tree.name)
    if recipe is not None:
        params = {**recipe.params, **params}
    missing = [name for name in required_parameters(cls) if name not in params]
    if missing:
        raise BadParameter(f"{tree.name}: {', '.join(map(repr, missing))} must be given.")
    return cls(**{name: _value(cls, name, value) for name, value in params.items()})


def _value(cls: type[Plugin], field: str, value: Any) -> Any:
    child = child_type(cls, field)
    if child is not None:
        if isinstance(value, Call | Pipe):
            return _build(value, child.kind)
        return build(value, child.kind) if isinstance(value, str | Mapping) else value
    if isinstance(value, Call) and not value.args and not value.kwargs:
        return value.name  # a bare word is a text
    if isinstance(value, Call | Pipe):
        raise BadParameter(f"{cls.__name__}: {field} takes no plugin.")
    return value
