"""The way in: a named dataset or a path becomes a dataset of four splits."""

from __future__ import annotations

from pathlib import Path

from robustnoise.data.dataset import Dataset, Pool
from robustnoise.data.images import load_folder
from robustnoise.data.own import load_npz
from robustnoise.data.sources import SOURCES
from robustnoise.data.splits import DEFAULT_SIZES, SplitSizes, split_pool
from robustnoise.errors import BadData, DataUnavailable, did_you_mean


def load_pool(name_or_path: str | Path, *, data_dir: Path | None = None, progress: bool = True) -> Pool:
    """All images of a dataset, not yet split. Arguments and errors as for `load_dataset`."""
    if isinstance(name_or_path, str) and name_or_path in SOURCES:
        return SOURCES[name_or_path].load(data_dir, progress=progress)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return load_folder(path)
    if path.suffix == ".npz":
        if not path.is_file():
            raise DataUnavailable(f"there is no file {path}. Give the path of an existing npz file")
        return load_npz(path)
    if path.exists():
        raise BadData(f"{path} is no dataset; expected an npz file or a folder of pictures by class")
    raise BadData(
        f"no dataset {str(name_or_path)!r}.{did_you_mean(str(name_or_path), SOURCES)} 'robustnoise data' lists all "
        f"{len(SOURCES)}; the path of an npz file or of a folder of pictures is accepted too"
    )


def load_dataset(
    name_or_path: str | Path,
    *,
    sizes: SplitSizes = DEFAULT_SIZES,
    seed: int = 0,
    data_dir: Path | None = None,
    progress: bool = True,
) -> Dataset:
    """Load a dataset and split it; the same arguments give the same images in every process.

    Args:
        name_or_path: a name that `list_sources` lists, else a path: an npz file (see `load_npz`) or a folder of
            pictures (see `load_folder`). A name wins over a folder of that name; write ``./mnist`` for the folder.
        sizes: how many images each split gets, and the attacker's overlap with train.
        seed: fixes, together with the dataset's name, which images go where.
        data_dir: where the canonical files are looked for first, in ``data_dir/<name>/`` or ``data_dir`` itself; None
            for the environment variable ROBUSTNOISE_DATA. Then come Debian's dataset packages, the cache
            (ROBUSTNOISE_CACHE, else the user's cache folder), and a download into the cache.
        progress: whether to draw a progress bar for a download, on stderr.

    Raises:
        BadData: unknown name, invalid data, or sizes that don't fit.
        CorruptArtifact: a file in a data folder or in the cache isn't the canonical one.
        DataUnavailable: files are neither on disk nor downloadable; the message says which to put where.
        MissingExtra: an optional package is needed.
    """
    return split_pool(load_pool(name_or_path, data_dir=data_dir, progress=progress), sizes=sizes, seed=seed)
