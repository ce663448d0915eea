"""The commands that show: data, boards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from robustnoise.cli.caching import open_store
from robustnoise.cli.progress import bars_in_terminals
from robustnoise.errors import BadParameter
from robustnoise.leaderboard import Leaderboard
from robustnoise.report.flat import csv_text
from robustnoise.report.page import Listed, index_page, page_files
from robustnoise.report.parts import board_parts
from robustnoise.report.plots import require_matplotlib
from robustnoise.report.terminal import print_parts, stdout
from robustnoise.store import atomic_write
from robustnoise.submission.artifacts import check_artifacts


def show_board(name: str, *, json: bool, csv: bool) -> None:
    """The rows of a board as tables, JSON or CSV.

    Raises:
        BadParameter: JSON and CSV at once.
    """
    if json and csv:
        raise BadParameter("--json and --csv: expected one of the two.")
    with bars_in_terminals() as progress:
        board = Leaderboard(name, progress)
        rows = board.rows_or_advice()
        found: Any = board.flat() if csv else board.to_json() if json else board.contents(rows)
    if csv:
        print(csv_text(found), end="")
    elif json:
        print_json(found)
    else:
        print_parts(stdout(), board_parts(board.board.file.title or board.board.name, found))


def verify_board(name: str) -> int:
    """Print every problem, and which artifacts behind the rows were re-hashed; 0 if there is no problem."""
    with bars_in_terminals() as progress:
        board = Leaderboard(name, progress)
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
    with bars_in_terminals() as progress:
        data = Leaderboard(name, progress).page_data()
    _write(output.parent, page_files(output.name, data))


def write_index(names: Sequence[str], output: Path) -> None:
    """The pages of boards, and one that leads to them."""
    if not names:
        raise BadParameter("no board: give folders with a board.toml, folders of such, or names of shipped boards.")
    listed: list[Listed] = []
    files: dict[str, str] = {}
    for name in _boards(names):
        with bars_in_terminals() as progress:
            board = Leaderboard(name, progress)
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


def write_report(name: str) -> None:
    """REPORT.md and the pictures of a board."""
    with bars_in_terminals() as progress:
        path = Leaderboard(name, progress).write_report()
    print(path)


def publish(source: Path, name: str) -> None:
    """Copy ranked rows from a run to a board, all or none.

    Raises:
        RowError: some can't be added; the message names each of them.
    """
    target = Leaderboard(name)
    if target.board.curves or target.board.budget.stops:
        require_matplotlib()
    origin = Leaderboard(source)
    rows = origin.rows()
    ranked = [r for r in rows if target.ranked(r)]
    examples = origin.examples([r for r in ranked if target.board.shown(r.victim.victim["name"])])
    audits = [a for a in origin.audits() if target.board.audits(a.setting, a.victim)]
    target.add(*ranked, *audits)
    target.add_examples(examples.values())
    with bars_in_terminals() as progress:
        Leaderboard(name, progress).write_report()
    others = "" if len(ranked) == len(rows) else "; the others don't follow its protocol"
    too = f" and {len(audits)} audits" if audits else ""
    print(f"{len(ranked)} of {len(rows)} rows{too} published to {target.path}{others}.")


def show_data(data_dir: Path | None, *, json: bool) -> None:
    """The named datasets."""
    from robustnoise.data import list_sources

    rows = list_sources(data_dir)
    if json:
        print_json([r._asdict() for r in rows])
        return
    table = Table("name", "images", "shape", "classes", "from", "state", "note")
    for r in rows:
        cells = (r.name, f"{r.size:,}", "x".join(map(str, r.shape)), str(r.num_classes), r.origin, r.state, r.note)
        table.add_row(*map(escape, cells))
    stdout().print(table)


def print_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=1, allow_nan=False))
