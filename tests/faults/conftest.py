"""An undisturbed run that the others are compared with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.small_board import finish, make_board
from robustnoise.store import Store


class Finished(NamedTuple):
    """A finished board: its folder, its store and its outcomes by file name."""

    folder: Path
    store: Store
    outcomes: Mapping[str, bytes]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Not to be written to."""
    base = tmp_path_factory.mktemp("undisturbed")
    folder, store = make_board(base / "board"), Store(base / "store")
    return Finished(folder, store, finish(folder, store))


@pytest.fixture
def finished(undisturbed: Finished, tmp_path: Path) -> Finished:
    """A copy to be damaged."""
    folder = shutil.copytree(undisturbed.folder, tmp_path / "board")
    return Finished(folder, Store(shutil.copytree(undisturbed.store.root, tmp_path / "store")), undisturbed.outcomes)
