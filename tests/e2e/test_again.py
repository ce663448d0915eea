"""A finished board is shown again without torch, until anything changes that it was made from."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from benchmarks.small_board import BOARD
from robustnoise.cli import again, touched
from robustnoise.cli.again import UNCHANGED, Ran, unless_unchanged
from robustnoise.data import load_pool
from robustnoise.data.locate import folders
from robustnoise.report.shown import Line, Part, Table
from robustnoise.store import Store
from tests.e2e.conftest import environment

PLUGIN = """
from dataclasses import dataclass
from robustnoise.api import Defense, DefenseTraits, Stage
@dataclass(frozen=True)
class Nothing(Defense):
    traits = DefenseTraits(Stage.INFERENCE)
    def apply(self, model, ctx):
        return model
PLUGINS = {"nothing": "Nothing"}
"""
ARGUMENTS = ["run", "board", "--output", "out", "--plugin", "mine.py", "--data-dir", "data"]
COMMAND = f"""
import sys
from robustnoise.cli import main
sys.argv[1:] = {ARGUMENTS!r} + sys.argv[1:]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", *[name for name in ("torch", "numpy", "scipy") if name in sys.modules])
"""


def run(base: Path, *more: str) -> list[str]:
    """What the command says, line by line."""
    extra = os.pathsep.join([str(base / "extra"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *more], cwd=base, env=environment(base / "cache") | {"PYTHONPATH": extra},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def state(base: Path) -> dict[Path, tuple[bytes, int]]:
    """Contents and times of everything."""
    return {p: (p.read_bytes() if p.is_file() else b"", p.stat().st_mtime_ns) for p in base.rglob("*")}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with a finished board, and what its only run showed."""
    base = tmp_path_factory.mktemp("again")
    for name in ("board", "data", "extra"):
        (base / name).mkdir()
    digits = load_pool("digits")
    np.savez(base / "mine.npz", x=digits.images, y=digits.labels)
    text = (
        BOARD.replace('"digits"', '"mine.npz"')
        .replace("epochs=8", "epochs=60")
        .replace("sigma=0.2) |", "sigma=0.2) | mine/nothing |")
    )
    assert text.count("mine") == 2
    (base / "board" / "board.toml").write_text(text)
    (base / "mine.py").write_text(PLUGIN)
    return base, run(base)


def test_the_second_run_shows_the_same_without_loading_torch(first: tuple[Path, list[str]]) -> None:
    base, shown = first
    assert shown[-1] == "loaded: torch numpy scipy"
    assert shown[-2] == "Rows and REPORT.md are in out."
    before = state(base)
    assert run(base) == [*shown[:-1], UNCHANGED, "loaded:"]
    assert state(base) == before


def test_a_lost_row_is_made_again_and_so_is_what_another_option_asks_for(first: tuple[Path, list[str]]) -> None:
    base, shown = first
    row = min((base / "out" / "rows").iterdir())
    outcome = json.loads(row.read_bytes())["outcome"]
    row.unlink()
    assert run(base) == shown
    assert json.loads(row.read_bytes())["outcome"] == outcome
    assert run(base)[-2:] == [UNCHANGED, "loaded:"]
    assert run(base, "--set", "run.draws=2") == shown  # what the board says; the command is another one all the same


@pytest.mark.slow
def test_two_runs_at_once_end_in_what_is_shown_again(first: tuple[Path, list[str]]) -> None:
    base, shown = first
    for path in [*(base / "cache" / "store" / "again").iterdir(), *(base / "out" / "rows").iterdir()]:
        path.unlink()
    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(run, [base, base])] == [shown, shown]
    assert run(base)[: len(shown) - 1] == shown[:-1]
    assert run(base) == [*shown[:-1], UNCHANGED, "loaded:"]


