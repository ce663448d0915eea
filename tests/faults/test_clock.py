"""No result rests on the time of day, which may go back, or on the times of files."""

from __future__ import annotations

import ast
import itertools
import os
import time
from pathlib import Path

import pytest

from benchmarks.small_board import finish, make_board
from robustnoise.store import Store
from tests.faults.conftest import Finished

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for folder in ("robustnoise", "attacks", "defenses") for p in (ROOT / folder).rglob("*.py"))
CLOCKS = {"time.time", "time.time_ns", "time.localtime", "time.gmtime", "datetime.now", "datetime.datetime.now",
          "datetime.today", "datetime.utcnow", "os.path.getmtime"}  # fmt: skip
ALLOWED = {"provenance.py": "says when", "exchange.py": "an endpoint gave a date to come back at",
           "touched.py": "a finished board is shown again without a look at it, or with one",
           "again.py": "the memo that was used least lately goes; a board without one is looked at"}  # fmt: skip


def _clocks(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr.startswith(("st_mtime", "st_ctime", "st_atime")):
            found.add(node.attr)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in CLOCKS:
            found.add(ast.unparse(node.func))
    return found


def test_nothing_asks_what_time_it_is_but_to_say_so() -> None:
    asking = {path.name for path in SOURCES if _clocks(path)}
    assert asking == set(ALLOWED)


def test_a_clock_that_goes_back_and_files_from_the_future_change_no_row(
    undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(back)))
    folder, store = make_board(tmp_path / "board"), Store(tmp_path / "store")
    assert finish(folder, store) == undisturbed.outcomes
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        os.utime(path, (4_000_000_000, 4_000_000_000))
    before = {p: p.read_bytes() for p in store.cells()}
    assert finish(folder, store) == undisturbed.outcomes
    assert {p: p.read_bytes() for p in store.cells()} == before
