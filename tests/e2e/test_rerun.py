"""Running a finished board again, where it isn't shown from memory, reads what it needs once, and loads little."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from robustnoise.records import EvaluationRecord
from robustnoise.store import Cell, Store
from tests.e2e.conftest import BOARD, environment, robustnoise

HEAVY = ("sklearn", "scipy.stats", "scipy.optimize", "pandas", "sympy", "matplotlib", "torchvision", "art", "foolbox",
         "joblib", "ray")  # fmt: skip
AGAIN = f"""
import sys
from robustnoise.cli import main
sys.argv[1:] = ["run", "board", "--output", "out"]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules])
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished board, its store and its rows."""
    base = tmp_path_factory.mktemp("finished")
    (base / "board").mkdir()
    (base / "board" / "board.toml").write_text(BOARD)
    done = robustnoise(base / "cache", ["run", "board", "--output", "out"], base)
    assert done.returncode == 0, done.stderr
    return base


def test_a_finished_board_is_found_without_loading_what_only_computing_needs(finished: Path) -> None:
    before = _contents(finished)
    again = subprocess.run(
        [sys.executable, "-c", AGAIN], cwd=finished, env=environment(finished / "cache"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == "loaded:"
    assert _contents(finished) == before


def _contents(folder: Path) -> dict[Path, bytes]:
    """Of all files but the memos of what was shown."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.parent.name != "again"}


def test_each_row_is_parsed_once_and_each_score_is_read_once(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, records, outputs = Counter[str](), Counter[str](), Counter[str]()
    from_json, get, read = EvaluationRecord.from_json, Store.get, Store.read

    def counted_from_json(plain: Mapping[str, Any]) -> EvaluationRecord:
        parsed[plain["digest"]] += 1
        return from_json(plain)

    def counted_get(store: Store, stage: str, inputs: Mapping[str, Any]) -> Cell | None:
        cell = get(store, stage, inputs)
        records.update([cell.key] if cell is not None and stage in ("score", "agreement") else [])
        return cell

    def counted_read(store: Store, cell: Cell, name: str) -> bytes:
        outputs.update([cell.key] if cell.stage == "score" else [])
        return read(store, cell, name)

    monkeypatch.setattr(EvaluationRecord, "from_json", counted_from_json)
    monkeypatch.setattr(Store, "get", counted_get)
    monkeypatch.setattr(Store, "read", counted_read)
    assert robustnoise(finished / "cache", ["run", "board", "--output", "out"], finished).returncode == 0
    store = finished / "cache" / "store" / "cells"
    assert parsed == dict.fromkeys((p.stem for p in (finished / "out" / "rows").iterdir()), 1)
    assert outputs == dict.fromkeys((p.stem for p in (store / "score").iterdir()), 1)
    assert records == outputs + Counter(p.stem for p in (store / "agreement").iterdir())


def test_help_loads_neither_torch_nor_numpy(finished: Path) -> None:
    names = ("torch", "numpy", "scipy")
    code = f"import sys, robustnoise.cli.app\nprint(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=finished, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
