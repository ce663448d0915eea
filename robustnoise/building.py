"""Plugins from texts, tables and specs, and back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

from robustnoise.compose import Stack, compose
from robustnoise.errors import (
    BadParameter,
    BadSpec,
    RobustnoiseError,
    did_you_mean,
)
from robustnoise.recipes import Recipe
from robustnoise.registry import registry
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
