"""The types of the data layer: a pool (all a source gives), a split of it, and a dataset of four splits.

Images stay uint8 in memory: four times smaller than float32, and exactly what an 8-bit attack has to round to.
An image is known by its id, a number that a source gives once; records, splits and leaderboard rows name ids.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from robustnoise.errors import BadData

Ids = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]
Overlap = Literal["none", "same"] | float
"""How the attacker's ids overlap with the training ids: not at all, wholly, or by a share in (0, 1)."""


def _describe(array: object) -> str:
    if isinstance(array, np.ndarray):
        return f"{array.dtype} of shape {array.shape}"
    return type(array).__name__


def _check_int64(what: str, array: object, n: int) -> npt.NDArray[np.int64]:
    if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.shape != (n,):
        raise BadData(f"{what} are {_describe(array)}; expected int64 of shape ({n},), one for each image")
    return array


def check_overlap(overlap: object) -> None:
    """Refuse anything but ``"none"``, ``"same"`` or a share in (0, 1), as BadData."""
    share = isinstance(overlap, (int, float)) and not isinstance(overlap, bool) and 0 < overlap < 1
    if not share and overlap not in ("none", "same"):
        raise BadData(f"overlap is {overlap!r}; expected 'none', 'same' or a share between 0 and 1, both excluded")


