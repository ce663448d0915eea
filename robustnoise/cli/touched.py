"""What a run reads, looks for and writes, as the interpreter itself tells it: nothing has to be listed by hand."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READING = {"open", "os.listdir", "os.scandir", "robustnoise.looked"}
MAKING = {"os.rename", "os.mkdir", "os.remove", "os.rmdir"}
"""Audit events, see the table in Python's documentation; of the last, both paths of a rename are arguments."""
NO_FILES, SHARED_MEMORY = ("/proc/", "/sys/", "/dev/"), "/dev/shm/"
TICK, WHOLE = 100_000_000, 1_000_000_000
"""Nanoseconds that the clock of a file system may be behind; the second where it counts in seconds."""

Stamp = list[int] | None
"""Size in bytes and times of the last change of content and of anything, ns; None where there is nothing."""
SET_BACK = 50_000_000
"""Nanoseconds that the clock must have lost to have been set back."""


def stamp(path: str) -> Stamp:
    """What tells whether a file or folder is as it was, without reading it."""
    try:
        found = os.stat(path)  # noqa: PTH116 - 3,000 of them; a Path each takes as long as the look
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


class Touched:
    """Paths as they were given, relative ones too; commands don't change their folder."""

    def __init__(self) -> None:
        self.started, self._ticks = time.time_ns(), time.monotonic_ns()
        self.read: set[str] = set()
        self.made: set[str] = set()

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take one audit event."""
        making = event in MAKING
        if event == "open":
            path, mode, flags = arguments[:3]
            making = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if not making and mode is None and os.path.isdir(path):  # noqa: PTH112 - may be a number
                return  # to be synced; what is in it is of no interest
        for path in arguments[: 2 if event == "os.rename" else 1]:
            if path is None or isinstance(path, (str, bytes, os.PathLike)):
                (self.made if making else self.read).add(os.fsdecode(path or "."))

    def stamps(self, output: Path, store: Path) -> dict[str, Stamp] | None:
        """What the run depended on, as it is now; None where something of it may have changed after it was read.

        Args:
            output: the run's own folder, of which everything counts.
            store: a folder whose files hold their own hash, so that others may have written them in the meantime.
        """
        if time.time_ns() - self.started < time.monotonic_ns() - self._ticks - SET_BACK:
            return None  # what was changed since may look older than the start
        made = set(map(os.path.abspath, self.made))
        own = made | set(map(os.path.dirname, made))
        result, kept = map(os.path.abspath, (output, store / "_"))
        kept = kept.removesuffix("_")
        modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        paths = {*self.read, *(path for path in modules if isinstance(path, str)), *sys.path, *_below(result)}
        paths |= {path for path in made if path.startswith(kept)}
        found: dict[str, Stamp] = {}
        for path in sorted(set(map(os.path.abspath, paths))):
            stored = path.startswith(kept)
            if _passing(path) or (stored and not _lasting(path[len(kept) :])):
                continue
            now = stamp(path)
            if now is None and path in made:
                continue  # a temporary file
            if now is not None and not stored and path not in own and _since(now, self.started):
                return None
            found[path] = now
        return found


def _passing(path: str) -> bool:
    """Whether it is no file of a disk, or compiled code, which python holds against its source by itself."""
    device = path.startswith(NO_FILES) and not path.startswith(SHARED_MEMORY)
    return device or f"{os.sep}__pycache__{os.sep}" in path


def _lasting(path: str) -> bool:
    """Whether a file of the store is a record or an object, not a lock, a note of costs or a folder."""
    return path.startswith(("cells" + os.sep, "objects" + os.sep)) and path.count(os.sep) == 2


def _below(folder: str) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield parent
        yield from (os.path.join(parent, name) for name in names)  # noqa: PTH118


def _since(now: list[int], started: int) -> bool:
    changed = max(now[1:])
    return changed > started - (2 * WHOLE if changed % WHOLE == 0 else TICK)


_watching: list[Touched] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and (event in READING or event in MAKING):
        for touched in _watching:
            touched.note(event, arguments)


@contextmanager
def watching() -> Iterator[Touched]:
    """While the block runs, everything that this process opens is noted. Worker processes are on their own."""
    if not _hooked:
        # It stays until the process ends, as python has it; it costs a millisecond in ten thousand events.
        _hooked.append(True)
        sys.addaudithook(_hook)
    touched = Touched()
    _watching.append(touched)
    try:
        yield touched
    finally:
        _watching.remove(touched)


def as_they_were(stamps: Iterable[tuple[str, object]]) -> bool:
    """Whether every file and folder still has its stamp."""
    return all(stamp(path) == known for path, known in stamps)
