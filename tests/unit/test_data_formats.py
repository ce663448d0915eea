"""Parsers of the canonical formats on small made-up files: whole, cut off, altered, oversized."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from robustnoise.data import cifar, idx
from robustnoise.errors import CorruptArtifact, DataUnavailable


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


ARRAY = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = idx_bytes(ARRAY)
FILE = idx.IdxFile("images", (2, 3, 4), hashlib.sha256(CONTENT).hexdigest())


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_idx_is_read_packed_or_not_whatever_its_suffix(tmp_path: Path, pack: type[bytes], name: str) -> None:
    array = idx.read_idx(write(tmp_path / name, pack(CONTENT)), FILE)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, ARRAY)


def test_idx_of_labels() -> None:
    np.testing.assert_array_equal(idx.parse_idx(idx_bytes(np.array([3, 1]))), [3, 1])
    assert idx.IdxFile("labels", (2,), "").size == len(idx_bytes(np.array([3, 1])))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected the IDX header"),
        (b"\x00\x00\x0d\x03" + CONTENT[4:], "expected the IDX header of unsigned bytes"),
        (CONTENT[:9], "ends within its header, after 9 bytes"),
        (CONTENT[:-1], "has 39 bytes; its header says 40"),
        (idx_bytes(ARRAY.reshape(2, 4, 3)), r"array of shape \(2, 4, 3\); expected \(2, 3, 4\)"),
        (CONTENT[:-1] + b"\xff", "the sha256 of its unpacked content is .* expected"),
        (CONTENT + b"\x00", "longer than the expected 40 bytes"),
        (gzip.compress(CONTENT, mtime=0)[:-9], "damaged gzip data"),
        (gzip.compress(CONTENT, mtime=0)[:-8] + b"\x00" * 8, "damaged gzip data"),
        (gzip.compress(bytes(10_000_000), mtime=0), "longer than the expected 40 bytes"),
    ],
)
def test_wrong_idx_is_named_and_kept(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "images.gz", content)
    with pytest.raises(CorruptArtifact, match=message) as caught:
        idx.read_idx(path, FILE)
    assert str(path) in str(caught.value)
    assert "Delete it" in str(caught.value)
    assert path.read_bytes() == content


def test_a_header_that_promises_terabytes_allocates_nothing(tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 3]) + np.array([2**31, 2**20, 2**20], ">u4").tobytes()
    with pytest.raises(CorruptArtifact, match="its header says"):
        idx.read_idx(write(tmp_path / "images", header), FILE)


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataUnavailable, match=r"can't read .*images"):
        idx.read_idx(tmp_path / "images", FILE)


def batch(n: int, start: int) -> bytes:
    rng = np.random.default_rng(start)
    records = rng.integers(0, 256, (n, cifar.RECORD), dtype=np.uint8)
    records[:, 0] = (np.arange(n) + start) % 10
    return records.tobytes()


BATCHES = {"data_batch_1.bin": batch(3, 1), "test_batch.bin": batch(2, 2)}
FILES = tuple(cifar.CifarFile(k, len(v) // cifar.RECORD, hashlib.sha256(v).hexdigest()) for k, v in BATCHES.items())


def archive_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_records_are_planes_of_red_green_and_blue() -> None:
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes(range(32)) * 32
    images, labels = cifar.parse_records(record)
    assert labels.tolist() == [7]
    assert labels.dtype == np.int64
    assert images.shape == (1, 3, 32, 32)
    assert (images[0, 0] == 1).all()
    assert (images[0, 1] == 2).all()
    assert images[0, 2, 5].tolist() == list(range(32))  # row-major
    with pytest.raises(ValueError, match="multiple of 3073"):
        cifar.parse_records(record[:-1])


def test_folder_and_archive_give_the_same(tmp_path: Path) -> None:
    for name, content in BATCHES.items():
        write(tmp_path / name, content)
    images, labels = cifar.read_batches(tmp_path, FILES)
    assert labels.tolist() == [1, 2, 3, 2, 3]
    path = write(tmp_path / "cifar-10-binary.tar.gz", archive_of({"readme.html": b"<p>", **BATCHES}))
    from_archive, labels_from_archive = cifar.read_batches(path, FILES)
    np.testing.assert_array_equal(images, from_archive)
    np.testing.assert_array_equal(labels, labels_from_archive)
    assert {p.name for p in tmp_path.iterdir()} == {*BATCHES, path.name}  # nothing was unpacked beside it


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive_of({**BATCHES, "test_batch.bin": batch(2, 9)}), "sha256 of test_batch.bin is"),
        (archive_of({**BATCHES, "test_batch.bin": batch(1, 2)}), "test_batch.bin has 3073 bytes; expected 6146"),
        (archive_of({"test_batch.bin": BATCHES["test_batch.bin"]}), "holds no data_batch_1.bin .1 of 2 batches"),
        (archive_of(BATCHES)[:-100], "damaged tar.gz archive"),
        (b"<html>not found</html>", "damaged tar.gz archive"),
        (archive_of({"bomb": bytes(3 << 20), **BATCHES}), "unpacks to more than expected"),
        (archive_of({**BATCHES, "test_batch.bin": bytes(3 << 20)}), "unpacks to more than expected"),
    ],
)
def test_wrong_archive_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "cifar-10-binary.tar.gz", content)
    with pytest.raises(CorruptArtifact, match=message) as caught:
        cifar.read_batches(path, FILES)
    assert str(path) in str(caught.value)
    assert "Delete it" in str(caught.value)


def test_a_member_that_lies_about_its_size_unpacks_to_nothing(tmp_path: Path) -> None:
    info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    info.size = 1 << 40
    path = write(tmp_path / "cifar-10-binary.tar.gz", gzip.compress(info.tobuf() + bytes(5000)))
    with pytest.raises(CorruptArtifact, match=r"damaged tar.gz archive"):
        cifar.read_batches(path, FILES)


def test_altered_batch_in_the_folder(tmp_path: Path) -> None:
    for name, content in BATCHES.items():
        write(tmp_path / name, content)
    write(tmp_path / "test_batch.bin", batch(2, 5))
    with pytest.raises(CorruptArtifact, match=r"test_batch.bin is not the canonical file: the sha256"):
        cifar.read_batches(tmp_path, FILES)
    write(tmp_path / "test_batch.bin", batch(3, 2))
    with pytest.raises(CorruptArtifact, match="longer than the expected 6146 bytes"):
        cifar.read_batches(tmp_path, FILES)


def test_unreadable_archive(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"can't read .*gone.tar.gz"):
        cifar.read_batches(tmp_path / "gone.tar.gz", FILES)
