"""A victim with a seed of its own is another training of the same stack under the same attacks."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import robustnoise as rn
from robustnoise.board import board_from
from robustnoise.errors import BadBoard
from robustnoise.harness.bench import Bench
from robustnoise.harness.planning import plan
from robustnoise.harness.runner import run
from robustnoise.store import Store

TEXT = """
schema = 1
name = "seeds"
[data]
name = "digits"
train = 200
attacker = 10
validation = 10
evaluation = 100
[threat]
norm = "linf"
eps = 0.1
[run]
model = "mlp(hidden=8)"
draws = 2
threads = 1
[victims]
net = "plain-training(epochs=1)"
net-1 = { defense = "plain-training(epochs=1)", seed = 1 }
noisy-1 = { defense = "plain-training(epochs=1) | gaussian-input-noise", seed = 1 }
[attacks]
null = "null"
"""
BOARD = tomllib.loads(TEXT)


def weights(bench: Bench) -> dict[str, str]:
    """Of every victim."""
    return {v.name: bench.weights(v).outputs["weights"] for v in bench.experiment.victims}


def test_it_is_trained_as_a_run_of_that_seed_would(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found = weights(Bench(board_from(BOARD, "here").experiment(), store))
    other = {**BOARD, "run": {**BOARD["run"], "seed": 1}}
    assert found["net"] != found["net-1"] == found["noisy-1"]
    assert weights(Bench(board_from(other, "here").experiment(), store))["net"] == found["net-1"]


def test_a_plan_counts_every_training(tmp_path: Path) -> None:
    planned = plan(board_from(BOARD, "here").experiment(), Store(tmp_path))
    assert next(p.missing for p in planned if p.stage == "train") == 2


def test_its_rows_name_the_seed_and_tell_what_training_adds(tmp_path: Path) -> None:
    board = board_from(BOARD, "here")
    records = run(board.experiment(), Store(tmp_path / "store"))
    assert {r.victim.victim["name"]: r.victim.victim.get("seed") for r in records} == {
        "net": None, "net-1": 1, "noisy-1": 1,
    }  # fmt: skip
    references = {r.victim.victim["name"]: r.reference for r in records}
    assert references["noisy-1"] is not None
    assert references["noisy-1"].victim["name"] == "net-1"
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "board.toml").write_text(TEXT)
    leaderboard = rn.Leaderboard(folder)
    leaderboard.add(*records)
    (view,) = leaderboard.contents().variance
    assert (view.victim, view.seeds) == ("net", 2)
    assert view.split.training is not None
    assert view.split.attack is None
    assert all(leaderboard.ranked(r) for r in leaderboard.rows())


def test_a_target_has_no_training() -> None:
    target = {"target": "net.py:make", "seed": 1}
    with pytest.raises(BadBoard, match="trained already"):
        board_from({**BOARD, "victims": {"theirs": target}}, "here")
