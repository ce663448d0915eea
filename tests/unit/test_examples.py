"""Images beside a row: what is shown, and every way in which a file can be wrong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustnoise import examples as files
from robustnoise.errors import RowError
from robustnoise.examples import Examples, check, lost, of, read
from robustnoise.records import EvaluationRecord
from robustnoise.store import pack_arrays, unpack_arrays
from tests import page_boards as boards


@pytest.fixture
def record() -> EvaluationRecord:
    return boards.records(victims=1)[3]


@pytest.fixture
def found(record: EvaluationRecord) -> Examples:
    return boards.examples(record)


def test_the_first_images_that_were_lost_outright_are_shown(record: EvaluationRecord) -> None:
    clean, adversarial = record.victim.clean, record.victim.adversarial
    assert adversarial is not None
    wanted = [
        i for i in range(record.n) if clean.right[i] == clean.draws and adversarial.right[i] == 0
    ][: files.MOST]  # fmt: skip
    assert lost(record).tolist() == wanted != []
    assert not len(lost(replace(record, attack=None, victim=replace(record.victim, adversarial=None))))


def test_a_file_comes_back_as_it_was(record: EvaluationRecord, found: Examples, tmp_path: Path) -> None:
    path = files.path_of(tmp_path, record)
    path.parent.mkdir()
    path.write_bytes(found.to_bytes())
    again = of(path, record)
    assert again.to_bytes() == found.to_bytes()
    assert path.name == f"{record.digest}.npz"


def _over(found: Examples) -> Examples:
    """One pixel one level outside of the ball of 0.3, which 76 levels fit into."""
    adversarial = found.adversarial.copy()
    original = found.original.copy()
    original[1, 0, 3, 4], adversarial[1, 0, 3, 4] = 10, 87
    return replace(found, original=original, adversarial=adversarial)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda e: replace(e, row="0" * 64), "belongs to the row 000"),
        (lambda e: replace(e, index=e.index + 1), "shows the images"),
        (lambda e: replace(e, index=e.index[::-1].copy()), "shows the images"),
        (lambda e: replace(e, label=-e.label - 1), "negative label"),
        (_over, r"outside the ball of 0\.3"),
    ],
)
def test_what_does_not_belong_to_a_row_is_found(
    record: EvaluationRecord, found: Examples, edit: Callable[[Examples], Examples], message: str, tmp_path: Path
) -> None:
    assert check(found, record) is None
    path = tmp_path / "x.npz"
    path.write_bytes(edit(found).to_bytes())
    with pytest.raises(RowError, match=message) as caught:
        of(path, record)
    assert str(path) in str(caught.value)


def _with(found: Examples, **arrays: np.ndarray) -> bytes:
    return pack_arrays(unpack_arrays(found.to_bytes()) | arrays)


def _raw(found: Examples, name: str, content: bytes) -> bytes:
    """The file with the bytes of one member replaced."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(found.to_bytes())) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return made.getvalue()


def _header(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _pickle(found: Examples) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([print], dtype=object), allow_pickle=True)
    return _raw(found, "label.npy", stream.getvalue())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: b"", "not a file of examples"),
        (lambda e: e.to_bytes()[:-30], "not a file of examples"),
        (lambda e: _with(e, label=e.label + 1), "changed after it was written"),
        (lambda e: _with(e, adversarial=e.adversarial ^ np.uint8(1)), "changed after it was written"),
        (lambda e: _with(e, extra=e.label), "it holds"),
        (lambda e: _with(e, adversarial=e.adversarial.astype(np.float32)), "adversarial is float32"),
        (lambda e: _with(e, label=e.label[:-1]), "label is int64"),
        (lambda e: _with(e, sha256=np.zeros(31, np.uint8)), "expected 32 bytes"),
        (lambda e: replace(e, adversarial=e.adversarial[:, :, :-1]).to_bytes(), "images of shapes"),
        (lambda e: _raw(e, "original.npy", _header("(8, 3, 100000, 100000)")), "in 85 bytes"),
        (lambda e: _raw(e, "original.npy", bytes(files.MAX_BYTES)), "would unpack to more"),
        (_pickle, "object"),
        (lambda _: bytes(files.MAX_BYTES + 1), "of at most 8,388,608 bytes"),
    ],
)
def test_a_damaged_or_hostile_file_is_refused(
    found: Examples, make: Callable[[Examples], bytes], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(make(found))
    with pytest.raises(RowError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_changed_byte_anywhere_is_found_or_changes_nothing(found: Examples, tmp_path: Path) -> None:
    content = found.to_bytes()
    path = tmp_path / "x.npz"
    for place in np.random.default_rng(0).integers(0, len(content), 60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            assert read(path).to_bytes() == content
        except RowError:
            continue