def memo_of(base: Path) -> Path:
    """The newest memo, which is made to hold from now on."""
    memo = max((base / "cache" / "store" / "again").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    plain = json.loads(memo.read_bytes().partition(b"\n")[2])
    write(memo, plain | {"stamps": {path: touched.stamp(path) for path in plain["stamps"]}})
    assert again._unchanged(memo)
    return memo


def write(memo: Path, plain: Any) -> None:
    """A memo that is whole, whatever it says."""
    body = json.dumps(plain).encode()
    memo.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def touch(path: Path) -> None:
    """The same bytes, written anew."""
    path.write_bytes(path.read_bytes())


def flip(path: Path) -> None:
    """A bad disk, or somebody who puts the time back."""
    content, before = path.read_bytes(), path.stat()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "the board": ("board/board.toml", touch),
    "the board's copy": ("out/board.toml", touch),
    "data": ("mine.npz", touch),
    "a plugin": ("mine.py", touch),
    "a row edited": ("out/rows/*", flip),
    "a row deleted": ("out/rows/*", Path.unlink),
    "a row unreadable": ("out/rows/*", lambda path: path.chmod(0)),
    "the report": ("out/REPORT.md", touch),
    "images beside a row": ("out/examples/*", Path.unlink),
    "a record of the store": ("cache/store/cells/score/*", flip),
    "another stage's": ("cache/store/cells/craft/*", Path.unlink),
    "an object cut off": ("cache/store/objects/*/*", cut),
    "the store": ("cache/store/cells", lambda path: path.rename(path.with_name("gone"))),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_makes_it_run_again(first: tuple[Path, list[str]], what: str) -> None:
    memo, (pattern, change) = memo_of(first[0]), CHANGES[what]
    known = json.loads(memo.read_bytes().partition(b"\n")[2])["stamps"]
    path = next(p for p in sorted(first[0].glob(pattern)) if p.is_dir() or str(p) in known)
    content, mode = path.read_bytes() if path.is_file() else None, path.stat().st_mode
    change(path)
    assert again._unchanged(memo) is None
    if content is None:
        path.with_name("gone").rename(path)
    else:
        path.touch()
        path.chmod(mode)
        path.write_bytes(content)


ADDED = {
    "a distribution": "extra/new-1.0.dist-info",
    "a row": "out/rows/0.json",
    "an audit": "out/audits",
    "a file of the board": "out/submissions/one",
}


@pytest.mark.parametrize("what", ADDED)
def test_what_is_added_makes_it_run_again(first: tuple[Path, list[str]], what: str) -> None:
    memo, path = memo_of(first[0]), first[0] / ADDED[what]
    path.mkdir(parents=True)
    assert again._unchanged(memo) is None
    path.rmdir()


def test_all_code_that_was_loaded_counts(first: tuple[Path, list[str]]) -> None:
    known = json.loads(memo_of(first[0]).read_bytes().partition(b"\n")[2])["stamps"]
    code = [touched.__file__, np.__file__, sys.modules["robustnoise.harness.bench"].__file__, sys.executable]
    assert [path in known for path in code] == [True, True, True, False]
    assert str(first[0] / "extra") in known


PARTS: list[Part] = [Table("t", ("a", "b"), [("1", "[2]")]), Line("heading", heading=True), Line("the end.")]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for commands that do next to nothing, as if each had a process of its own."""
    monkeypatch.setattr(touched, "TICK", 0)
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["robustnoise", "run", "b"])
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "torch")
    (tmp_path / "out").mkdir()
    (tmp_path / "read").write_text("read")
    return tmp_path


def commanded(work: Callable[[], object] = lambda: None, parts: list[Part] = PARTS) -> bool:
    """Run a command that reads a file, works and writes a report; whether it was run."""
    ran = []

    def made() -> Ran:
        Path("read").read_text()
        work()
        Path("out/REPORT.md").write_text("report")
        ran.append(True)
        return Ran(Path("out"), parts)

    unless_unchanged("b", made)
    return bool(ran)


def memos(base: Path) -> list[Path]:
    return sorted((base / "cache" / "store" / "again").glob("*"))


def test_a_command_is_run_once_and_shows_the_same_twice(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commanded()
    assert capsys.readouterr().out == ""  # it prints by itself
    assert not commanded()
    out = capsys.readouterr().out
    assert out.splitlines()[-3:] == ["heading", "the end.", UNCHANGED]
    assert "[2]" in out
    assert Path("out/REPORT.md").stat().st_mtime_ns == touched.stamp("out/REPORT.md")[1]  # type: ignore[index]


def test_each_command_has_a_memo_of_its_own(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commanded()
    for patch in (
        lambda: monkeypatch.setattr(sys, "argv", ["robustnoise", "run", "b", "--seed", "1"]),
        lambda: monkeypatch.setenv("ROBUSTNOISE_DATA", "elsewhere"),
        lambda: monkeypatch.setattr(sys, "path", ["elsewhere"]),
        lambda: monkeypatch.setattr(again, "__version__", "9"),
    ):
        patch()
        assert commanded()
        assert not commanded()
    assert len(memos(alone)) == 5


def test_no_secret_of_the_environment_is_in_a_memo(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNOISE_TOKEN", "hush")
    assert commanded()
    assert b"hush" not in memos(alone)[0].read_bytes()


def _elsewhere(code: str) -> Callable[[], object]:
    """Something that another process does while a command works."""
    return lambda: subprocess.run([sys.executable, "-S", "-c", f"from pathlib import Path\n{code}"], check=True)


@pytest.mark.parametrize("code", ["Path('read').write_text('other')", "Path('out/rows').mkdir()", "Path('b').mkdir()"])
def test_what_changes_while_a_command_works_leaves_no_memo(alone: Path, code: str) -> None:
    (alone / "out" / "REPORT.md").touch()  # so that the folder isn't changed by writing it
    assert commanded(_elsewhere(code))
    assert memos(alone) == []
    assert commanded()
    assert not commanded()


def test_two_commands_at_once_leave_the_later_report_and_no_wrong_memo(alone: Path) -> None:
    assert commanded()
    again_at_once = _elsewhere("Path('out/REPORT.md').write_text('report')")
    again_at_once()
    assert commanded()
    assert not commanded()


def test_a_failed_cell_or_a_run_that_cannot_be_shown_again_leaves_no_memo(alone: Path) -> None:
    def fails() -> Ran:
        raise typer.Exit(3)

    for _ in range(2):
        with pytest.raises(typer.Exit):
            unless_unchanged("b", fails)
    ran: list[None] = []
    for _ in range(2):
        unless_unchanged("b", lambda: ran.append(None))
    assert len(ran) == 2
    assert memos(alone) == []


def test_a_store_that_cannot_be_written_costs_the_memo_alone(alone: Path) -> None:
    (alone / "cache").write_text("no folder")
    assert commanded()
    assert commanded()


def test_what_is_looked_for_and_not_there_counts(alone: Path) -> None:
    def work() -> None:
        folders("mine", Path("data"), flat=False)

    assert commanded(work)
    (alone / "data" / "mine").mkdir(parents=True)
    assert commanded(work)
    assert not commanded(work)
    (alone / "data" / "mine" / "file").touch()
    assert commanded(work)


def test_of_the_store_records_and_objects_count_alone(alone: Path) -> None:
    store = Store(alone / "cache" / "store")

    def work() -> None:
        store.put("score", {"n": 1}, {"a": b"one"})
        (store.root / "costs").mkdir(exist_ok=True)
        (store.root / "costs" / "note").write_text("1 s")

    assert commanded(work)
    store.put("score", {"n": 2}, {"a": b"two"})
    (store.root / "costs" / "note").write_text("2 s")
    assert not commanded(work)
    next(store.cells()).unlink()
    next(store.cells()).unlink()
    assert commanded(work)


def test_temporary_files_and_those_of_others_are_not_waited_for(alone: Path) -> None:
    def work() -> None:
        Path("temporary").write_text("gone")
        Path("temporary").read_text()
        Path("temporary").unlink()
        Path("log").write_text("kept")

    assert commanded(work)
    (alone / "log").write_text("another command's")
    assert not commanded(work)


WRONG: dict[str, Any] = {
    "a list": [],
    "a text": "parts",
    "nothing in it": {},
    "parts of another type": {"parts": 3, "stamps": {}},
    "stamps of another type": {"parts": [], "stamps": [["a", None]]},
    "a line without end": {"parts": [["a"]], "stamps": {}},
    "a number in a cell": {"parts": [["a", ["b"], [[3]]]], "stamps": {}},
    "too few cells": {"parts": [["a", ["b"], [[]]]], "stamps": {}},
    "a path that is none": {"parts": [], "stamps": {"a\0b": [1, 2, 3]}},
}


def _hashed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no hash": lambda memo: memo.partition(b"\n")[2],
    "another hash": lambda memo: b"0" * 64 + memo[64:],
    "a bit flipped": lambda memo: memo[:-9] + bytes([memo[-9] ^ 1]) + memo[-8:],
    "cut off": lambda memo: memo[:-1],
    "no JSON": lambda _: _hashed(b"{"),
    "nested without end": lambda _: _hashed(b"[" * 100_000),
    "no UTF-8": lambda _: _hashed(b'"\xff"'),
    **{what: lambda _, plain=plain: _hashed(json.dumps(plain).encode()) for what, plain in WRONG.items()},
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_memo_that_is_not_as_it_was_written_is_none(alone: Path, what: str) -> None:
    assert commanded()
    (memo,) = memos(alone)
    memo.write_bytes(GARBAGE[what](memo.read_bytes()))
    assert commanded()
    assert not commanded()


def test_no_file_in_the_place_of_a_memo_is_none(alone: Path) -> None:
    assert commanded()
    (memo,) = memos(alone)
    memo.unlink()
    os.mkfifo(memo)  # waits for ever, if read
    assert commanded()
    memo.unlink()
    memo.symlink_to(memo.name)
    assert commanded()
    assert memo.is_file()  # another one in its place
    memo.unlink()
    memo.mkdir()
    assert commanded()
    assert commanded()
