"""A file from anybody: never waits at a pipe, reads no device, and makes no more room than its reader allows."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: str | Path, most: int) -> bytes:
    """The content of a regular file.

    Args:
        path: a link is followed.
        most: bytes; a larger file isn't read.

    Raises:
        OSError: it can't be read, is something else, or too large; `strerror` says which.
        ValueError: the path can't be that of a file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_size > most:
        os.close(handle)
        raise OSError(errno.EINVAL, f"expected a regular file of at most {most:,} bytes")
    with os.fdopen(handle, "rb") as file:
        return file.read(status.st_size)  # room is made for as many as are asked for
