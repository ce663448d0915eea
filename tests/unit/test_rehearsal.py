"""Stacks that can't stand are refused before their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustnoise.board import board_from
from robustnoise.errors import BadParameter
from robustnoise.harness.auditing import audit
from robustnoise.harness.rehearsal import rehearse
from robustnoise.harness.runner import run
from robustnoise.models import create, save_classifier
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


def _saved(folder: Path, shape: tuple[int, int, int] = (1, 8, 8)) -> str:
    """A stack that begins with trained weights for images of that shape."""
    save_classifier(create("mlp(hidden=3)", shape), folder / "mlp.safetensors")
    return f"pretrained(path='{folder / 'mlp.safetensors'}')"


def test_weights_from_a_file_may_be_of_another_architecture(tmp_path: Path) -> None:
    stack = f"{_saved(tmp_path)} | layer-noise(20, layers='1')"
    rehearse(board_from(board(stack), "here").experiment(), Store(tmp_path / "store"))


@pytest.mark.parametrize(
    ("shape", "further", "why"),
    [((1, 9, 9), "", r"images \(1, 9, 9\).*--data"), ((1, 8, 8), " | layer-noise(20, layers=conv9)", "conv9")],
)
def test_weights_that_dont_fit_are_refused_before_anybody_elses_training(
    shape: tuple[int, int, int], further: str, why: str, tmp_path: Path
) -> None:
    content = board(_saved(tmp_path, shape) + further)
    content["victims"] = {"other": "plain-training(epochs=10000)"} | content["victims"]
    with pytest.raises(BadParameter, match=f"victim 'mine'.*{why}"):
        run(board_from(content, "here").experiment(), Store(tmp_path / "store"))


def test_a_baseline_of_an_audit_is_tried_before_anything_is_trained(tmp_path: Path) -> None:
    content = board("plain-training(epochs=10000)")
    content |= {"threat": {"norm": "linf", "eps": 0.1}, "attacks": {"null": "null"}}
    content["victims"] = content["victims"] | {"baseline": _saved(tmp_path, (1, 9, 9))}
    experiment = board_from(content, "here").experiment()
    with pytest.raises(BadParameter, match=r"victim 'baseline'.*images \(1, 9, 9\)"):
        audit(experiment, Store(tmp_path / "store"), ["mine"], baseline="baseline")


def test_weights_that_are_in_the_store_are_not_read_again(tmp_path: Path) -> None:
    experiment, store = board_from(board(_saved(tmp_path)), "here").experiment(), Store(tmp_path / "store")
    rows = run(experiment, store)
    (tmp_path / "mlp.safetensors").unlink()
    assert run(experiment, store)[0].outcome == rows[0].outcome
