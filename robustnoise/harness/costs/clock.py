"""Time that other load of the machine doesn't lengthen."""

from __future__ import annotations

import resource
import time


class Stopwatch:
    """Starts where it is made.

    Args:
        computes: whether what is timed does nothing but compute in this process and those it starts, so that it would
            take no longer than their processor time if nobody else were there. False where it waits for an accelerator
            or an endpoint.
    """

    def __init__(self, *, computes: bool) -> None:
        self._computes = computes
        self._wall, self._busy = time.perf_counter(), _busy()

    def seconds(self) -> float:
        """Wall clock since the start. On a processor with other work that may be any multiple of what it takes alone:
        there no more than this process computed, which with one thread is what it takes, with several at most as many
        times that."""
        wall, busy = time.perf_counter() - self._wall, _busy() - self._busy
        return min(wall, busy) if self._computes else wall


def _busy() -> float:
    """Processor seconds of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
