"""Time that other load of the machine doesn't lengthen."""

from __future__ import annotations

import time


class Stopwatch:
    """Starts where it is made.

    Args:
        computes: whether what is timed does nothing but compute in threads of this process, so that it would take no
            longer than their processor time if nobody else were there. False where it waits for an accelerator or an
            endpoint.
    """

    def __init__(self, *, computes: bool) -> None:
        self._computes = computes
        self._wall, self._busy = time.perf_counter(), time.process_time()

    def seconds(self) -> float:
        """Wall clock since the start. On a processor with other work that may be any multiple of what it takes alone:
        there no more than this process computed, which with one thread is what it takes, with several at most as many
        times that."""
        wall, busy = time.perf_counter() - self._wall, time.process_time() - self._busy
        return min(wall, busy) if self._computes else wall
