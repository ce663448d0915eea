"""The user's own data: npz files and folders of pictures, good and bad."""

from __future__ import annotations

import io
import pickle
import re
import struct
import sys
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustnoise.data import load_dataset, load_folder, load_npz, own
from robustnoise.errors import BadData, DataUnavailable, MissingExtra

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 6, 5), dtype=np.uint8)
Y = np.arange(12) % 3


def save(tmp_path: Path, **arrays: object) -> Path:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def test_npz_of_one_part(tmp_path: Path) -> None:
    pool = load_npz(save(tmp_path, x=X, y=Y.astype(np.uint8)))
    assert pool.name == "mine.npz"
    assert pool.images.shape == (12, 1, 6, 5)
    np.testing.assert_array_equal(pool.images[:, 0], X)
    assert pool.labels.tolist() == Y.tolist()
    assert pool.ids.tolist() == list(range(12))
    assert pool.num_classes == 3
    assert pool.evaluation_ids is None


def test_npz_of_two_parts(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=X[:8], y_train=Y[:8], x_test=X[8:], y_test=Y[8:])
    data = load_dataset(str(path))
    assert sorted(data.evaluation.ids.tolist()) == [8, 9, 10, 11]
    np.testing.assert_array_equal(data.evaluation.images[:, 0], X[8:])
    assert max(data.train.ids) < 8
    assert data.name == "mine.npz"


def test_uncompressed_npz_and_fortran_order(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.asfortranarray(X), y=Y)
    np.testing.assert_array_equal(load_npz(path).images[:, 0], X)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_float_images_are_rounded_to_the_nearest_level(tmp_path: Path, dtype: str) -> None:
    x = (X / 255).astype(dtype)
    np.testing.assert_array_equal(load_npz(save(tmp_path, x=x, y=Y)).images[:, 0], X)
    between = np.full((12, 6, 5), 100.4 / 255)
    assert (load_npz(save(tmp_path, x=between, y=Y)).images == 100).all()


def test_float_images_are_converted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "BLOCK", 5)
    np.testing.assert_array_equal(own.to_images("x", X / 255)[:, 0], X)
    x = X / 255
    x[11, 2, 3] = 1.5
    with pytest.raises(BadData, match=r"x: image 11 holds 1.5; expected finite values in \[0, 1\]"):
        own.to_images("x", x)


def test_layouts(tmp_path: Path) -> None:
    rgb = RNG.integers(0, 256, (12, 3, 6, 5), dtype=np.uint8)
    for x in (rgb, rgb.transpose(0, 2, 3, 1)):
        np.testing.assert_array_equal(load_npz(save(tmp_path, x=x, y=Y)).images, rgb)
    for x in (X[:, None], X[..., None]):
        np.testing.assert_array_equal(load_npz(save(tmp_path, x=x, y=Y)).images[:, 0], X)


def test_num_classes_may_be_declared(tmp_path: Path) -> None:
    assert load_npz(save(tmp_path, x=X, y=np.zeros(12, int), num_classes=10)).num_classes == 10
    with pytest.raises(BadData, match=r"too few classes: num_classes is 1; .*give num_classes"):
        load_npz(save(tmp_path, x=X, y=np.zeros(12, int)))


def bad(**changes: object) -> dict[str, object]:
    return {"x": X, "y": Y, **changes}


