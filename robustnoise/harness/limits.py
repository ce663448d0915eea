"""A cell that takes too long ends its worker, whatever code it hangs in, and leaves a note that says where.

Nothing in Python can stop a thread that is inside a library's C code. `faulthandler` keeps a thread of its own that
needs no lock of Python's: when the time is up it writes where every thread is and ends the process. The run finds the
note, gives the cell up and goes on with another worker.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robustnoise.errors import BadParameter, StoreError
from robustnoise.harness import claims
from robustnoise.harness.failed import Failure
from robustnoise.store import Store

LONGEST = 10_000_000.0
FOLDER = "overruns"
"""Of a store: a folder of notes for each run, which holds a claim on it."""


class TimeLimit:
    """The seconds that a cell may take in a worker.

    Args:
        seconds: waiting for another run that makes the same cell counts too.
        store: whose folder every worker reaches; notes lie there while cells are made.

    Raises:
        BadParameter: `seconds` is out of range.
    """

    def __init__(self, seconds: float, store: Store) -> None:
        if not 0 < seconds <= LONGEST:
            raise BadParameter(f"time limit = {seconds:g}: expected seconds above 0, at most {LONGEST:,.0f}.")
        self.seconds = seconds
        self.folder = store.root / FOLDER / secrets.token_hex(8)
        self._claim = _claim(store, self.folder)

    def _note(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()}.txt"

    @contextmanager
    def watching(self, name: str) -> Iterator[None]:
        """End this process if the block takes longer; `name` is the cell's.

        Raises:
            StoreError: the note can't be written.
        """
        path = self._note(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            note = path.open("w", encoding="utf-8")
        except OSError as error:
            raise StoreError(f"can't write {path}: {error.strerror or error}.") from error
        with note:
            faulthandler.dump_traceback_later(self.seconds, exit=True, file=note)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
        path.unlink(missing_ok=True)

    def overrun(self, name: str) -> Failure | None:
        """Why the worker that made the cell `name` was lost; None where time had nothing to do with it."""
        try:
            text = self._note(name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        if not text.startswith("Timeout"):
            return None
        # The main thread comes last, its innermost call first.
        frame = re.search(r'File "([^"]+)", line (\d+) in (\S+)', text.rpartition("\nThread ")[2] or text)
        where = f" in {frame[3]} ({Path(frame[1]).name}, line {frame[2]})" if frame else ""
        return Failure(f"it took more than {self.seconds:g} s and was ended{where}.", again=False)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """While the block runs, the notes are kept for this run; it ends with their removal."""
        with claims.claimed(self._claim):
            try:
                yield
            finally:
                _remove(self.folder)


def clear(store: Store) -> None:
    """Remove the notes of runs that were killed: their claims are gone, see `claims.clear`."""
    with contextlib.suppress(OSError):
        for folder in list((store.root / FOLDER).iterdir()):
            if not _claim(store, folder).exists():
                _remove(folder)


def _claim(store: Store, folder: Path) -> Path:
    return store.root / claims.FOLDER / f"{FOLDER}-{folder.name}"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # another run has notes there
        folder.parent.rmdir()
