"""Skeletons become pen strokes, in the format of E. D. de Jong's MNIST stroke sequences.

A row is ``dx dy end_of_stroke end_of_digit``, y downwards. A stroke is a jump ``dx dy 0 0`` to its first pixel, from
the origin or from where the pen was lifted; moves to one of the eight neighbours, ``dx dy 0 0``; and ``0 0 1 0`` as the
pen is lifted, ``0 0 1 1`` after the last one. Format: https://github.com/edwin-de-jong/mnist-digits-stroke-sequence-data.

The order of the pixels is this module's own, from a walk over links between pixels instead of a tour through them: a
stroke starts from the end point nearest to the top left corner, or the pixel nearest to it in a loop; goes straight on
at junctions; and ends where every link is drawn. A link is drawn once, so that a closed loop is closed and a crossing
is crossed. Every pixel of the skeleton is visited.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from robustnoise.data.skeleton import OFFSETS, Mask, links

Point = tuple[int, int]
"""(x, y)."""
Stroke = list[Point]
Rows = npt.NDArray[np.int64]
"""int64 (number of rows, 4)."""
LOOK_BACK = 3
"""Over how many pixels the direction of a stroke is measured."""
OFFSET_LEVEL = 128
"""Added to each number where rows are stored as bytes; a padding row is four zeros."""
_ORDER = {offset: rank for rank, offset in enumerate(OFFSETS)}


def strokes_of(masks: Mask) -> list[list[Stroke]]:
    """The strokes of each skeleton, bool (n, H, W); none where a skeleton has no pixel."""
    found = []
    for mask, bits in zip(masks, links(masks), strict=True):
        graph = {
            (x, y): {(x + dx, y + dy) for bit, (dx, dy) in enumerate(OFFSETS) if value >> bit & 1}
            for y, x, value in zip(*(a.tolist() for a in np.nonzero(mask)), bits[mask].tolist(), strict=True)
        }
        found.append(_trace(graph))
    return found


def _trace(graph: dict[Point, set[Point]]) -> list[Stroke]:
    """Draw every link of `graph` once, and every pixel without links; empties it."""
    strokes = []
    isolated = {point for point, linked in graph.items() if not linked}
    while graph:
        ends = [point for point, linked in graph.items() if len(linked) == 1 or point in isolated]
        # x + y is the way to the corner in steps; y decides between points at the same distance.
        start = min(ends or graph, key=lambda point: (point[0] + point[1], point[1]))
        strokes.append(_walk(graph, start))
        graph = {point: linked for point, linked in graph.items() if linked or (point in isolated and point != start)}
    return strokes


def _walk(graph: dict[Point, set[Point]], start: Point) -> Stroke:
    stroke = [start]
    while linked := graph[stroke[-1]]:
        here, back = stroke[-1], stroke[max(0, len(stroke) - 1 - LOOK_BACK)]
        heading = here[0] - back[0], here[1] - back[1]
        onward = max(linked, key=lambda point: _straightness(heading, (point[0] - here[0], point[1] - here[1])))
        graph[here].remove(onward)
        graph[onward].remove(here)
        stroke.append(onward)
    return stroke


def _straightness(heading: Point, step: Point) -> tuple[float, int]:
    """The larger, the less `step` turns away from `heading`; equal turns in the order of OFFSETS."""
    along: float = heading[0] * step[0] + heading[1] * step[1]
    # The length of the heading is the same for every step that is compared.
    return (along / 2**0.5 if step[0] and step[1] else along), -_ORDER[step]


def rows_of(strokes: Iterable[Stroke]) -> Rows:
    """The rows of a digit, at least one."""
    rows: list[tuple[int, int, int, int]] = []
    pen = 0, 0
    for stroke in strokes:
        for point in stroke:
            rows.append((point[0] - pen[0], point[1] - pen[1], 0, 0))
            pen = point
        rows.append((0, 0, 1, 0))
    return np.array([*rows[:-1], (0, 0, 1, 1)], np.int64)


def to_bytes(digits: Sequence[Rows], length: int) -> npt.NDArray[np.uint8]:
    """All digits as images, uint8 (n, 1, length, 4), each number plus 128.

    Padding rows are four zeros, 128 128 128 128. A digit of more than `length` rows is cut off there: its last row
    becomes ``0 0 1 1``.
    """
    images = np.full((len(digits), 1, length, 4), OFFSET_LEVEL, np.uint8)
    for image, rows in zip(images[:, 0], digits, strict=True):
        image[: len(rows)] = rows[:length] + OFFSET_LEVEL
        if len(rows) > length:
            image[-1] = np.array((0, 0, 1, 1)) + OFFSET_LEVEL
    return images