def _check_arrays(what: str, ids: object, images: object, labels: object, num_classes: object) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape[1:]:
        raise BadData(
            f"{what}: images are {_describe(images)}; expected uint8 of shape (n, channels, height, width). "
            "Convert [0, 1] floats with np.rint(x * 255).astype(np.uint8)"
        )
    ids = _check_int64(f"{what}: ids", ids, len(images))
    labels = _check_int64(f"{what}: labels", labels, len(images))
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 2:
        raise BadData(
            f"{what}: too few classes: num_classes is {num_classes!r}; expected an integer of at least 2. "
            "If not every class occurs in the labels, give num_classes"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise BadData(
            f"{what}: the label of image {wrong[0]} is {labels[wrong[0]]}; expected 0 to {num_classes - 1} "
            f"(num_classes = {num_classes}; {wrong.size} labels are outside)"
        )
    if ids.size and ids.min() < 0:
        raise BadData(f"{what}: id {ids.min()} is negative; expected ids of at least 0")
    unique, counts = np.unique(ids, return_counts=True)
    if unique.size != ids.size:
        raise BadData(f"{what}: id {unique[counts > 1][0]} occurs twice; expected each id once")


def _digest(header: dict[str, object], *arrays: npt.NDArray[np.generic]) -> str:
    """Sha256 over a JSON header and the arrays' little-endian bytes; the header holds the shapes."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for array in arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        sha.update(little.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def _frozen(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A read-only view, so that a cached digest can't go stale by a write through this object."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Split:
    """A part of a dataset, in an order that means something: the first n images are a fair sample (see `splits`).

    The arrays are read-only views. Compare two splits by `digest`.

    Attributes:
        ids: int64 of shape (n,), at least 0, each once.
        images: uint8 of shape (n, C, H, W), levels 0 to 255.
        labels: int64 of shape (n,), 0 to num_classes - 1.
        num_classes: at least 2.
        name: what the split is, such as ``"evaluation"``; not part of the digest.

    Raises:
        BadData: an array has another dtype, shape or range.
    """

    ids: Ids
    _: KW_ONLY
    images: Images
    labels: Labels
    num_classes: int
    name: str

    def __post_init__(self) -> None:
        _check_arrays(f"split {self.name!r}", self.ids, self.images, self.labels, self.num_classes)
        for field in ("ids", "images", "labels"):
            object.__setattr__(self, field, _frozen(getattr(self, field)))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def input_shape(self) -> Shape:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def digest(self) -> str:
        """Sha256 (64 hex digits) of ids, images, labels and num_classes, in this order of the images."""
        header: dict[str, object] = {"shape": self.images.shape, "num_classes": self.num_classes}
        return _digest(header, self.ids, self.images, self.labels)

    def floats(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Images start to stop (as in a slice) as a fresh float32 array in [0, 1], level / 255."""
        return self.images[start:stop].astype(np.float32) / np.float32(255)

    def take(self, n: int) -> Split:
        """The first `n` images, 1 to len(self), under the same name.

        Raises:
            BadData: `n` is outside that range.
        """
        if not 1 <= n <= len(self):
            raise BadData(f"can't take {n} images of split {self.name!r}; expected 1 to {len(self)}")
        return Split(
            self.ids[:n], images=self.images[:n], labels=self.labels[:n], num_classes=self.num_classes, name=self.name
        )


@dataclass(frozen=True, eq=False)
class Pool:
    """Everything a source gives, before it is split.

    Attributes:
        name: of the source.
        images: uint8 of shape (n, C, H, W).
        labels: int64 of shape (n,), 0 to num_classes - 1.
        ids: int64 of shape (n,), each once.
        num_classes: at least 2.
        evaluation_ids: the ids of the source's own test part, from which alone evaluation images come, or None
            where the source has a single part.

    Raises:
        BadData: an array has another dtype, shape or range, or the test part is empty, everything or unknown ids.
    """

    name: str
    _: KW_ONLY
    images: Images
    labels: Labels
    ids: Ids
    num_classes: int
    evaluation_ids: Ids | None = None

    def __post_init__(self) -> None:
        what = f"dataset {self.name!r}"
        _check_arrays(what, self.ids, self.images, self.labels, self.num_classes)
        for field in ("images", "labels", "ids"):
            object.__setattr__(self, field, _frozen(getattr(self, field)))
        if self.evaluation_ids is not None:
            known = np.isin(self.evaluation_ids, self.ids)
            if not known.all():
                raise BadData(f"{what}: evaluation id {self.evaluation_ids[~known][0]} is no id of the dataset")
            if not 0 < len(np.unique(self.evaluation_ids)) < len(self):
                raise BadData(f"{what}: {known.size} of {len(self)} images are its test part; expected some, not all")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """Sha256 (64 hex digits) of the unpacked content: all arrays, num_classes and which part is for testing."""
        test = np.zeros(0, np.int64) if self.evaluation_ids is None else self.evaluation_ids
        header: dict[str, object] = {
            "shape": self.images.shape,
            "num_classes": self.num_classes,
            "test": None if self.evaluation_ids is None else len(test),
        }
        return _digest(header, self.ids, self.images, self.labels, test)


def _shared(a: Split, b: Split) -> Ids:
    return np.intersect1d(a.ids, b.ids)


def check_splits(*, train: Split, attacker: Split, validation: Split, evaluation: Split, overlap: Overlap) -> None:
    """Verify that nobody has seen an evaluation image, and that the attacker has what is declared of `train`.

    Evaluation is disjoint from all others and validation from train and attacker. Attacker and train share nothing
    (``"none"``), hold the same ids (``"same"``), or share ``round(overlap * len(attacker))`` ids.

    Raises:
        BadData: "overlapping splits", with the number of ids and the first of them, or an overlap that is not the
            declared one.
    """
    check_overlap(overlap)
    pairs = [(evaluation, train), (evaluation, attacker), (evaluation, validation)]
    pairs += [(validation, train), (validation, attacker)]
    if overlap == "none":
        pairs.append((attacker, train))
    for a, b in pairs:
        both = _shared(a, b)
        if both.size:
            hint = ""
            if (a, b) == (attacker, train):
                hint = ", or declare it with overlap='same' or a share in (0, 1)"
            raise BadData(
                f"overlapping splits: {both.size} of {len(a)} ids of {a.name!r} are in {b.name!r} too, "
                f"for example id {both[0]}; expected none. Take them out of one of the two{hint}"
            )
    if overlap == "none":
        return
    both = _shared(attacker, train)
    if overlap == "same":
        if not len(attacker) == len(train) == both.size:
            raise BadData(
                f"overlap='same' is declared, but of {len(attacker)} attacker ids {both.size} are among the "
                f"{len(train)} training ids; expected the same ids in both"
            )
        return
    expected = round(float(overlap) * len(attacker))
    if both.size != expected:
        raise BadData(
            f"overlap={overlap} is declared, but {both.size} of {len(attacker)} attacker ids are training ids; "
            f"expected {expected}"
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Four splits of one source, checked to be as disjoint as declared, also when built by hand.

    Attributes:
        name: of the source.
        digest: identifies the content of the whole source, whatever the split.
        num_classes: the same for every split.
        input_shape: (C, H, W), the same for every split.
        train: what the victim is trained on.
        attacker: the labelled data an attacker owns.
        validation: to choose noise levels, votes and the like.
        evaluation: to measure on; disjoint from all others.
        overlap: the declared overlap of `attacker` with `train`.

    Raises:
        BadData: overlapping splits, an overlap other than declared, an empty train or evaluation split, or splits
            of different shape or number of classes.
    """

    name: str
    _: KW_ONLY
    digest: str
    num_classes: int
    input_shape: Shape
    train: Split
    attacker: Split
    validation: Split
    evaluation: Split
    overlap: Overlap = "none"

    def __post_init__(self) -> None:
        for split in (self.train, self.attacker, self.validation, self.evaluation):
            if (split.num_classes, split.input_shape) != (self.num_classes, tuple(self.input_shape)):
                raise BadData(
                    f"dataset {self.name!r}: split {split.name!r} has {split.num_classes} classes and images of shape "
                    f"{split.input_shape}; expected {self.num_classes} classes and shape {tuple(self.input_shape)}"
                )
        for split in (self.train, self.evaluation):
            if not len(split):
                raise BadData(f"dataset {self.name!r}: split {split.name!r} is empty; expected at least 1 image")
        check_splits(
            train=self.train,
            attacker=self.attacker,
            validation=self.validation,
            evaluation=self.evaluation,
            overlap=self.overlap,
        )
