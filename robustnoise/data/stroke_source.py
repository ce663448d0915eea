"""A dataset of pen strokes, made from a dataset of images and kept in the cache."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
import zlib
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np

from robustnoise.data import skeleton, strokes
from robustnoise.data.dataset import Images, Pool, Shape
from robustnoise.data.locate import cache_dir
from robustnoise.data.source_kinds import Source
from robustnoise.errors import CorruptArtifact, DataUnavailable

CODE_VERSION = 1
"""Rises when the same images give other strokes; part of the cached file's name."""
CHUNK = 1000


@dataclass(frozen=True)
class StrokeSource:
    """The strokes of another dataset's images, with its labels, ids and test part.

    An image is uint8 (1, length, 4): a row ``dx dy end_of_stroke end_of_digit`` plus 128 for each move of the pen (see
    `strokes`), then padding rows of 128.

    Attributes:
        base: the images, (1, H, W) each.
        length: the number of rows of every digit; a longer digit is cut off there.
    """

    name: str
    _: KW_ONLY
    base: Source
    length: int
    origin: str
    note: str

    @property
    def size(self) -> int:
        """As many as there are images."""
        return self.base.size

    @property
    def shape(self) -> Shape:
        """One channel, rows, and the four numbers of a row."""
        return 1, self.length, 4

    def state(self, data_dir: Path | None) -> str:
        """That of the images, or what has to be installed where no traced file is there."""
        # Whether it is the one of these images is known once they are read.
        traced = any(cache_dir(self.name).glob("strokes-*.npz"))
        return self.base.state(data_dir) if traced or importlib.util.find_spec("skimage") else "needs extra strokes"

    def load(self, data_dir: Path | None, *, progress: bool) -> Pool:
        """All digits, from the cache where they were traced before.

        Raises:
            CorruptArtifact: the cached file is damaged.
            DataUnavailable: the images can't be had, or the cached file can't be read.
            MissingExtra: scikit-image isn't installed, and there is no cached file.
            StoreError: the cache can't be written.
        """
        from robustnoise.store import atomic_write, pack_arrays

        pool = self.base.load(data_dir, progress=progress)
        key = hashlib.sha256(f"{pool.digest} {self.length} {CODE_VERSION}".encode()).hexdigest()
        path = cache_dir(self.name) / f"strokes-{key[:16]}.npz"
        if path.exists():
            images = self._read(path, key, len(pool))
        else:
            images = self._trace(pool.images[:, 0], progress=progress)
            # The whole key: its start in the name alone would not tie the content to its source.
            check = np.frombuffer(_checksum(key, images), np.uint8)
            atomic_write(path, pack_arrays({"images": images, "sha256": check}))
        return Pool(
            self.name,
            images=images,
            labels=pool.labels,
            ids=pool.ids,
            num_classes=pool.num_classes,
            evaluation_ids=pool.evaluation_ids,
        )

    def _trace(self, pictures: Images, *, progress: bool) -> Images:
        from rich.console import Console
        from rich.progress import Progress

        masks = skeleton.skeletons(pictures)
        console = Console(stderr=True)
        parts = []
        with Progress(console=console, disable=not (progress and console.is_terminal)) as bar:
            for start in bar.track(range(0, len(masks), CHUNK), description=f"tracing {self.name}"):
                digits = [strokes.rows_of(found) for found in strokes.strokes_of(masks[start : start + CHUNK])]
                parts.append(strokes.to_bytes(digits, self.length))
        return np.concatenate(parts)

    def _read(self, path: Path, key: str, n: int) -> Images:
        from robustnoise.store import unpack_arrays

        try:
            arrays = unpack_arrays(path.read_bytes())
            images, check = arrays["images"], arrays["sha256"].tobytes()
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, NotImplementedError) as error:
            raise _damaged(path, str(error)) from error
        except OSError as error:
            raise DataUnavailable(f"can't read {path}: {error.strerror or error}. Check its permissions") from error
        if images.dtype != np.uint8 or images.shape != (n, *self.shape):
            raise _damaged(path, f"it holds {images.dtype} of shape {images.shape}; expected uint8 {(n, *self.shape)}")
        if check != _checksum(key, images):
            raise _damaged(path, "its content has another sha256 than the one written beside it")
        return images


def _checksum(key: str, images: Images) -> bytes:
    return hashlib.sha256(key.encode() + np.ascontiguousarray(images).tobytes()).digest()


def _damaged(path: Path, reason: str) -> CorruptArtifact:
    return CorruptArtifact(f"{path} is damaged: {reason}. Delete it, then load the dataset again")
