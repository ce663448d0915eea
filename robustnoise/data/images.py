"""The user's own data as a folder of pictures, one folder a class."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from robustnoise.data.dataset import Images, Pool
from robustnoise.data.own import MAX_BYTES, pool_of
from robustnoise.errors import BadData
from robustnoise.extras import require

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {"L": 1, "RGB": 3}
"""Pillow's modes that are levels as they stand; any other would need a decision (a palette, transparency, 16 bits)."""


def _folders(root: Path) -> list[Path]:
    return sorted((p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")), key=lambda p: p.name)


def _pictures(folder: Path) -> list[Path]:
    files = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: p.name)
    for file in files:
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            raise BadData(f"{file} is no picture; expected only {', '.join(SUFFIXES)} files in a class folder. Move it")
    if not files:
        raise BadData(f"class folder {folder} is empty; expected {', '.join(SUFFIXES)} files. Add some, or remove it")
    return files


def _read(image_module: ModuleType, file: Path) -> Images:
    """One picture, uint8 of shape (C, H, W)."""
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a picture whose header promises gigabytes.
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            with image_module.open(file, formats=("PNG", "JPEG")) as picture:
                if picture.mode not in MODES:
                    raise BadData(
                        f"{file} has mode {picture.mode!r}; expected 'L' (grey) or 'RGB' with 8 bits. "
                        "Convert it, for example with Pillow's convert('RGB')"
                    )
                levels = np.asarray(picture, np.uint8)
    except BadData:
        raise
    except (
        OSError,
        SyntaxError,
        ValueError,
        image_module.DecompressionBombError,
        image_module.DecompressionBombWarning,
    ) as error:
        # A damaged PNG is a SyntaxError to Pillow.
        raise BadData(f"{file} can't be read as a picture ({error}). Replace or remove it") from error
    return levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)


def _read_all(files: Sequence[Path]) -> Images:
    image_module = require("PIL.Image", purpose="A folder of pictures", install="robustnoise[images]")
    first = _read(image_module, files[0])
    if first.nbytes * len(files) > MAX_BYTES:
        raise BadData(
            f"{len(files)} pictures of shape {first.shape} take {first.nbytes * len(files)} bytes; "
            f"expected at most {MAX_BYTES}. Use fewer or smaller ones"
        )
    images = np.empty((len(files), *first.shape), np.uint8)
    for i, file in enumerate(files):
        picture = _read(image_module, file)
        if picture.shape != first.shape:
            raise BadData(
                f"{file} has shape {picture.shape}, {files[0]} has {first.shape} (channels, height, width); "
                "expected one shape. Scale or convert the pictures first"
            )
        images[i] = picture
    return images


def load_folder(root: Path) -> Pool:
    """Load ``root/<class>/*.png`` (or jpg), or ``root/train/<class>/`` and ``root/test/<class>/``.

    Classes are numbered in the order of their names, images in the order of their paths, train before test; both are
    independent of the file system. Hidden files, and plain files beside the class folders, are ignored. Pictures are
    grey or RGB with 8 bits, of one shape, at most 8 GiB in all; a rotation mark of a camera isn't applied. The
    dataset is called after the folder, with ``-folder`` behind so that it can't be taken for a named dataset.

    Raises:
        BadData: fewer than 2 classes, an empty class, an unreadable picture, different shapes.
        MissingExtra: Pillow isn't installed.
    """
    parts = [root]
    if {folder.name for folder in _folders(root)} == {"train", "test"}:
        parts = [root / "train", root / "test"]
    classes = [folder.name for folder in _folders(parts[0])]
    if len(classes) < 2:
        raise BadData(
            f"{root}: too few classes: {len(classes)} class folders in {parts[0]}; expected at least 2, laid out as "
            "<class>/*.png, or train/<class>/*.png and test/<class>/*.png"
        )
    files, labels, sizes = [], [], []
    for part in parts:
        for folder in _folders(part):
            if folder.name not in classes:
                raise BadData(f"{folder} is a class without training images; expected one of {', '.join(classes)}")
            found = _pictures(folder)
            files += found
            labels += [classes.index(folder.name)] * len(found)
        sizes.append(len(files))
    return pool_of(
        f"{root.resolve().name}-folder",
        _read_all(files),
        np.array(labels, np.int64),
        num_classes=len(classes),
        train_size=sizes[0] if len(parts) == 2 else None,
    )
