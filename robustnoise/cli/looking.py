"""The commands that show: plugins, data, boards."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from robustnoise.cli.caching import open_store
from robustnoise.errors import BadParameter, BrokenPlugin
from robustnoise.leaderboard import Leaderboard
from robustnoise.recipes import Recipe
from robustnoise.registry import describe, format_value, registry, stands_for
from robustnoise.report.flat import csv_text
from robustnoise.report.page import Listed, index_page, page_files
from robustnoise.report.plots import require_matplotlib
from robustnoise.report.terminal import print_board, stdout
from robustnoise.spec import Plugin, allowed_values, describe_field, parameter_names
from robustnoise.store import atomic_write
from robustnoise.submission.artifacts import check_artifacts


def show_board(name: str, *, json: bool, csv: bool) -> None:
    """The rows of a board as tables, JSON or CSV.

    Raises:
        BadParameter: JSON and CSV at once.
    """
    board = Leaderboard(name)
    if json and csv:
        raise BadParameter("--json and --csv: expected one of the two.")
    if csv:
        print(csv_text(board.flat()), end="")
        return
    if json:
        _print_json(board.to_json())
        return
    print_board(stdout(), board.board.file.title or board.board.name, *board.contents(board.rows_or_advice()))


def verify_board(name: str) -> int:
    """Print every problem, and which artifacts behind the rows were re-hashed; 0 if there is no problem."""
    board = Leaderboard(name)
    problems = board.verify()
    if not problems:
        rows = board.rows()
        audits = len(board.audits())
        print(f"{len(rows)} rows{f' and {audits} audits' if audits else ''} verified.")
        artifacts = check_artifacts(rows, open_store(), board.path)
        problems = artifacts.problems
        for line in artifacts.lines():
            print(line)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def write_page(name: str, output: Path) -> None:
    """A board's page, and pages of single rows beside it where it would be too large."""
    if output.suffix != ".html":
        raise BadParameter(f"--output {output}: expected a file name that ends in .html.")
    _write(output.parent, page_files(output.name, Leaderboard(name).page_data()))


def write_index(names: Sequence[str], output: Path) -> None:
    """The pages of boards, and one that leads to them."""
    if not names:
        raise BadParameter("no board: give folders with a board.toml, folders of such, or names of shipped boards.")
    listed: list[Listed] = []
    files: dict[str, str] = {}
    for name in _boards(names):
        board = Leaderboard(name)
        data = board.page_data()
        address = re.sub(r"[^a-z0-9]+", "-", board.board.name.lower()).strip("-") + ".html"
        if address in files:
            raise BadParameter(f"two boards would be called {address}: {board.path} and another. Rename one.")
        files |= page_files(address, data)
        listed.append(Listed(address, data))
    _write(output, {"index.html": index_page("Boards", listed), **files})


def _boards(names: Sequence[str]) -> list[str]:
    """Boards themselves, and for a folder of boards those that lie in it."""
    found: list[str] = []
    for name in names:
        inside = sorted(str(p.parent) for p in Path(name).glob("*/board.toml"))
        found += inside if inside and not (Path(name) / "board.toml").exists() else [name]
    return found


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        atomic_write(folder / name, content.encode())
    first, *others = files
    beside = f" and {len(others)} more beside it" if others else ""
    print(f"{folder / first}{beside}, {sum(len(c.encode()) for c in files.values()) / 1e6:.2f} MB in all.")


def publish(source: Path, name: str) -> None:
    """Copy ranked rows from a run to a board."""
    target = Leaderboard(name)
    if target.board.curves or target.board.budget.stops:
        require_matplotlib()
    rows = Leaderboard(source).rows()
    ranked = [r for r in rows if target.ranked(r)]
    for record in ranked:
        target.add(record)
    shown = [r for r in ranked if target.board.shown(r.victim.victim["name"])]
    target.add_examples(Leaderboard(source).examples(shown).values())
    audits = [a for a in Leaderboard(source).audits() if target.board.audits(a.setting, a.victim)]
    for audit in audits:
        target.add_audit(audit)
    target.write_report()
    others = "" if len(ranked) == len(rows) else "; the others don't follow its protocol"
    too = f" and {len(audits)} audits" if audits else ""
    print(f"{len(ranked)} of {len(rows)} rows{too} published to {target.path}{others}.")


def show_data(data_dir: Path | None, *, json: bool) -> None:
    """The named datasets."""
    from robustnoise.data import list_sources

    rows = list_sources(data_dir)
    if json:
        _print_json([r._asdict() for r in rows])
        return
    table = Table("name", "images", "shape", "classes", "from", "state", "note")
    for r in rows:
        cells = (r.name, f"{r.size:,}", "x".join(map(str, r.shape)), str(r.num_classes), r.origin, r.state, r.note)
        table.add_row(*map(escape, cells))
    stdout().print(table)


def show_plugins(name: str | None, files: Sequence[Path], *, json: bool) -> None:
    """All plugins and recipes, or one in full."""
    for path in files:
        registry().add_file(path)
    if name is not None:
        _show_plugin(name, json=json)
        return
    table = Table("kind", "name", "what it does", "from")
    rows = []
    for entry in registry().entries():
        try:
            cls = entry.load()
            kind, what = cls.kind, _first_line(cls)
        except BrokenPlugin as error:
            kind, what = "broken", str(error)
        rows.append({"kind": kind, "name": entry.name, "what": what, "origin": entry.origin})
    rows += [_recipe_row(recipe) for recipe in registry().recipes()]
    rows += [{"kind": "broken", "name": k, "what": v, "origin": ""} for k, v in registry().broken.items()]
    rows.sort(key=lambda r: (r["kind"], r["name"]))
    if json:
        _print_json(rows)
        return
    for row in rows:
        table.add_row(*map(escape, (row["kind"], row["name"], row["what"], row["origin"])))
    stdout().print(table)


def _recipe_row(recipe: Recipe) -> dict[str, str]:
    row = {"name": recipe.name, "origin": recipe.origin}
    try:
        return row | {"kind": registry().find(recipe.name).kind, "what": f"{stands_for(recipe)}: {recipe.reference}"}
    except BrokenPlugin as error:
        return row | {"kind": "broken", "what": str(error)}


def _show_plugin(name: str, *, json: bool) -> None:
    cls, recipe = registry().find(name), registry().recipe(name)
    parameters = [_parameter(cls, field) for field in parameter_names(cls)]
    told = recipe.params if recipe else {}
    for p in parameters:
        p["default"] = _shown(told[p["name"]]) if p["name"] in told else p["default"]
    reference = recipe.reference if recipe else cls.reference
    if json:
        _print_json({"name": name, "kind": cls.kind, "version": cls.version, "doc": inspect.getdoc(cls),
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
    import dataclasses

    f = next(f for f in dataclasses.fields(cls) if f.name == field)  # type: ignore[arg-type]
    value = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
    if value is dataclasses.MISSING:
        default = None
    else:
        default = _shown(value)
    return {"name": field, "allowed": allowed_values(cls, field), "default": default, "doc": describe_field(cls, field)}


def _shown(value: Any) -> str:
    return describe(value) if isinstance(value, Plugin) else format_value(value)


def _first_line(cls: type[Plugin]) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))
