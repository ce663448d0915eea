"""Memory between two steps of a network: kept, not given back to the system and asked for again."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_memory() -> None:
    """Have the C library keep freed memory, where it is glibc; elsewhere this does nothing.

    By default every activation of more than 32 MB is a mapping of its own, whose pages the system clears at
    every step. Changes no result.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