def with_value(value: float) -> np.ndarray:
    x = np.zeros((12, 6, 5), np.float32)
    x[7, 0, 1] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (bad(x=with_value(np.nan)), "x: image 7 holds nan"),
        (bad(x=with_value(np.inf)), "x: image 7 holds inf"),
        (bad(x=with_value(-0.01)), "x: image 7 holds -0.0"),
        (bad(x=with_value(255)), r"x: image 7 holds 255.0; expected finite values in \[0, 1\]. Divide"),
        (bad(x=X.astype(np.int64)), r"x is of int64; expected uint8 .*astype\(np.uint8\)"),
        (bad(x=X.astype(bool)), "x is of bool"),
        (bad(x=X.astype(complex)), "x is of complex128"),
        (bad(x=X.reshape(12, 30)), r"x has shape \(12, 30\); expected \(n, height, width\)"),
        (bad(x=X.reshape(12, 2, 3, 5)), r"x has shape \(12, 2, 3, 5\); expected"),
        (bad(x=np.zeros((12, 3, 6, 3), np.uint8)), r"ambiguous shape \(12, 3, 6, 3\)"),
        (bad(x=np.zeros((12, 1, 6, 1), np.uint8)), "ambiguous shape"),
        (bad(x=X[:0], y=Y[:0]), "no image; expected at least one"),
        (bad(y=Y[:5]), r"y is of int64 and shape \(5,\); expected integers of shape \(12,\)"),
        (bad(y=np.eye(12)), "argmax"),
        (bad(y=Y[:, None]), "ravel"),
        (bad(y=Y.astype(float)), "y is of float64"),
        (bad(y=Y - 1), "the label of image 0 is -1"),
        (bad(num_classes=2), "the label of image 2 is 2; expected 0 to 1"),
        (bad(num_classes=1.5), "num_classes is of float64"),
        (bad(num_classes=[3, 3]), "num_classes is of int64 and shape"),
        ({"x": X}, "holds x.npy; expected x and y, or x_train"),
        ({}, "holds nothing; expected x and y"),
        (bad(x_test=X), "holds x.npy, x_test.npy, y.npy; expected"),
        (bad(num_class=3), "holds num_class.npy, x.npy, y.npy; expected"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :5], "y_test": Y}, r"x_train has images of shape \(1, 6, 5\), x_"),
        (bad(x=np.array([{}] * 12, object)), "array x holds Python objects, that is, a pickle, which is never loaded"),
        (bad(y=np.array(["a"] * 12)), "y is of <U1"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bad_npz_is_refused(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    path = save(tmp_path, **arrays)
    with pytest.raises(BadData, match=message) as caught:
        load_npz(path)
    assert str(path) in str(caught.value) or "mine.npz" in str(caught.value)


class Trap:
    """Unpickling one of these would be seen."""

    sprung = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Trap, "sprung", True)


def test_no_pickle_is_ever_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.array([Trap()] * 3, object), y=Y[:3])
    with pytest.raises(BadData, match="pickle"):
        load_npz(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadData, match="is no readable npz file"):
        load_npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Trap()))
        archive.writestr("y.npy", b"")
    with pytest.raises(BadData, match="x is no npy array"):
        load_npz(path)
    assert not Trap.sprung


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_zip_bombs_are_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, x=np.zeros((100, 64, 64), np.uint8), y=np.arange(100) % 3)
    monkeypatch.setattr(own, "MAX_BYTES", 100 * 64 * 64)
    with pytest.raises(BadData, match=r"would unpack to .* bytes; expected at most 409600"):
        load_npz(path)
    # A header that promises more than is stored: numpy would allocate it before reading.
    header = npy(X).replace(b"(12, 6, 5)", b"(9 , 9, 9)")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header)
        archive.writestr("y.npy", npy(Y))
    with pytest.raises(BadData, match=r"array x of uint8 and shape \(9, 9, 9\) doesn't fit the 488 bytes"):
        load_npz(path)


def test_damaged_npz(tmp_path: Path) -> None:
    path = save(tmp_path, x=X, y=Y)
    content = bytearray(path.read_bytes())
    for damaged in (content[:-30], content[:100], b"", b"not a zip file"):
        path.write_bytes(damaged)
        with pytest.raises(BadData, match="is no readable npz file"):
            load_npz(path)
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BadData, match=r"mine.npz"):
        load_npz(path)
    with pytest.raises(DataUnavailable, match="can't read"):
        load_npz(tmp_path / "gone.npz")


def test_npy_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    for version, accepted in (((2, 0), True), ((3, 0), False)):
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.lib.format.write_array(buffer, X, version=version)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", buffer.getvalue())
            archive.writestr("y.npy", npy(Y))
        if accepted:
            np.testing.assert_array_equal(load_npz(path).images[:, 0], X)
        else:
            with pytest.raises(BadData, match=r"npy version \(3, 0\)"):
                load_npz(path)


