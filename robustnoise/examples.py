"""Some images that an attack won, beside a row: what a reader of a board can look at.

A row holds counts alone. For the victims of a board's headline, ``examples/<digest of the row>.npz`` shows the first
images, in the order of evaluation, that were right in every clean draw and wrong in every draw under attack: at most
`MOST`. The file is no part of the row; `check` says whether it can be what it claims to be.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnoise.errors import RowError, told
from robustnoise.npy import read_header
from robustnoise.records import EvaluationRecord
from robustnoise.regular import read_regular
from robustnoise.store import pack_arrays
from robustnoise.threat import ThreatModel

MOST = 8
"""Images beside a row."""
MAX_BYTES = 8 << 20
"""A file that is larger, or unpacks to more, is refused before it is read."""
CHANNELS = (1, 3)
"""What can be shown: grey and red, green, blue."""


@dataclass(frozen=True)
class Examples:
    """Images that an attack won.

    Args:
        row: the digest of the row that they stand beside.
        index: (k,) int64, places in the order of evaluation, rising.
        label: (k,) int64, what is right.
        answer: (k,) int64, the victim's commonest answer in as many fresh draws as the row was scored in; -1 abstains.
        original: (k, C, H, W) uint8.
        adversarial: the same.
    """

    row: str
    index: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    answer: npt.NDArray[np.int64]
    original: npt.NDArray[np.uint8]
    adversarial: npt.NDArray[np.uint8]

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in DTYPES}

    @property
    def sha256(self) -> bytes:
        """Of the row's digest and everything shown."""
        hashed = hashlib.sha256(self.row.encode())
        for name, array in self._arrays().items():
            hashed.update(f"{name} {array.shape}".encode())
            hashed.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        return hashed.digest()

    def to_bytes(self) -> bytes:
        """The file's content, the same for the same examples."""
        sealed = {"row": self.row.encode(), "sha256": self.sha256}
        return pack_arrays(self._arrays() | {k: np.frombuffer(v, np.uint8) for k, v in sealed.items()})


DTYPES = {"index": np.int64, "label": np.int64, "answer": np.int64, "original": np.uint8, "adversarial": np.uint8}
SEALS = {"row": 64, "sha256": 32}
"""Bytes that tie the file to its row and to its content."""


def lost(record: EvaluationRecord) -> npt.NDArray[np.int64]:
    """Places of the images to show: right in every clean draw, wrong in every draw under attack; the first `MOST`."""
    clean, adversarial = record.victim.clean, record.victim.adversarial
    if adversarial is None:
        return np.zeros(0, np.int64)
    return np.flatnonzero((clean.right == clean.draws) & (adversarial.right == 0))[:MOST].astype(np.int64)


def path_of(board: Path, record: EvaluationRecord) -> Path:
    """Where a board keeps the examples of a row."""
    return board / "examples" / f"{record.digest}.npz"


def read(path: Path) -> Examples:
    """The examples in a file that anybody may have written.

    Raises:
        RowError: not such a file, larger than `MAX_BYTES`, or changed after it was written; the message names it.
    """
    try:
        arrays = _unpack(read_regular(path, MAX_BYTES))
        row = arrays["row"].tobytes().decode("ascii")
        found = Examples(row, **{name: arrays[name] for name in DTYPES})
    except (OSError, KeyError, ValueError, TypeError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError,
            RuntimeError) as error:  # fmt: skip
        # The last two: a compression method that isn't known, an encrypted member.
        raise RowError(f"{path}: not a file of examples: {told(error)}.") from None
    if found.sha256 != arrays["sha256"].tobytes():
        raise RowError(f"{path}: changed after it was written: its hash doesn't fit.")
    return found


def of(path: Path, record: EvaluationRecord) -> Examples:
    """The examples in a file, checked to belong to `record`.

    Raises:
        RowError: they don't, or as for `read`; the message names the file.
    """
    found = read(path)
    problem = check(found, record)
    if problem is not None:
        raise RowError(f"{path}: {problem}. Remove it, or run the board again.")
    return found


def _unpack(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an npz file, each declared size checked before a byte is unpacked."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sorted(m.filename for m in members) != sorted(f"{name}.npy" for name in (*DTYPES, *SEALS)):
            raise ValueError(f"it holds {told(', '.join(m.filename for m in members)) or 'nothing'}")
        if sum(m.file_size for m in members) > MAX_BYTES:
            raise ValueError(f"it would unpack to more than {MAX_BYTES} bytes")
        found = {m.filename.removesuffix(".npy"): _array(archive.read(m)) for m in members}
    k = len(found["index"])
    for name, dtype in DTYPES.items():
        array = found[name]
        wanted = 4 if dtype is np.uint8 else 1
        if array.dtype != dtype or array.ndim != wanted or len(array) != k:
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
    for name, size in SEALS.items():
        if found[name].dtype != np.uint8 or found[name].shape != (size,):
            raise ValueError(f"{name} is {found[name].dtype} of shape {found[name].shape}; expected {size} bytes")
    if not 0 < k <= MOST:
        raise ValueError(f"{k} images; expected 1 to {MOST}")
    if found["original"].shape != found["adversarial"].shape or found["original"].shape[1] not in CHANNELS:
        raise ValueError(f"images of shapes {found['original'].shape} and {found['adversarial'].shape}")
    return found


def _array(content: bytes) -> npt.NDArray[Any]:
    """An npy member; numpy would make room for whatever its header promises."""
    stream = io.BytesIO(content)
    shape, _, dtype = read_header(stream)
    if dtype.hasobject or stream.tell() + math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"an array of {dtype} and shape {shape} in {len(content)} bytes")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def check(found: Examples, record: EvaluationRecord) -> str | None:
    """Why `found` can't be the examples of `record`, in a clause; None where nothing speaks against it.

    Whether the originals are the data set's can't be told from a row.
    """
    import torch

    if found.row != record.digest:
        return f"belongs to the row {found.row}"
    expected = lost(record)
    if not np.array_equal(found.index, expected):
        return f"shows the images {found.index.tolist()}; by the row's counts they are {expected.tolist()}"
    if (found.label < 0).any() or (found.answer < -1).any():
        return "has a negative label"
    threat = ThreatModel.from_json(dict(record.setting["threat"]))
    outside = threat.violation(torch.from_numpy(found.original), torch.from_numpy(found.adversarial))
    if not bool((outside <= 1e-9).all()):
        worst = int(outside.argmax())
        return f"image {found.index[worst]} is {float(outside[worst]):.6g} pixels outside the ball of {threat.eps:g}"
    return None
