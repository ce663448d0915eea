"""A finished board is shown again without loading torch where nothing that it was made from has changed.

A run that ended well leaves a memo in the store: what it showed, and size and times of everything that it read, looked
for or wrote: boards, data, plugins, all code that was loaded, the folders it was searched in, records and objects of
the store, rows, report. The same command finds all of that as it was, or runs as if there were no memo.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from robustnoise import __version__
from robustnoise.cache import store_root
from robustnoise.cli.touched import Touched, as_they_were, watching
from robustnoise.errors import RobustnoiseError
from robustnoise.report.shown import Line, Part, from_plain, to_plain
from robustnoise.report.terminal import print_parts, stdout

SCHEMA = 1
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
    if parts is not None:
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
        sha256, _, body = memo.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != sha256:
            return None
        plain = json.loads(body)
        parts = [from_plain(part) for part in plain["parts"]]
        return parts if as_they_were(plain["stamps"].items()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _keep(memo: Path, ran: Ran, touched: Touched) -> None:
    from robustnoise.store import atomic_write

    stamps = touched.stamps(ran.output, memo.parents[1])
    if stamps is not None:
        body = json.dumps({"parts": [to_plain(part) for part in ran.parts], "stamps": stamps}).encode()
        atomic_write(memo, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
