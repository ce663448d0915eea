"""The user's own data in an npz file. See `images` for a folder of pictures.

Arrays are ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test``, ``y_test``, and a scalar ``num_classes`` where not
every class occurs in the labels. Nothing is unpickled, and every declared size is checked before a byte is unpacked.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from robustnoise.data.dataset import Images, Labels, Pool
from robustnoise.errors import BadData, DataUnavailable, told
from robustnoise.npy import read_header

MAX_BYTES = 8 << 30
"""Most that a user's data may unpack to; everything is held in memory."""
BLOCK = 4096
"""Images converted at a time, so that float64 input needs no second full-size array."""
LAYOUTS = "(n, height, width), (n, height, width, 1 or 3) or (n, 1 or 3, height, width)"
ONE_PART = frozenset({"x", "y"})
TWO_PARTS = frozenset({"x_train", "y_train", "x_test", "y_test"})


def _check_member(file: Path, name: str, stream: IO[bytes], size: int) -> None:
    """Refuse an array whose header promises anything else than plain numbers of the member's own size."""
    try:
        shape, _, dtype = read_header(stream)
    except ValueError as error:
        raise BadData(f"{file}: {name} is no npy array ({told(error)}). Write the file with numpy.savez") from error
    if dtype.hasobject:
        raise BadData(
            f"{file}: array {name} holds Python objects, that is, a pickle, which is never loaded as that runs code. "
            "Convert it to numbers, then save it again"
        )
    if stream.tell() + math.prod(shape) * dtype.itemsize != size:
        raise BadData(f"{file}: array {name} of {dtype} and shape {shape} doesn't fit the {size} bytes stored for it")


def _read_npz(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > MAX_BYTES:
                raise BadData(
                    f"{path} would unpack to {unpacked} bytes; expected at most {MAX_BYTES}. Use fewer images, or uint8"
                )
            names = {member.filename.removesuffix(".npy") for member in members}
            if len(names) != len(members) or names - {"num_classes"} not in (ONE_PART, TWO_PARTS):
                held = told(", ".join(sorted(m.filename for m in members))) or "nothing"
                raise BadData(
                    f"{path} holds {held}; expected x and y, or "
                    "x_train, y_train, x_test and y_test, and at most num_classes beside them"
                )
            for member in members:
                with archive.open(member) as stream:
                    _check_member(path, member.filename.removesuffix(".npy"), stream, member.file_size)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in sorted(names)}
    except BadData:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        # The last two: a compression method that isn't known, an encrypted member.
        raise BadData(f"{path} is no readable npz file ({error}). Write it with numpy.savez_compressed") from error
    except OSError as error:
        raise DataUnavailable(f"can't read {path}: {error.strerror or error}. Check its permissions") from error


def _to_nchw(what: str, x: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4:
        first, last = x.shape[1] in (1, 3), x.shape[3] in (1, 3)
        if first and last:
            raise BadData(
                f"{what} has the ambiguous shape {x.shape}: its channels could come second or last. Expected images "
                "larger than 3 pixels"
            )
        if first:
            return x
        if last:
            return x.transpose(0, 3, 1, 2)
    raise BadData(f"{what} has shape {x.shape}; expected {LAYOUTS}")


def to_images(what: str, x: npt.NDArray[np.generic]) -> Images:
    """Convert images to uint8 NCHW.

    Args:
        what: names the array in messages.
        x: uint8 levels, or floats in [0, 1], which are rounded to the nearest of 256 levels. Shape NHW, NHWC or NCHW
            with 1 or 3 channels.

    Raises:
        BadData: another dtype or shape, no image, or a float that is NaN, infinite or outside [0, 1].
    """
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise BadData(
            f"{what} is of {x.dtype}; expected uint8 levels or floats in [0, 1]. "
            "If its values are levels 0 to 255, convert it with .astype(np.uint8)"
        )
    if 0 in x.shape:
        raise BadData(f"{what} has shape {x.shape}, no image; expected at least one")
    x = _to_nchw(what, x)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x, np.uint8)
    images = np.empty(x.shape, np.uint8)
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK].astype(np.float64)
        # Written so that NaN counts as bad.
        bad = ~((block >= 0) & (block <= 1))
        if bad.any():
            first = int(np.flatnonzero(bad.any(axis=(1, 2, 3)))[0])
            value = block[first][bad[first]][0]
            raise BadData(
                f"{what}: image {start + first} holds {value}; expected finite values in [0, 1]. "
                "Divide levels by 255, and undo any normalisation (it belongs into the model)"
            )
        images[start : start + BLOCK] = np.rint(block * 255)
    return images


def to_labels(what: str, y: npt.NDArray[np.generic], n: int) -> Labels:
    """Convert labels to int64; their range is checked by the pool.

    Raises:
        BadData: not integers of shape (n,).
    """
    if y.dtype.kind not in "iu" or y.shape != (n,):
        raise BadData(
            f"{what} is of {y.dtype} and shape {y.shape}; expected integers of shape ({n},), one for each image. "
            "Use y.argmax(1) for one-hot labels, y.ravel() for a column"
        )
    return y.astype(np.int64)


def pool_of(name: str, images: Images, labels: Labels, *, num_classes: int, train_size: int | None) -> Pool:
    """A pool with ids 0 to n - 1, whose images from `train_size` on are the test part (None: a single part)."""
    ids = np.arange(len(images), dtype=np.int64)
    test = None if train_size is None else ids[train_size:]
    return Pool(name, images=images, labels=labels, ids=ids, num_classes=num_classes, evaluation_ids=test)


def load_npz(path: Path) -> Pool:
    """Load an npz file of the user; its name, with the suffix, becomes the dataset's.

    Images are numbered in file order, x_train before x_test. Evaluation images come from x_test where it exists.

    Raises:
        BadData: wrong arrays, dtypes, shapes, ranges or labels, a pickle, fewer than 2 classes, or more than 8 GiB.
        DataUnavailable: the file can't be read.
    """
    arrays = _read_npz(path)
    parts = ("",) if "x" in arrays else ("_train", "_test")
    images, labels = [], []
    for part in parts:
        x = to_images(f"{path}: x{part}", arrays[f"x{part}"])
        images.append(x)
        labels.append(to_labels(f"{path}: y{part}", arrays[f"y{part}"], len(x)))
    if len({x.shape[1:] for x in images}) > 1:
        raise BadData(
            f"{path}: x_train has images of shape {images[0].shape[1:]}, x_test of {images[1].shape[1:]}; "
            "expected one shape"
        )
    all_labels = np.concatenate(labels)
    if "num_classes" in arrays:
        declared = arrays["num_classes"]
        if declared.dtype.kind not in "iu" or declared.size != 1:
            raise BadData(f"{path}: num_classes is of {declared.dtype} and shape {declared.shape}; expected an integer")
        num_classes = int(declared.reshape(-1).astype(np.int64)[0])
    else:
        num_classes = int(all_labels.max()) + 1
    return pool_of(
        path.name,
        np.concatenate(images),
        all_labels,
        num_classes=num_classes,
        train_size=len(images[0]) if len(parts) == 2 else None,
    )
