"""npy and npz from strangers: every declared size and type is checked before anything is unpacked; no pickle, ever."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from robustnoise.errors import BadSubmission, told
from robustnoise.npy import read_header
from robustnoise.submission.folder import File

Array = npt.NDArray[Any]
Accept = Callable[[str, tuple[int, ...], np.dtype[Any]], str | None]
"""(member, shape, dtype) to what is wrong with it, or None."""
OVERHEAD = 1 << 20
"""Bytes that a file may have beyond its arrays: headers, the table of a zip."""


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
        if len(set(listed)) < len(listed):
            twice = next(name for name, count in Counter(listed).items() if count > 1)
            raise BadSubmission(f"{file.name}: holds the array {_shown(twice)} twice.")
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
        shape, fortran, dtype = read_header(stream)
    except ValueError as error:
        raise BadSubmission(
            f"{what}: has no npy header that can be read: {told(error)}. Write it with numpy.save."
        ) from None
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
