"""Files of a folder that somebody hands in: plain names, regular files, no links, bounded sizes."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from robustnoise.errors import BadSubmission
from robustnoise.records import HIDDEN

PLAIN = re.compile(r"[^/\\:\x00-\x1f\x7f]{1,120}")
CHUNK = 1 << 20


class File(NamedTuple):
    """A file, read once: what is hashed is what is used."""

    name: str
    content: bytes
    sha256: str


def check_name(name: str) -> str:
    """`name`, if it is that of a file in the folder itself.

    Raises:
        BadSubmission: it is a path, hidden, or holds control characters.
    """
    if not PLAIN.fullmatch(name) or name.startswith(".") or HIDDEN.search(name):
        raise BadSubmission(
            f"{name[:80]!a}: expected the name of a file in the folder itself: no path, no leading dot."
        )
    return name


def names(folder: Path) -> list[str]:
    """What lies in `folder`, sorted.

    Raises:
        BadSubmission: it is no folder, or can't be read.
    """
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names as they are, whatever they are
    except OSError as error:
        raise BadSubmission(f"{folder}: {error.strerror}. Expected a folder with a card.toml.") from None


def read_file(folder: Path, name: str, limit: int) -> File:
    """A file of the folder.

    Args:
        folder: what is handed in.
        name: of a file in it.
        limit: most bytes; a larger file isn't read.

    Raises:
        BadSubmission: absent, a link, no regular file, or too large.
    """
    path = folder / check_name(name)
    try:
        # Opened without following links and without waiting for the other end of a pipe, then looked at.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise BadSubmission(f"{name}: is a link; put the file itself into the folder.") from None
        raise BadSubmission(f"{name}: {error.strerror}.") from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise BadSubmission(f"{name}: is no regular file.")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > limit:
            raise BadSubmission(f"{name}: {status.st_size:,} bytes; expected at most {limit:,}.")
        content = file.read(status.st_size + 1)  # room is made for as many as are asked for
    if len(content) > status.st_size:
        raise BadSubmission(f"{name}: grew while it was read; hand it in when it is finished.")
    return File(name, content, hashlib.sha256(content).hexdigest())
