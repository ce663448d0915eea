"""Stacks that can't stand are refused before their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustnoise.board import board_from
from robustnoise.errors import BadParameter
from robustnoise.harness.rehearsal import rehearse
from robustnoise.harness.runner import run
from robustnoise.store import Store


def board(stack: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "toy",
        "data": {"name": "digits", "train": 100, "attacker": 10, "validation": 10, "evaluation": 10},
        "run": {"model": "small-cnn(width=2, hidden=4)", "draws": 2, "threads": 1},
        "victims": {"mine": stack},
    }


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        ("plain-training(epochs=10000) | vote(3) | layer-noise(20)", "hides"),
        ("plain-training(epochs=10000) | layer-noise(20, layers=conv9)", "conv9"),
    ],
)
def test_before_its_training(stack: str, why: str, tmp_path: Path) -> None:
    experiment = board_from(board(stack), "here").experiment()
    with pytest.raises(BadParameter, match=f"victim 'mine'.*{why}"):
        run(experiment, Store(tmp_path))


@pytest.mark.parametrize(
    "stack",
    ["plain-training | noise-training(pni) | pni", "plain-training | layer-noise(20) | vote(3)", "plain-training"],
)
def test_what_can_stand_is_let_through(stack: str, tmp_path: Path) -> None:
    rehearse(board_from(board(stack), "here").experiment(), Store(tmp_path))


def test_weights_from_a_file_may_be_of_another_architecture(tmp_path: Path) -> None:
    from robustnoise.models import create, save_classifier

    save_classifier(create("mlp(hidden=3)", (1, 8, 8)), tmp_path / "mlp.safetensors")
    stack = f"pretrained(path='{tmp_path / 'mlp.safetensors'}') | layer-noise(20, layers='1')"
    rehearse(board_from(board(stack), "here").experiment(), Store(tmp_path / "store"))
