"""The header of an npy file from anybody: read without running or unpickling anything, and before room is made."""

from __future__ import annotations

from tokenize import TokenError
from typing import IO, Any

import numpy as np

READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and dtype; `stream` stands at the data afterwards.

    Raises:
        ValueError: another version than 1.0 and 2.0, no header, or a negative length.
    """
    try:
        version = np.lib.format.read_magic(stream)
        if version not in READERS:
            raise ValueError(f"npy version {version}; expected 1.0 or 2.0, as numpy.save writes numbers")
        shape, fortran, dtype = READERS[version](stream)
    except (SyntaxError, TypeError, RecursionError, MemoryError, TokenError) as error:
        # numpy hands the header to Python's own parser, which has all of these for what is no dictionary.
        raise ValueError(f"no npy header: {type(error).__name__}") from None
    if any(n < 0 for n in shape):
        raise ValueError(f"the shape {shape}")
    return shape, fortran, dtype
