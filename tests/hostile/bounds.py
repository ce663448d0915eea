"""Runs a reader of foreign files with little memory, little time and no right to run anything."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MEGABYTES = 256
"""Beyond what the process has already: no file here is larger than a few kilobytes."""
SECONDS = 20
FORBIDDEN = ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.fork", "os.posix_spawn",
             "ctypes.dlopen", "socket.connect", "socket.getaddrinfo", "os.remove", "os.rename", "os.mkdir",
             "os.symlink")  # fmt: skip
"""Audit events (PEP 578) that no reader causes."""

_watching = False
_seen: list[str] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _watching:
        return
    written = event == "open" and isinstance(args[1], str) and any(c in args[1] for c in "wax+")
    if event in FORBIDDEN or written:
        _seen.append(f"{event} {args!r}"[:200])


_hooked = False


class Hung(BaseException):
    """It took longer than `SECONDS`."""


def _hang(*_: object) -> None:
    raise Hung


@contextmanager
def bounded() -> Iterator[None]:
    """Raises MemoryError or `Hung` in the block, and fails after it where it did what is forbidden."""
    global _watching, _hooked  # noqa: PLW0603 - an audit hook can't be removed, so it is told when to look
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEGABYTES * 2**20, before[1]))
    handler = signal.signal(signal.SIGALRM, _hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    _seen.clear()
    _watching = True
    try:
        yield
    finally:
        _watching = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert _seen == []
