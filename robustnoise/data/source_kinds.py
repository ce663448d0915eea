"""The kinds of named datasets: from a Python package, as IDX files, or CIFAR-10's binary version."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from robustnoise.data import cifar, idx
from robustnoise.data.dataset import Images, Labels, Pool, Shape
from robustnoise.data.download import fetch
from robustnoise.data.locate import advice, cache_dir, find, folders
from robustnoise.data.own import pool_of

READY = "ready"
NEEDS_DOWNLOAD = "needs download"
NUM_CLASSES = 10
"""Of every named dataset so far."""


class Source(Protocol):
    """A named dataset."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def origin(self) -> str: ...
    @property
    def note(self) -> str: ...

    def state(self, data_dir: Path | None) -> str:
        """``"ready"``, ``"needs download"`` or ``"needs extra ..."``; reads no data."""
        ...

    def load(self, data_dir: Path | None, *, progress: bool) -> Pool:
        """All of it, downloaded first where necessary."""
        ...


@dataclass(frozen=True)
class PackageSource:
    """A dataset that comes with an installed Python package: a single part, ids in the order of the package."""

    name: str
    _: KW_ONLY
    size: int
    shape: Shape
    package: str
    missing: str
    origin: str
    note: str
    read: Callable[[], tuple[Images, Labels]]

    def state(self, data_dir: Path | None) -> str:
        """Whether the package is installed; `data_dir` plays no part."""
        return READY if importlib.util.find_spec(self.package) else self.missing

    def load(self, data_dir: Path | None, *, progress: bool) -> Pool:
        """All images.

        Raises:
            MissingExtra: the package isn't installed.
        """
        images, labels = self.read()
        return pool_of(self.name, images, labels, num_classes=NUM_CLASSES, train_size=None)


@dataclass(frozen=True)
class IdxSource:
    """MNIST or Fashion-MNIST: four IDX files, each taken from the first place that has it.

    Attributes:
        files: train images, train labels, test images, test labels.
        mirrors: addresses of folders that hold the files with ``.gz``.
        flat: whether the files may lie in the data folder itself.
        clash: another dataset whose files have the same names (see `locate.folders`).
    """

    name: str
    _: KW_ONLY
    files: tuple[idx.IdxFile, idx.IdxFile, idx.IdxFile, idx.IdxFile]
    mirrors: Sequence[str]
    flat: bool
    clash: str | None
    origin: str
    note: str

    @property
    def size(self) -> int:
        """Train and test images."""
        return self.files[0].shape[0] + self.files[2].shape[0]

    @property
    def shape(self) -> Shape:
        """One channel, height, width."""
        _, height, width = self.files[0].shape
        return 1, height, width

    def _places(self, data_dir: Path | None) -> list[Path]:
        return folders(self.name, data_dir, flat=self.flat, clash=self.clash)

    def state(self, data_dir: Path | None) -> str:
        """Whether all files are there; their content is verified when they are loaded."""
        places = self._places(data_dir)
        there = all(find(places, file.name, f"{file.name}.gz") for file in self.files)
        return READY if there else NEEDS_DOWNLOAD

    def load(self, data_dir: Path | None, *, progress: bool) -> Pool:
        """All images.

        Raises:
            CorruptArtifact: a file that was found isn't the canonical one.
            DataUnavailable: a file is absent and can't be downloaded.
        """
        places = self._places(data_dir)
        missing = [f"{file.name}.gz" for file in self.files if not find(places, file.name, f"{file.name}.gz")]

        def read(file: idx.IdxFile) -> npt.NDArray[np.uint8]:
            path = find(places, file.name, f"{file.name}.gz") or fetch(
                f"{file.name}.gz",
                mirrors=self.mirrors,
                folder=cache_dir(self.name),
                # Gzip adds next to nothing even to content that doesn't shrink.
                limit=file.size + (1 << 16),
                check=lambda path: idx.read_idx(path, file),
                advice=advice(self.name, missing),
                progress=progress,
            )
            return idx.read_idx(path, file)

        train, train_labels, test, test_labels = map(read, self.files)
        return pool_of(
            self.name,
            np.concatenate([train, test])[:, None],
            np.concatenate([train_labels, test_labels]).astype(np.int64),
            num_classes=NUM_CLASSES,
            train_size=len(train),
        )


@dataclass(frozen=True)
class CifarSource:
    """CIFAR-10 in its binary version: the unpacked folder or the archive.

    Attributes:
        files: the batches, the last of which is the test part.
        mirrors: addresses of folders that hold the archive.
    """

    name: str
    _: KW_ONLY
    files: tuple[cifar.CifarFile, ...]
    mirrors: Sequence[str]
    origin: str
    note: str

    folder = "cifar-10-batches-bin"
    archive = "cifar-10-binary.tar.gz"
    pickled = ("cifar-10-batches-py", "cifar-10-python.tar.gz")
    shape = cifar.SHAPE

    @property
    def size(self) -> int:
        """Train and test images."""
        return sum(file.records for file in self.files)

    def _find(self, data_dir: Path | None) -> tuple[Path | None, Path | None]:
        """Where the binary version and the pickled version are."""
        places = folders(self.name, data_dir, flat=True)
        for place in places:
            unpacked = place / self.folder
            if all((unpacked / file.name).is_file() for file in self.files):
                return unpacked, None
            if (place / self.archive).is_file():
                return place / self.archive, None
        return None, find(places, *self.pickled)

    def state(self, data_dir: Path | None) -> str:
        """Whether folder or archive are there; their content is verified when they are loaded."""
        return READY if self._find(data_dir)[0] else NEEDS_DOWNLOAD

    def load(self, data_dir: Path | None, *, progress: bool) -> Pool:
        """All images.

        Raises:
            CorruptArtifact: a file that was found isn't the canonical one.
            DataUnavailable: neither folder nor archive are there, and the archive can't be downloaded.
        """
        path, pickled = self._find(data_dir)
        if path is None:
            hint = advice(self.name, [f"{self.archive} (or its folder {self.folder})"])
            if pickled is not None:
                hint = f"{pickled} is the python version, a pickle, which is never loaded as that runs code. {hint}"
            path = fetch(
                self.archive,
                mirrors=self.mirrors,
                folder=cache_dir(self.name),
                limit=sum(file.size for file in self.files) + cifar.ARCHIVE_SLACK,
                check=lambda path: cifar.read_batches(path, self.files),
                advice=hint,
                progress=progress,
            )
        images, labels = cifar.read_batches(path, self.files)
        train_size = self.size - self.files[-1].records
        return pool_of(self.name, images, labels, num_classes=NUM_CLASSES, train_size=train_size)
