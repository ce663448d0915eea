"""The IDX format of MNIST and Fashion-MNIST: a big-endian header, then unsigned bytes. Gzipped or not."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from robustnoise.errors import CorruptArtifact, DataUnavailable

GZIP_MAGIC = b"\x1f\x8b"
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
"""What the standard library raises on a gzip stream that is cut off or altered."""


@dataclass(frozen=True)
class IdxFile:
    """One canonical file.

    Attributes:
        name: without ``.gz``.
        shape: (n,) for labels, (n, height, width) for images.
        sha256: of the unpacked content, since every mirror packs it differently.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Unpacked size in bytes."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


def corrupt(path: Path, reason: str) -> CorruptArtifact:
    """The error for a data file that isn't the canonical one. It is never replaced without being asked."""
    return CorruptArtifact(f"{path} is not the canonical file: {reason}. Delete it, then load the dataset again")


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a file, unpacked where it starts like gzip, of at most `limit` bytes.

    The magic decides, not the suffix: some servers unpack what they send, and the name stays.

    Raises:
        CorruptArtifact: the content is longer (a decompression bomb isn't unpacked any further), or damaged gzip.
        DataUnavailable: the file can't be read.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    content = stream.read(limit + 1)
            else:
                content = cast(IO[bytes], raw).read(limit + 1)
    except DAMAGED as error:
        raise corrupt(path, f"damaged gzip data ({error})") from error
    except OSError as error:
        raise DataUnavailable(f"can't read {path}: {error.strerror or error}. Check its permissions") from error
    if len(content) > limit:
        raise corrupt(path, f"its content is longer than the expected {limit} bytes")
    return content


def parse_idx(content: bytes) -> npt.NDArray[np.uint8]:
    """The array in an unpacked IDX file of unsigned bytes.

    Raises:
        ValueError: wrong magic, or a length other than the header says.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or not 1 <= content[3] <= 4:
        raise ValueError(f"it starts with {content[:4]!r}; expected the IDX header of unsigned bytes, 00 00 08 and 1-4")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"it ends within its header, after {len(content)} bytes")
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">u4"))
    if len(content) != start + math.prod(shape):
        raise ValueError(f"it has {len(content)} bytes; its header says {start + math.prod(shape)}, for shape {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_idx(path: Path, file: IdxFile) -> npt.NDArray[np.uint8]:
    """Read and verify one canonical file.

    Args:
        path: the file, gzipped or not.
        file: what it has to hold.

    Returns:
        uint8 of shape ``file.shape``, read-only.

    Raises:
        CorruptArtifact: header, length or hash differ.
        DataUnavailable: it can't be read.
    """
    content = read_bounded(path, file.size)
    try:
        array = parse_idx(content)
    except ValueError as error:
        raise corrupt(path, str(error)) from error
    if array.shape != file.shape:
        raise corrupt(path, f"it holds an array of shape {array.shape}; expected {file.shape}")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise corrupt(path, f"the sha256 of its unpacked content is {found}; expected {file.sha256}")
    return array
