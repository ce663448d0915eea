"""npy and npz from strangers: every declared size and type is checked before anything is unpacked; no pickle, ever."""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from robustnoise.errors import BadSubmission
from robustnoise.submission.folder import File

Array = npt.NDArray[Any]
Accept = Callable[[str, tuple[int, ...], np.dtype[Any]], str | None]
"""(member, shape, dtype) to what is wrong with it, or None."""
OVERHEAD = 1 << 20
"""Bytes that a file may have beyond its arrays: headers, the table of a zip."""
READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(file: File, accept: Accept) -> dict[str, Array]:
    """The arrays of a file: ``x`` of an npy, the members ``x`` and ``ids`` of an npz.

    Args:
        file: its name tells which of the two it is.
        accept: looks at each header before its data are unpacked.

    Raises:
        BadSubmission: damaged, truncated, of another type or size than accepted, a pickle, a bomb.
    """
    try:
        if file.name.endswith(".npy"):
            return {"x": _read_npy(file.name, "x", io.BytesIO(file.content), len(file.content), accept)}
        return _read_npz(file, accept)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        if isinstance(error, BadSubmission):
            raise
        # RuntimeError: an encrypted member. NotImplementedError: a compression that isn't known.
        raise BadSubmission(f"{file.name}: can't be read: {str(error)[:200]!r}. Write it with numpy.") from None


def _read_npz(file: File, accept: Accept) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
        members = archive.infolist()
        listed = [m.filename.removesuffix(".npy") for m in members]
        for name in listed:
            if listed.count(name) > 1:
                raise BadSubmission(f"{file.name}: holds the array {_shown(name)} twice.")
        if not {"x"} <= set(listed) <= {"x", "ids"}:
            shown = ", ".join(map(_shown, listed[:10])) or "nothing"
            raise BadSubmission(f"{file.name}: holds {shown}; expected x, or x and ids.")
        found = {}
        for name, member in zip(listed, members, strict=True):
            with archive.open(member) as stream:
                found[name] = _read_npy(file.name, name, stream, member.file_size, accept)
        return found


def _read_npy(file: str, name: str, stream: IO[bytes], size: int, accept: Accept) -> Array:
    what = f"{file}: {name}"
    try:
        version = np.lib.format.read_magic(stream)
        if version not in READERS:
            raise BadSubmission(f"{what}: npy version {version}; expected 1.0 or 2.0, as numpy.save writes numbers.")
        shape, fortran, dtype = READERS[version](stream)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError) as error:
        if isinstance(error, BadSubmission):
            raise
        raise BadSubmission(f"{what}: has no npy header that can be read. Write it with numpy.save.") from None
    if dtype.hasobject:
        raise BadSubmission(
            f"{what}: holds Python objects, that is, a pickle, which is never loaded as that runs code. Save numbers."
        )
    wrong = accept(name, shape, dtype)
    if wrong is not None:
        raise BadSubmission(f"{what}: {wrong}")
    wanted, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if wanted != held:
        advice = "The file is truncated." if held < wanted else "There is more in it than that."
        raise BadSubmission(f"{what}: {dtype} of shape {shape} are {wanted:,} bytes; it holds {held:,}. {advice}")
    # One byte more than declared shows that there is more, without unpacking a bomb.
    content = stream.read(wanted + 1)
    if len(content) != wanted:
        raise BadSubmission(f"{what}: unpacks to another size than it declares.")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _shown(name: str) -> str:
    return ascii(name[:60])
