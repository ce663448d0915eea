"""What finished cells have cost, beside them in the store; no key and no row depends on it, and it may be lost."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from robustnoise.errors import StoreError
from robustnoise.harness.costs.clock import Stopwatch
from robustnoise.store import Store, atomic_write


class Spent(NamedTuple):
    """What a cell cost where it was made."""

    seconds: float
    """As a `Stopwatch` counts them, without what it was made from."""
    peak: int
    """Bytes of memory that its process held at most until then."""


def _path(store: Store, key: str) -> Path:
    return store.root / "costs" / f"{key}.json"


@contextmanager
def measured(store: Store, key: str, *, computes: bool) -> Iterator[None]:
    """Measure the block and keep what it cost, if it doesn't raise; `computes` as for `Stopwatch`."""
    watch = Stopwatch(computes=computes)
    yield
    spent = Spent(round(watch.seconds(), 4), peak_memory())
    # The cell is what counts: a disk that has no room for this is found by the next cell.
    with contextlib.suppress(StoreError):
        atomic_write(_path(store, key), json.dumps(spent._asdict()).encode())


def spent(store: Store, key: str) -> Spent | None:
    """What the cell of that key cost; None where nobody knows."""
    try:
        found = json.loads(_path(store, key).read_bytes())
        return Spent(float(found["seconds"]), int(found["peak"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def peak_memory() -> int:
    """Bytes of memory that this process held at most."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # Where it is there: what the process before it held, from which it was forked, isn't counted.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