def picture(path: Path, level: int, *, mode: str = "L", size: tuple[int, int] = (4, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour: int | tuple[int, ...] = level if len(mode) == 1 else (level, level + 1, level + 2, 255)[: len(mode)]
    Image.new(mode, size, colour).save(path)


def test_folder_of_classes(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    picture(root / "dog" / "b.png", 20)
    picture(root / "dog" / "a.PNG", 10)
    picture(root / "cat" / "z.png", 30)
    (root / "README.txt").write_text("hello")
    (root / ".hidden").mkdir()
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    pool = load_folder(root)
    assert pool.name == "pets-folder"
    assert pool.images.shape == (3, 1, 3, 4)
    assert pool.images[:, 0, 0, 0].tolist() == [30, 10, 20]
    assert pool.labels.tolist() == [0, 1, 1]
    assert pool.ids.tolist() == [0, 1, 2]
    assert load_dataset(root).digest == pool.digest


def test_folder_of_train_and_test(tmp_path: Path) -> None:
    for part, level in (("train", 1), ("test", 100)):
        for name in "ab":
            picture(tmp_path / part / name / "1.png", level, mode="RGB")
    pool = load_folder(tmp_path)
    assert pool.images.shape == (4, 3, 3, 4)
    assert pool.images[:, :, 0, 0].tolist() == [[1, 2, 3], [1, 2, 3], [100, 101, 102], [100, 101, 102]]
    assert pool.evaluation_ids is not None
    assert pool.evaluation_ids.tolist() == [2, 3]
    picture(tmp_path / "test" / "c" / "1.png", 1, mode="RGB")
    with pytest.raises(BadData, match="c is a class without training images; expected one of a, b"):
        load_folder(tmp_path)


def test_jpeg(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/2.jpeg"):
        picture(tmp_path / name, 90)
    assert load_folder(tmp_path).images.shape == (2, 1, 3, 4)


def good_folder(tmp_path: Path) -> Path:
    picture(tmp_path / "a" / "1.png", 1)
    picture(tmp_path / "b" / "2.png", 2)
    return tmp_path


def test_folder_with_pictures_of_two_shapes(tmp_path: Path) -> None:
    picture(good_folder(tmp_path) / "b" / "3.png", 2, size=(5, 3))
    with pytest.raises(BadData, match=r"3.png has shape \(1, 3, 5\), .*1.png has \(1, 3, 4\)"):
        load_folder(tmp_path)


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "LA"])
def test_folder_with_another_mode(tmp_path: Path, mode: str) -> None:
    picture(good_folder(tmp_path) / "b" / "3.png", 1, mode=mode)
    with pytest.raises(BadData, match=f"3.png has mode '{mode}'; expected 'L'"):
        load_folder(tmp_path)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="too few classes: 0 class folders"):
        load_folder(tmp_path)
    picture(tmp_path / "a" / "1.png", 1)
    with pytest.raises(BadData, match="too few classes: 1 class folders"):
        load_dataset(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(BadData, match=r"class folder .*b is empty"):
        load_folder(tmp_path)
    (tmp_path / "b" / "1.bmp").write_bytes(b"")
    with pytest.raises(BadData, match=r"1.bmp is no picture; expected only .png, .jpg, .jpeg"):
        load_folder(tmp_path)


def test_damaged_pictures(tmp_path: Path) -> None:
    path = good_folder(tmp_path) / "b" / "2.png"
    content = path.read_bytes()
    for damaged in (b"", b"GIF89a", content[:30], content[:-30], content[:45] + b"\xff" * 8 + content[53:]):
        path.write_bytes(damaged)
        with pytest.raises(BadData, match=r"2.png can't be read as a picture"):
            load_folder(tmp_path)


@pytest.mark.parametrize("side", [12_000, 40_000])
def test_picture_that_promises_gigabytes(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (good_folder(tmp_path) / "b" / "2.png").write_bytes(content)
    with pytest.raises(BadData, match=r"2.png can't be read as a picture .*decompression bomb"):
        load_folder(tmp_path)


def test_too_many_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustnoise.data.images.MAX_BYTES", 23)
    with pytest.raises(BadData, match=r"2 pictures of shape \(1, 3, 4\) take 24 bytes; expected at most 23"):
        load_folder(good_folder(tmp_path))


def test_missing_pillow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good_folder(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra, match=r"pip install 'robustnoise\[images\]'"):
        load_folder(tmp_path)


def test_the_example_of_the_docs_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "targets.md").read_text()
    (block,) = re.findall(r"```py\n(.*?)```", page.split("## Your own images")[1], re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/targets.md", "exec"), {})
    data = load_dataset("mine.npz")
    assert (data.input_shape, data.num_classes) == ((1, 12, 12), 3)
    assert sum(len(s) for s in (data.train, data.attacker, data.validation, data.evaluation)) == 600
