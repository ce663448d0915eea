"""Adversarial images as they are handed in: brought into the board's order, as 8-bit levels, inside the ball."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from robustnoise.data.dataset import Ids, Images, Split
from robustnoise.errors import BadSubmission
from robustnoise.submission.arrays import OVERHEAD, read_arrays
from robustnoise.submission.folder import File
from robustnoise.threat import LEVELS, Norm, ThreatModel

Array = npt.NDArray[Any]
ROWS = 1024
"""Images looked at at a time."""
EXACT = 1e-3
"""Levels by which a float may be off a whole level: float32 is off by less than 1e-4."""
NAMED = 5
"""Images that a problem names; of the others it gives the number."""
TOLERANCE = 1e-9


class Challenge(NamedTuple):
    """A layout of Madry et al.: the whole test part in its own order."""

    name: str
    shape: tuple[int, ...]
    first: int
    top: int


CHALLENGES = {
    "mnist": Challenge("mnist_challenge", (784,), 60_000, 1),
    "cifar10": Challenge("cifar10_challenge", (32, 32, 3), 50_000, LEVELS),
}
"""By dataset, whose test images are numbered from `first` on; pixels go up to `top`."""
TESTED = 10_000


class Checker:
    """Knows what a board's images must look like.

    Args:
        data: name of the dataset.
        split: the evaluation images.
        ball: norm and radius that the card claims.
    """

    def __init__(self, data: str, split: Split, ball: ThreatModel) -> None:
        self.split, self.ball = split, ball
        self.challenge = CHALLENGES.get(data)

    @property
    def limit(self) -> int:
        """Most bytes of a file: float64 images, int64 ids."""
        rows = max(len(self.split), TESTED) if self.challenge else len(self.split)
        return rows * (int(np.prod(self.split.input_shape)) + 1) * 8 + OVERHEAD

    def accept(self, member: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str | None:
        """What is wrong with an array of that header, or None."""
        n = len(self.split)
        if member == "ids":
            if dtype.kind not in "iu" or shape != (n,):
                return f"{dtype} of shape {shape}; expected whole numbers of shape ({n},), one id for each image."
            return None
        wanted = f"uint8 of shape {(n, *self.split.input_shape)}"
        if shape == (n, *self.split.input_shape):
            if dtype == np.uint8 or (dtype.kind == "f" and dtype.itemsize <= 8):
                return None
            return f"of {dtype}; expected {wanted}. Levels 0 to 255 become that with .astype(numpy.uint8)."
        if self.challenge and shape == (TESTED, *self.challenge.shape):
            if (dtype.kind == "f" or (dtype.kind in "iu" and self.challenge.top > 1)) and dtype.itemsize <= 8:
                return None
            return f"of {dtype}; {self.challenge.name} has floats up to {self.challenge.top}."
        also = f", or the layout of {self.challenge.name}, {(TESTED, *self.challenge.shape)}" if self.challenge else ""
        if len(shape) == 4 and shape[1:] == self.split.input_shape:
            few = "missing" if shape[0] < n else "too many"
            return f"{shape[0]:,} images, {abs(n - shape[0]):,} {few}; the board has {n:,}."
        return f"{dtype} of shape {shape}; expected {wanted}{also}."

    def read(self, file: File) -> tuple[Images | None, list[str]]:
        """The images of `file`, uint8 in the order of the evaluation images, and everything that is wrong with them."""
        try:
            arrays = read_arrays(file, self.accept)
        except BadSubmission as error:
            return None, [str(error)]
        what, x, ids = file.name, arrays["x"], arrays.get("ids")
        if x.shape[1:] == self.split.input_shape:
            return self._checked(what, x, self.split.ids if ids is None else ids.astype(np.int64), 1)
        assert self.challenge is not None
        if ids is not None:
            return None, [f"{what}: {self.challenge.name} is in the order of the test images and takes no ids."]
        order = self.challenge.first + np.arange(TESTED)
        at = np.searchsorted(order, self.split.ids)
        if self.challenge.top == 1:
            x = x.reshape(TESTED, *self.split.input_shape)
        else:
            x = x.transpose(0, 3, 1, 2)
        return self._checked(what, x[at], self.split.ids, self.challenge.top)

    def _checked(self, what: str, x: Array, ids: Ids, top: int) -> tuple[Images | None, list[str]]:
        problems = _wrong_ids(what, ids, self.split.ids)
        levels, wrong = _levels(what, x, ids, top)
        problems += wrong
        if problems or levels is None:
            return None, problems
        # A row for each evaluation image, whatever order they come in.
        order = np.argsort(ids, kind="stable")[np.argsort(np.argsort(self.split.ids, kind="stable"))]
        found = np.ascontiguousarray(levels[order])
        return found, self._outside(what, found)

    def _outside(self, what: str, x: Images) -> list[str]:
        """The images that lie outside the ball, each with what it has and what is allowed."""
        sizes = np.zeros(len(x))
        for start in range(0, len(x), ROWS):
            part = slice(start, start + ROWS)
            origin = torch.from_numpy(self.split.images[part].copy())
            sizes[part] = (self.ball.violation(origin, torch.from_numpy(x[part])) + self.ball.eps).numpy()
        bad = np.flatnonzero(~(sizes - self.ball.eps <= TOLERANCE))
        lines = []
        for i in bad[:NAMED]:
            size, limit = f"{sizes[i]:.6g}", f"{self.ball.eps:.6g}"
            if self.ball.norm is Norm.LINF:
                size += f" ({round(sizes[i] * LEVELS)} levels)"
                limit += f" ({int(self.ball.eps * LEVELS + 1e-6)} levels)"
            lines.append(f"{what}: image {self.split.ids[i]}: {self.ball.norm} distance {size}; the limit is {limit}.")
        return lines + _more(what, bad, "images outside the ball")


def _levels(what: str, x: Array, ids: Ids, top: int) -> tuple[Images | None, list[str]]:
    """`x`, whose pixels go from 0 to `top`, as uint8; or what is wrong with it, NaN included."""
    if x.dtype == np.uint8:
        return x, []
    found = np.empty(x.shape, np.uint8)
    bad = np.zeros(len(x), np.bool_)
    lines: list[str] = []
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS].astype(np.float64)
        with np.errstate(invalid="ignore"):
            scaled = part * (LEVELS / top)
            # Written so that NaN counts as wrong.
            wrong = ~((scaled >= -EXACT) & (scaled <= LEVELS + EXACT) & (np.abs(scaled - np.rint(scaled)) <= EXACT))
        bad[start : start + ROWS] = wrong.reshape(len(part), -1).any(1)
        for row in np.flatnonzero(bad[start : start + ROWS])[: NAMED - len(lines)]:
            value = part[row][wrong[row]][0]
            reason = f"holds {value:.9g}; expected values in [0, {top}]"
            if 0 <= value <= top:
                step = "1/255" if top == 1 else "1"
                reason = f"holds {value:.9g}, no multiple of {step}; 8-bit images are scored"
            lines.append(f"{what}: image {ids[start + row]}: {reason}.")
        found[start : start + ROWS] = np.rint(np.nan_to_num(scaled, nan=0, posinf=0, neginf=0)).clip(0, LEVELS)
    if not lines:
        return found, []
    lines += _more(what, np.flatnonzero(bad), "images that are no 8-bit images")
    return None, [
        *lines,
        f"{what}: round inside the ball, towards the original, and hand in uint8: docs/submitting.md.",
    ]


def _wrong_ids(what: str, ids: Ids, wanted: Ids) -> list[str]:
    unique, counts = np.unique(ids, return_counts=True)
    cases = {
        "is there more than once": unique[counts > 1],
        "is missing": np.setdiff1d(wanted, unique),
        "is no evaluation image of the board": np.setdiff1d(unique, wanted),
    }
    lines = []
    for reason, found in cases.items():
        lines += [f"{what}: image {i} {reason}." for i in found[:NAMED]]
        lines += _more(what, found, f"images of which each {reason}")
    return lines


def _more(what: str, found: Array, reason: str) -> list[str]:
    return [f"{what}: {len(found):,} {reason} in all."] if len(found) > NAMED else []
