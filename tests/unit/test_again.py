"""When a command that finished leaves a memo of what it showed, and when that is believed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from robustnoise.cli import again, touched
from robustnoise.cli.again import UNCHANGED, Ran, unless_unchanged
from robustnoise.data.locate import folders
from robustnoise.report.shown import Line, Part, Table
from robustnoise.store import Store

PARTS: list[Part] = [Table("t", ("a", "b"), [("1", "[2]")]), Line("heading", heading=True), Line("the end.")]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for commands that do next to nothing, as if each had a process of its own."""
    monkeypatch.setattr(touched, "TICK", 0)
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["robustnoise", "run", "b"])
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "read").write_text("read")
    return tmp_path


def commanded(work: Callable[[], object] = lambda: None, report: str = "out/REPORT.md") -> bool:
    """Run a command that reads a file, works and writes a report; whether it was run."""
    ran = []

    def made() -> Ran:
        Path("read").read_text()
        work()
        Path(report).write_text("report")
        ran.append(True)
        return Ran(Path(report).parent, PARTS)

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
    content = memos(alone)[0].read_bytes()
    assert b"hush" not in content
    assert "hush" not in json.dumps(again._unpacked(content))


def _swept(number: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run one of many commands that differ by an option and write to other folders; whether it was run."""
    monkeypatch.setattr(sys, "argv", ["robustnoise", "run", "b", "--output", str(number)])
    Path(str(number)).mkdir(exist_ok=True)
    return commanded(report=f"{number}/REPORT.md")


def test_the_memos_that_were_used_last_are_kept(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "KEPT", 3)
    for number in range(3):
        assert _swept(number, monkeypatch)
        for memo in memos(alone):
            os.utime(memo, ns=(0, memo.stat().st_mtime_ns - 10**12))
    assert not _swept(0, monkeypatch)  # so it isn't the oldest any more
    assert _swept(3, monkeypatch)
    assert len(memos(alone)) == 3
    assert [_swept(number, monkeypatch) for number in (0, 2, 3, 1)] == [False, False, False, True]


def test_a_new_memo_stays_after_the_clock_went_back(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "KEPT", 2)
    for number in range(4):
        assert _swept(number, monkeypatch)
        for memo in memos(alone):
            os.utime(memo, ns=(0, time.time_ns() + 10**15))
        assert not _swept(number, monkeypatch)
        assert len(memos(alone)) <= 2


def test_memos_that_others_remove_or_that_are_no_files_are_passed_over(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "KEPT", 2)
    folder = alone / "cache" / "store" / "again"
    (folder / "folder.json").mkdir(parents=True)
    (folder / "loop.json").symlink_to("loop.json")
    others = [folder / f"{n}.json" for n in range(4)]
    for path in [*others, folder / ".0.json.1-a.tmp"]:
        path.touch()
        os.utime(path, ns=(0, 0))
    unlink = Path.unlink

    def slower(path: Path, missing_ok: bool = False) -> None:
        """Another command had the same thought."""
        if path in others:
            unlink(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", slower)
    assert commanded()
    assert not commanded()
    assert {path.name for path in memos(alone)} >= {"folder.json", ".0.json.1-a.tmp"}
    assert not any(path.exists() for path in others)


def test_a_memo_that_vanishes_while_it_is_looked_for_is_none(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commanded()
    is_file, utime = Path.is_file, os.utime
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", lambda path: is_file(path) and path.unlink() is None)
        assert commanded()
    assert not commanded()

    def gone(path: Path) -> None:
        path.unlink()
        utime(path)

    monkeypatch.setattr(os, "utime", gone)
    assert not commanded()  # it was read; that it can't be touched is no matter
    assert commanded()


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


def test_a_clock_that_goes_back_while_a_command_works_leaves_no_memo(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = time.time_ns
    for seconds, kept in ((3600, 0), (-3600, 1)):
        with monkeypatch.context() as patch:
            assert commanded(lambda s=seconds: patch.setattr(time, "time_ns", lambda: usual() - s * 10**9))  # type: ignore[misc]
        assert len(memos(alone)) == kept


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


@pytest.mark.parametrize(
    ("path", "passed"),
    [("/proc/meminfo", True), ("/dev/null", True), ("/a/__pycache__/b.pyc", True), ("/dev/shm/board.toml", False),
     ("/a/b__pycache__c", False), ("/process", False)],
)  # fmt: skip
def test_what_is_no_file_of_a_disk_is_passed_over(path: str, passed: bool) -> None:
    assert touched._passing(path) == passed


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


def _zipped(body: bytes) -> bytes:
    return _hashed(zlib.compress(body))


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no hash": lambda memo: memo.partition(b"\n")[2],
    "another hash": lambda memo: b"0" * 64 + memo[64:],
    "a bit flipped": lambda memo: memo[:-9] + bytes([memo[-9] ^ 1]) + memo[-8:],
    "cut off": lambda memo: memo[:-1],
    "not compressed": lambda _: _hashed(b'{"parts": [], "stamps": {}}'),
    "compressed by half": lambda _: _hashed(zlib.compress(b'{"parts": [], "stamps": {}}')[:-6]),
    "no JSON": lambda _: _zipped(b"{"),
    "nested without end": lambda _: _zipped(b"[" * 100_000),
    "no UTF-8": lambda _: _zipped(b'"\xff"'),
    **{what: lambda _, plain=plain: _zipped(json.dumps(plain).encode()) for what, plain in WRONG.items()},
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
