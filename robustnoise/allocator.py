"""Memory that stays: between two steps of a network, and what libraries set up as they are loaded."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def loading() -> Iterator[None]:
    """A block that imports torch: nothing in it is searched for garbage, what it leaves behind isn't ever after.

    Torch alone leaves half a million objects, which python would go through again and again as they are made, later at
    every full collection, and once more at exit. Changes no result; does nothing where torch is loaded already.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
