"""A board that is run in a second, and folders to hand in to it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnoise.data import Split
from robustnoise.leaderboard import Leaderboard
from robustnoise.submission.submit import Submission, prepare

BOARD = """
schema = 1
name = "toy"
[data]
name = "digits"
train = 600
attacker = 50
validation = 20
evaluation = 60
[threat]
norm = "linf"
eps = 0.2
[budget]
per_image = 100
[run]
model = "mlp(hidden=8)"
undefended = "plain"
draws = 5
threads = 1
[victims]
plain = "plain-training(epochs=15)"
noisy = "plain-training(epochs=15) | gaussian-input-noise(sigma=0.2)"
[attacks]
null = "null"
random-noise = "random-noise"
"""
REACH = 51
"""Whole levels in the ball."""
CARD = """
schema = 1
kind = "attack"
name = "darker"
authors = ["A. Author"]
reference = "none"
description = "Every pixel one way."
date = 2026-11-24
data = "none"
[threat]
norm = "linf"
eps = 0.2
"""


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    """The toy board, without rows; not to be written to."""
    folder = tmp_path_factory.mktemp("board")
    (folder / "board.toml").write_text(BOARD)
    return Leaderboard(folder)


@functools.cache
def evaluation(board: Leaderboard) -> Split:
    """The board's evaluation images."""
    return board.board.experiment().dataset.evaluation


def shifted(board: Leaderboard, levels: int = REACH) -> np.ndarray[Any, Any]:
    """uint8 images on the edge of the ball."""
    x = evaluation(board).images.astype(np.int64)
    return np.where(x >= 128, x - levels, x + levels).astype(np.uint8)


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    """A folder with a card and nothing else."""
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "card.toml").write_text(CARD)
    return folder


@pytest.fixture
def check(board: Leaderboard, handed_in: Path) -> Callable[[], Submission]:
    """Checks the folder against the board."""
    return lambda: prepare(handed_in, board)


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that all tests of a session share."""
    folder = tmp_path_factory.getbasetemp() / "shared-cache"
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(folder))
    return folder


def cli(*arguments: str) -> int:
    """Run a command in this process; its exit code."""
    from robustnoise.cli.app import app

    return int(app(list(arguments), standalone_mode=False) or 0)


def rows(folder: Path) -> Sequence[dict[str, Any]]:
    """The rows' files."""
    return [json.loads(p.read_text()) for p in sorted((folder / "rows").glob("*.json"))]
