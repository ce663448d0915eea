"""A finished board is shown again without torch, until anything changes that it was made from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.small_board import BOARD
from robustnoise.cli import again, touched
from robustnoise.cli.again import UNCHANGED
from robustnoise.cli.places import Place
from robustnoise.cli.running import run_board
from robustnoise.data import load_pool
from robustnoise.harness.experiment import Experiment
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
    """Contents and times of everything; of a memo, whose time says when it was used last, content alone."""
    found = {p: (p.read_bytes() if p.is_file() else b"", p.stat().st_mtime_ns) for p in base.rglob("*")}
    return {p: (content, 0 if p.parent.name == "again" else time) for p, (content, time) in found.items()}


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
    plain = again._unpacked(memo.read_bytes())
    memo.write_bytes(again._packed(plain | {"stamps": {path: touched.stamp(path) for path in plain["stamps"]}}))
    assert again._unchanged(memo)
    return memo


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
    known = again._unpacked(memo.read_bytes())["stamps"]
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
    known = again._unpacked(memo_of(first[0]).read_bytes())["stamps"]
    code = [touched.__file__, np.__file__, sys.modules["robustnoise.harness.bench"].__file__, sys.executable]
    assert [path in known for path in code] == [True, True, True, False]
    assert str(first[0] / "extra") in known


CLEAN = """
schema = 1
name = "clean"
[data]
name = "digits"
train = 60
attacker = 20
validation = 20
evaluation = 20
[run]
model = "mlp(hidden=4)"
threads = 1
[victims]
plain = "plain-training(epochs=1)"
"""


@pytest.mark.parametrize("alone", [True, False])
def test_what_may_change_without_a_file_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Experiment, "self_contained", alone)
    (tmp_path / "board.toml").write_text(CLEAN)
    ran = run_board(
        str(tmp_path), tmp_path / "out", [], device="cpu", place=Place(1), data_dir=None, plugins=[], plan=False
    )
    assert (ran is not None) == alone
