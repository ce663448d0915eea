"""Who makes a cell: two runs of one store never do the same work side by side.

A claim is a lock of the operating system on a file of the store. It ends with the process that holds it, however that
ends, so no clock decides. A file is removed by who has locked it, and by nobody else: who waits for it finds that it is
gone, so what a killed process leaves can be cleared away beside other runs. Over NFS claims hold between machines too.
Where the file system has no locks, or none can be written, cells are made without: work is done twice at worst, and the
results are the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "claims"
"""Of a store."""


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """While the block runs, nobody else is in a block of the same `path`; waits for whoever is."""
    handle = _locked(path)
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                path.unlink()  # while it is locked; who waits for it finds that it is gone
            os.close(handle)


def clear(folder: Path) -> None:
    """Remove the files of claims that nobody holds: those of processes that were killed."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            with contextlib.suppress(OSError):  # somebody holds it, or has removed it
                _clear(path)


def _clear(path: Path) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):
            path.unlink()
    finally:
        os.close(handle)


def _locked(path: Path) -> int | None:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        except OSError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
