"""Where the files of a named dataset are looked for: data folder, system folder, cache."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from robustnoise.cache import cache_root

DATA_VARIABLE = "ROBUSTNOISE_DATA"
LOOKED = "robustnoise.looked"
"""The audit event (`sys.audit`) of a folder that a file is looked for in."""
SYSTEM_ROOTS = (Path("/usr/share/datasets"),)
"""Where Debian's dataset packages (dataset-fashion-mnist) put their files, one folder a dataset."""


def cache_dir(name: str) -> Path:
    """The folder that downloads of dataset `name` go to."""
    return cache_root() / "datasets" / name


def folders(name: str, data_dir: Path | None, *, flat: bool, clash: str | None = None) -> list[Path]:
    """Folders that may hold the files of dataset `name`, in the order of search.

    Args:
        name: the dataset; its files are expected in a folder of that name.
        data_dir: searched first; None for the environment variable ROBUSTNOISE_DATA.
        flat: whether the files may also lie in the data folder itself, whatever its name. Not for Fashion-MNIST, whose
            files have the names of MNIST's.
        clash: the other dataset with the same file names; a data folder called so isn't searched itself.
    """
    variable = os.environ.get(DATA_VARIABLE)
    root = data_dir if data_dir is not None else Path(variable) if variable else None
    found = []
    if root is not None:
        root = Path(root).expanduser()
        found.append(root / name)
        if root.name == name or (flat and root.name != clash):
            found.append(root)
    found += [*(system / name for system in SYSTEM_ROOTS), cache_dir(name)]
    for place in found:
        # Also where nothing is yet, it matters to whoever wants to know what a run depended on.
        sys.audit(LOOKED, str(place))
    return found


def find(places: Iterable[Path], *names: str) -> Path | None:
    """The first existing path among `names` in `places`; every name in one place comes before the next place."""
    for place in places:
        for name in names:
            # Unlike Path.exists, this takes a folder that may not be entered for an absent one.
            if os.path.exists(place / name):  # noqa: PTH110
                return place / name
    return None


def advice(name: str, files: Iterable[str]) -> str:
    """What to do without a network: which files to put where."""
    return (
        f"Put {', '.join(files)} into {cache_dir(name)}, "
        f"or into DIR/{name} and set the environment variable {DATA_VARIABLE} to DIR"
    )
