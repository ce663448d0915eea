"""The binary version of CIFAR-10: records of one label byte, then 1024 red, 1024 green and 1024 blue bytes.

Only the binary version: the python version is a pickle, and loading a pickle runs whatever code is in it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robustnoise.data.idx import DAMAGED, corrupt, read_bounded
from robustnoise.errors import CorruptArtifact, DataUnavailable

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
ARCHIVE_SLACK = 1 << 20
"""Bytes that the archive may unpack to beyond its batches: headers, a readme, the class names."""


@dataclass(frozen=True)
class CifarFile:
    """One batch.

    Attributes:
        name: of the file in the folder ``cifar-10-batches-bin``.
        records: number of images.
        sha256: of the file.
    """

    name: str
    records: int
    sha256: str

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.records * RECORD


class _Bounded(io.RawIOBase):
    """A stream that fails after `limit` bytes, so that an archive can't unpack to more than it should."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        data = self._stream.read(wanted)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("it unpacks to more than expected")
        return data


def parse_records(content: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images, uint8 of shape (n, 3, 32, 32), and labels, int64 of shape (n,), of one batch.

    Raises:
        ValueError: the length is no multiple of 3073 bytes.
    """
    if len(content) % RECORD:
        raise ValueError(f"it has {len(content)} bytes; expected a multiple of {RECORD}")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    return records[:, 1:].reshape(-1, *SHAPE), records[:, 0].astype(np.int64)


def _parse_file(where: Path, file: CifarFile, content: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    if len(content) != file.size:
        raise corrupt(where, f"{file.name} has {len(content)} bytes; expected {file.size}")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise corrupt(where, f"the sha256 of {file.name} is {found}; expected {file.sha256}")
    return parse_records(content)


def read_batches(path: Path, files: tuple[CifarFile, ...]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read and verify all batches from the unpacked folder or from the archive.

    Args:
        path: the folder ``cifar-10-batches-bin`` or a file ``cifar-10-binary.tar.gz``. Nothing is written.
        files: the batches, in the order of the result.

    Returns:
        Images, uint8 of shape (n, 3, 32, 32), and labels, int64 of shape (n,).

    Raises:
        CorruptArtifact: a batch is missing, or its length or hash differs.
        DataUnavailable: a file can't be read.
    """
    if path.is_dir():
        parts = [_parse_file(path / file.name, file, read_bounded(path / file.name, file.size)) for file in files]
    else:
        contents = _read_archive(path, {file.name: file for file in files})
        parts = [_parse_file(path, file, contents[file.name]) for file in files]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _read_archive(path: Path, files: Mapping[str, CifarFile]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    limit = sum(file.size for file in files.values()) + ARCHIVE_SLACK
    try:
        with gzip.open(path) as unpacked:
            bounded = _Bounded(unpacked, limit)
            # "r|": read once, front to back. No member is written to the disk, so no name can lead out of a folder.
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                for member in archive:
                    name = Path(member.name).name
                    stream = archive.extractfile(member) if member.isreg() and name in files else None
                    if stream is not None:
                        contents[name] = stream.read()
    except (*DAMAGED, tarfile.TarError, ValueError) as error:
        raise corrupt(path, f"damaged tar.gz archive ({error})") from error
    except OSError as error:
        raise DataUnavailable(f"can't read {path}: {error.strerror or error}. Check its permissions") from error
    missing = sorted(files.keys() - contents.keys())
    if missing:
        raise CorruptArtifact(
            f"{path} holds no {missing[0]} ({len(missing)} of {len(files)} batches are missing); expected the binary "
            "version, cifar-10-binary.tar.gz. Delete it, then load the dataset again"
        )
    return contents
