"""A finished board is shown again without loading torch where nothing that it was made from has changed.

A run that ended well leaves a memo in the store: what it showed, and size and times of everything that it read, looked
for or wrote: boards, data, plugins, all code that was loaded, the folders it was searched in, records and objects of
the store, rows, report. The same command finds all of that as it was, or runs as if there were no memo. Memos that
weren't used for long make room for new ones, so that a sweep over options doesn't fill the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from robustnoise import __version__
from robustnoise.cache import store_root
from robustnoise.cli.touched import Touched, as_they_were, watching
from robustnoise.errors import RobustnoiseError
from robustnoise.report.shown import Line, Part, from_plain, to_plain
from robustnoise.report.terminal import print_parts, stdout

SCHEMA = 2
KEPT = 64
"""How many memos a store holds."""
VARIABLES = ("ROBUSTNOISE_", "PYTHON", "HOME")
"""How the names of environment variables begin that a finished board may depend on."""
UNCHANGED = "Nothing that this board was made from has changed since, so nothing was made or written again."


class Ran(NamedTuple):
    """The folder of a run that finished without a failure, and what it showed."""

    output: Path
    parts: list[Part]


def unless_unchanged(board: str, run: Callable[[], Ran | None]) -> None:
    """Show what this command showed when it last finished, if nothing has changed since; else run it.

    Args:
        board: what was given as the board.
        run: makes it; None where it isn't to be shown again in this way.
    """
    if "torch" in sys.modules:
        # Nothing to be saved; and this process has read files of which nobody took note.
        run()
        return
    memo = _memo()
    parts = None if memo is None else _unchanged(memo)
    if memo is not None and parts is not None:
        with contextlib.suppress(OSError):  # such as a store that can't be written to, or a memo that is gone by now
            os.utime(memo)  # which says when it was used last
        print_parts(stdout(), [*parts, Line(UNCHANGED)])
        return
    with watching() as touched:
        # A folder of this name would come before the shipped board.
        touched.read |= {board, str(Path(board) / "board.toml")}
        ran = run()
    if memo is not None and ran is not None:
        with contextlib.suppress(RobustnoiseError, OSError):  # such as a full disk: the run itself is done
            _keep(memo, ran, touched)


def _memo() -> Path | None:
    """The file of this command here; None where there can't be one."""
    try:
        given = {
            "schema": SCHEMA,
            "arguments": sys.argv[1:],
            "folder": str(Path.cwd()),
            "variables": sorted((k, v) for k, v in os.environ.items() if k.startswith(VARIABLES)),
            "versions": [__version__, sys.version, sys.executable],
            "path": sys.path,
        }
        # A hash alone: whatever secrets are in there stay there.
        name = hashlib.sha256(json.dumps(given).encode()).hexdigest()
        return store_root() / "again" / f"{name}.json"
    except (RobustnoiseError, OSError, TypeError):
        return None


def _unchanged(memo: Path) -> list[Part] | None:
    """What was shown; None where there is no memo, something has changed, or the memo isn't as it was written."""
    try:
        if not memo.is_file():
            return None
        plain = _unpacked(memo.read_bytes())
        parts = [from_plain(part) for part in plain["parts"]]
        return parts if as_they_were(plain["stamps"].items()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error):
        return None


def _packed(plain: object) -> bytes:
    """A memo's file: the hash of what follows, and JSON, which shrinks to a seventh, being paths in the main."""
    body = zlib.compress(json.dumps(plain).encode())
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _unpacked(content: bytes) -> Any:
    """The inverse of `_packed`.

    Raises:
        ValueError, RecursionError, zlib.error: it isn't what `_packed` gives.
    """
    sha256, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != sha256:
        raise ValueError("a memo's content doesn't match its hash")
    return json.loads(zlib.decompress(body))


def _keep(memo: Path, ran: Ran, touched: Touched) -> None:
    from robustnoise.store import atomic_write

    stamps = touched.stamps(ran.output, memo.parents[1])
    if stamps is not None:
        atomic_write(memo, _packed({"parts": [to_plain(part) for part in ran.parts], "stamps": stamps}))
        _make_room(memo)


def _make_room(newest: Path) -> None:
    """Remove the memos that weren't used for longest. Other commands may do so, use and write some meanwhile."""
    used: dict[Path, int] = {}
    for memo in newest.parent.glob("*.json"):
        with contextlib.suppress(OSError):
            used[memo] = memo.lstat().st_mtime_ns
    used.pop(newest, None)  # it stays, even if the clock went back
    for memo in sorted(used, key=used.__getitem__)[: -(KEPT - 1)]:
        with contextlib.suppress(OSError):
            memo.unlink()
