"""Arrays from strangers: npy and npz files cut, changed and made up, wherever one is read."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustnoise import examples as example_files
from robustnoise.data.own import load_npz
from robustnoise.errors import BadData, BadSubmission, DataUnavailable, RowError
from robustnoise.examples import Examples
from robustnoise.submission.arrays import read_arrays
from robustnoise.submission.folder import File
from tests.hostile.bounds import bounded
from tests.hostile.mutations import damaged, examples

X = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)
Y = np.arange(3)
SHOWN = Examples("0" * 64, np.arange(3), np.arange(3), np.ones(3, np.int64), X, X)


def npz(compressed: bool = True, **arrays: Any) -> bytes:
    """A file of numpy."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def headed(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An npy file with any header."""
    text = header.encode("latin1", "replace")
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text) % 2**16)
    return b"\x93NUMPY" + version + size + text + data


def zipped(*members: tuple[str, bytes]) -> bytes:
    """A zip of any members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _submitted(path: Path) -> None:
    def accept(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str | None:
        return None if shape == ((3,) if name == "ids" else X.shape) and dtype.kind in "uif" else "another array"

    try:
        read_arrays(File(path.name, path.read_bytes(), ""), accept)
    except BadSubmission as error:
        assert path.name in str(error)


def _own(path: Path) -> None:
    try:
        load_npz(path)
    except (BadData, DataUnavailable) as error:
        assert path.name in str(error)


def _shown(path: Path) -> None:
    try:
        example_files.read(path)
    except RowError as error:
        assert str(path) in str(error)


READERS: dict[str, tuple[Callable[[Path], None], list[bytes]]] = {
    "submitted": (_submitted, [npz(x=X, ids=np.arange(3)), npz(compressed=False, x=X)]),
    "own": (_own, [npz(x=X, y=Y), npz(compressed=False, x_train=X, y_train=Y, x_test=X, y_test=Y)]),
    "shown": (_shown, [SHOWN.to_bytes()]),
}  # fmt: skip
HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999, 1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, -1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (3.0, 1, 8, 8)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (3, 1, 8, 8)}",
    "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (3, 1, 8, 8)}",
    "{'descr': [('a', '<f8', (99999, 99999))], 'fortran_order': False, 'shape': (3, 1, 8, 8)}",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (3, 1, 8, 8)}",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (3, 1, 8, 8)}",
    "{'descr': '<f16', 'fortran_order': False, 'shape': (3, 1, 8, 8)}",
    "{'descr': '<U999999999', 'fortran_order': False, 'shape': (3, 1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': 7, 'shape': (3, 1, 8, 8)}",
    "{'descr': '|u1', 'shape': (3, 1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1," * 3000 + ")}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': " + "(" * 9000 + "}",
    "{'descr': " + "[" * 200 + "]" * 200 + "}",
    "__import__('os').abort()",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 1, 8, 8)}" + " " * 60_000,
    "\x00" * 100,
    "",
]


@pytest.mark.parametrize("name", READERS)
def test_headers_that_promise_anything_are_refused(tmp_path: Path, name: str) -> None:
    read, (good, *_) = READERS[name]
    path = tmp_path / "strange.npz"
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        real = [(info.filename, archive.read(info)) for info in archive.infolist()]
    for header in HEADERS:
        for version in (b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"):
            bad = headed(header, X.tobytes(), version)
            for place in range(len(real)):
                path.write_bytes(zipped(*real[:place], (real[place][0], bad), *real[place + 1 :]))
                with bounded():
                    read(path)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_that_are_made_up_are_refused(tmp_path: Path, name: str) -> None:
    read, (good, *_) = READERS[name]
    path = tmp_path / "strange.npz"
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1, 8, 8)}"
    bomb = headed(header, bytes(5_000_000))
    for content in (
        zipped(),
        zipped(*[(f"{i}.npy", b"") for i in range(10_000)]),
        zipped(("x.npy", bomb), ("y.npy", bomb)),
        zipped(("../../x.npy", b""), ("/etc/y.npy", b"")),
        zipped(("x.npy", good)),  # a zip in a zip
        zipped(("x", b"\x80\x04cos\nsystem\n")),
        good + good,
        good[:-22],
        good.replace(b"PK\x01\x02", b"PK\x01\x03"),
        b"PK\x05\x06" + b"\xff" * 18,
        b"\x1f\x8b" + good,
    ):
        path.write_bytes(content)
        with bounded():
            read(path)


def _strange(name: str) -> st.SearchStrategy[bytes]:
    return st.one_of(*[damaged(content) for content in READERS[name][1]])


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@examples(80)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_strange_arrays_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{name}.npz"
    path.write_bytes(data.draw(_strange(name)))
    with bounded():
        READERS[name][0](path)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@examples(5000)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_more_strange_arrays_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{name}.npz"
    path.write_bytes(data.draw(_strange(name)))
    with bounded():
        READERS[name][0](path)
