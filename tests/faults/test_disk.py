"""A disk that is full, read-only or fails, and a cut at every step of a write: the old file or the new one, no half."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.small_board import experiment, finish, make_board
from robustnoise.errors import StoreError
from robustnoise.harness.runner import run
from robustnoise.leaderboard import Leaderboard
from robustnoise.store import Store, atomic_write
from tests.e2e.conftest import command
from tests.faults.conftest import Finished

INPUTS = {"seed": 1}
OUTPUTS = {"a": b"one" * 100, "b": b"two"}
ERRORS = [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO]


class Cut(BaseException):
    """No clean-up runs once there is no power."""


class Steps:
    """Counts the calls that change the disk, and lets one of them fail.

    Args:
        at: which fails, from 0 on; None is none.
        error: what it raises; after `Cut` all later ones fail, too.
    """

    def __init__(self, at: int | None, error: BaseException) -> None:
        self.at, self.error, self.count = at, error, 0

    def __call__(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            number, self.count = self.count, self.count + 1
            if self.at is not None and (number == self.at or (isinstance(self.error, Cut) and number > self.at)):
                raise self.error
            return real(*args, **kwargs)

        return step

    def halved(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """A write of which only half arrives when it fails."""

        def step(file: Any, content: bytes) -> int:
            number, self.count = self.count, self.count + 1
            if self.at is not None and number == self.at:
                real(file, content[: len(content) // 2])
                raise self.error
            return int(real(file, content))

        return step


class _File:
    """A file whose writes are counted."""

    def __init__(self, file: Any, steps: Steps) -> None:
        self.file, self.steps = file, steps

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: bytes) -> int:
        return int(self.steps.halved(lambda file, part: file.write(part))(self.file, content))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Steps], None]:
    """Lets a step of the calls that change the disk fail."""

    def install(steps: Steps) -> None:
        monkeypatch.undo()
        if steps.at is None:
            return
        opened, counted = Path.open, steps(Path.open)

        def open_(path: Path, mode: str = "r", *rest: Any) -> Any:
            return _File(counted(path, mode, *rest), steps) if "x" in mode else opened(path, mode, *rest)

        monkeypatch.setattr(Path, "open", open_)
        for name in ("replace", "mkdir", "unlink"):
            monkeypatch.setattr(Path, name, steps(getattr(Path, name)))
        monkeypatch.setattr(os, "fsync", steps(os.fsync))

    return install


def _until_nothing_fails(failing: Callable[[Steps], None], error: BaseException) -> Iterator[Steps]:
    """Lets the first step fail, then the second, until there are no more."""
    for at in range(100):
        steps = Steps(at, error)
        failing(steps)
        yield steps
        if steps.count <= at:
            assert at >= 4, "fewer steps than a write has"
            return
    pytest.fail("it never comes to an end")


def test_a_cut_at_any_step_leaves_a_cell_whole_or_absent(tmp_path: Path, failing: Callable[[Steps], None]) -> None:
    seen = set()
    for steps in _until_nothing_fails(failing, Cut()):
        store = Store(tmp_path / f"store-{steps.at}")
        with contextlib.suppress(Cut):
            store.put("score", INPUTS, OUTPUTS)
        failing(Steps(None, Cut()))
        cell = store.get("score", INPUTS)
        seen.add(cell is not None)
        if cell is not None:
            assert {name: store.read(cell, name) for name in OUTPUTS} == OUTPUTS
        assert list(store.damaged()) == []
        cell = store.put("score", INPUTS, OUTPUTS)
        assert {name: store.read(cell, name) for name in OUTPUTS} == OUTPUTS
        assert all(path.suffix == ".tmp" for path in store.leftovers())
    assert seen == {True, False}


@pytest.mark.parametrize("number", ERRORS, ids=lambda n: errno.errorcode[n])
def test_a_disk_that_fails_at_any_step_is_named_and_keeps_the_old_file(
    tmp_path: Path, failing: Callable[[Steps], None], number: int
) -> None:
    path = tmp_path / "folder" / "row.json"
    atomic_write(path, b"old")
    failures = 0
    for _ in _until_nothing_fails(failing, OSError(number, os.strerror(number))):
        try:
            atomic_write(path, b"new")
        except StoreError as error:
            failures += 1
            assert str(path) in str(error)
            assert os.strerror(number) in str(error)
            assert "run the same command again" in str(error)
        failing(Steps(None, Cut()))
        assert path.read_bytes() in (b"old", b"new")
        assert [p.name for p in path.parent.iterdir()] == ["row.json"]
        atomic_write(path, b"old")
    assert failures >= 4  # open, write, sync, rename


def test_a_store_that_fills_up_in_the_middle_of_a_run_keeps_what_is_finished(
    undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = make_board(tmp_path / "board"), Store(tmp_path / "store")
    real, left = os.fsync, 30

    def fsync(handle: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StoreError, match="No space left on device"):
            finish(folder, store)
    kept = list(store.cells())
    assert kept
    assert list(store.damaged()) == []
    before = {path: path.read_bytes() for path in kept}
    assert finish(folder, store) == undisturbed.outcomes
    assert {path: path.read_bytes() for path in kept} == before


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_store_serves_what_is_finished_and_refuses_the_rest(
    undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", fail)
    monkeypatch.setattr(os, "fsync", fail)
    records = run(experiment(undisturbed.folder), undisturbed.store)
    assert {r.digest: r.outcome for r in records} == {
        r.digest: r.outcome for r in Leaderboard(undisturbed.folder).rows()
    }
    with pytest.raises(StoreError, match=os.strerror(number)):
        run(experiment(undisturbed.folder), Store(tmp_path / "other"))


def test_an_output_that_takes_no_more_is_named(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("plugins", "--json"), stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False
        )
    assert (done.returncode, done.stderr) == (2, "OSError: [Errno 28] No space left on device.\n")
