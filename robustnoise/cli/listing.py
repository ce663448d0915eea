"""The command plugins: all of them, those of one kind with their traits, or one in full."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robustnoise.building import describe, format_value, stands_for
from robustnoise.cli.looking import print_json
from robustnoise.cli.observing import observed
from robustnoise.errors import BrokenPlugin
from robustnoise.recipes import Recipe
from robustnoise.registry import registry
from robustnoise.spec import Plugin, allowed_values, describe_field, parameter_names

KINDS = ("attack", "crafter", "defense", "model", "substitute")
PIPED = 2000
"""Columns where output is piped: one line a plugin, whatever its length, for grep and the like."""


def show_plugins(name: str | None, files: Sequence[Path], *, json: bool) -> None:
    """All plugins and recipes, those of one kind, or one in full."""
    for path in files:
        registry().add_file(path)
    kind = None if name is None else name.removesuffix("s")
    if name is not None and kind not in KINDS:
        _show_plugin(name, json=json)
        return
    rows = [row for row in _rows() if kind in (None, row["kind"])]
    if kind is not None:
        rows = [{**row, **observed(kind, row["name"])} for row in rows]
    if json:
        print_json(rows)
    else:
        print_rows(rows, Console())


def print_rows(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """One table, a line a plugin; wrapped at the width of a terminal, and nowhere in a pipe."""
    piped = not console.is_terminal
    columns = [c for c in (rows[0] if rows else ()) if c not in ("what", "origin")]
    if len({row["kind"] for row in rows}) == 1:
        columns.remove("kind")
    table = Table(box=None if piped else rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column == "name")
    table.add_column("what it does", overflow="fold", no_wrap=piped)
    before = None
    for row in rows:
        if not piped and before not in (None, row["kind"]):
            table.add_section()
        before = row["kind"]
        table.add_row(*(escape(_cell(row[c])) for c in columns), escape(row["what"]))
    if not piped:
        console.print(table)
        return
    wide = Console(file=console.file, width=PIPED, color_system=None)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip(), file=console.file)


def _cell(value: Any) -> str:
    words = {True: "yes", False: "no", None: "-"}
    return (
        words[value] if value is None or isinstance(value, bool) else f"{value:,}" if isinstance(value, int) else value
    )


def _rows() -> list[dict[str, str]]:
    rows = []
    for entry in registry().entries():
        try:
            cls = entry.load()
            kind, what = cls.kind, (inspect.getdoc(cls) or "").partition("\n")[0]
        except BrokenPlugin as error:
            kind, what = "broken", str(error)
        rows.append({"kind": kind, "name": entry.name, "what": what, "origin": entry.origin})
    rows += [_recipe_row(recipe) for recipe in registry().recipes()]
    rows += [{"kind": "broken", "name": k, "what": v, "origin": ""} for k, v in registry().broken.items()]
    return sorted(rows, key=lambda r: (r["kind"], r["name"]))


def _recipe_row(recipe: Recipe) -> dict[str, str]:
    row = {"kind": "broken", "name": recipe.name, "what": "", "origin": recipe.origin}
    try:
        return row | {"kind": registry().find(recipe.name).kind, "what": f"{stands_for(recipe)}: {recipe.reference}"}
    except BrokenPlugin as error:
        return row | {"what": str(error)}


def _show_plugin(name: str, *, json: bool) -> None:
    cls, recipe = registry().find(name), registry().recipe(name)
    parameters = [_parameter(cls, field) for field in parameter_names(cls)]
    told = recipe.params if recipe else {}
    for p in parameters:
        p["default"] = _shown(told[p["name"]]) if p["name"] in told else p["default"]
    reference = recipe.reference if recipe else cls.reference
    if json:
        print_json({"name": name, "kind": cls.kind, "version": cls.version, "doc": inspect.getdoc(cls),
                    "reference": reference, "recipe": stands_for(recipe) if recipe else None,
                    "parameters": parameters})  # fmt: skip
        return
    print(f"{name} ({cls.kind}, version {cls.version})\n\n{inspect.getdoc(cls)}\n")
    if recipe:
        print(f"Stands for: {stands_for(recipe)}")
    if reference:
        print(f"Source: {reference}\n")
    for p in parameters:
        default = "" if p["default"] is None else f" [default: {p['default']}]"
        print(f"  {p['name']}: {p['allowed']}{default}{'. ' if p['doc'] else ''}{p['doc']}")


def _parameter(cls: type[Plugin], field: str) -> dict[str, Any]:
    f = next(f for f in dataclasses.fields(cls) if f.name == field)  # type: ignore[arg-type]
    value = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
    default = None if value is dataclasses.MISSING else _shown(value)
    return {"name": field, "allowed": allowed_values(cls, field), "default": default, "doc": describe_field(cls, field)}


def _shown(value: Any) -> str:
    return describe(value) if isinstance(value, Plugin) else format_value(value)
