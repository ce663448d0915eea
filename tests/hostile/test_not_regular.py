"""A pipe or a device in the place of somebody's file is neither waited for nor read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from robustnoise import examples, models
from robustnoise.data import load_dataset
from robustnoise.errors import RobustnoiseError
from robustnoise.leaderboard import Leaderboard
from robustnoise.models.targets.factory import from_factory
from robustnoise.rowfiles import read_audit, read_row
from tests.hostile.bounds import bounded

BOARD = Path(__file__).parents[2] / "leaderboards/quickstart/board.toml"
SHAPE = {"input_shape": (1, 8, 8), "num_classes": 10}
MAKE = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"


def a_report(path: Path) -> None:
    raise RobustnoiseError("\n".join(Leaderboard(path.parent).verify()))


def weights(path: Path) -> None:
    from_factory("make.py:make", folder=path.parent, weights=path.name, **SHAPE)  # type: ignore[arg-type]


def network(path: Path) -> None:
    pytest.importorskip("onnxruntime")
    models.from_onnx(path, **SHAPE)


READERS: dict[str, Callable[[Path], object]] = {
    "row.json": read_row,
    "audit.json": read_audit,
    "examples.npz": examples.read,
    "data.npz": load_dataset,
    "REPORT.md": a_report,
    "weights.safetensors": weights,
    "model.onnx": network,
}


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    (tmp_path / "rows").mkdir()
    (tmp_path / "make.py").write_text(MAKE)
    shutil.copy(BOARD, tmp_path)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with bounded(), pytest.raises(RobustnoiseError, match=name):
        READERS[name](path)
