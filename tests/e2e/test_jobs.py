"""A board without attacks gives the same rows in one process or two, and however many passes are remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustnoise.board import load_board
from robustnoise.harness import bench as bench_module
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.runner import run
from robustnoise.harness.tasks import groups, tasks
from robustnoise.protocols import Classifier
from robustnoise.store import Store
from tests.e2e.conftest import robustnoise

BOARD = """
schema = 1
name = "votes"
[data]
name = "digits"
train = 300
attacker = 10
validation = 10
evaluation = 200
[run]
model = "mlp(hidden=8)"
draws = 2
threads = 1
[recipes]
plain = "plain-training(epochs=2)"
noisy = "{plain} | NOISE"
[victims]
plain = "{plain}"
noisy = "{noisy}"
[[curves]]
name = "votes"
x = "votes"
values = [2, 4, 8]
[curves.lines]
majority = "{noisy} | vote({x})"
"mean logit" = "{noisy} | vote({x}, rule=mean-logit)"
"""
COUNTED = """
from dataclasses import dataclass
import torch
from robustnoise.api import Defense, DefenseTraits, InputWrapper, Stage
@dataclass(frozen=True)
class Counted(Defense):
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True)
    def apply(self, model, ctx):
        return Noisy(model, self, stochastic=True)
class Noisy(InputWrapper):
    def change(self, x, noise):
        with open({path!r}, "ab") as file:
            file.write(b".")
        return x + torch.randn(x.shape, generator=noise.generator()) / 4
PLUGINS = {{"noise": "Counted"}}
"""
PASSES = 2 * 2 * (1 + 8)
"""Two draws of two blocks of images: one pass alone, and the eight that all votes share."""


def folder(base: Path, noise: str) -> Path:
    """The folder of the board with that noise."""
    (base / "board").mkdir()
    (base / "board" / "board.toml").write_text(BOARD.replace("NOISE", noise))
    return base / "board"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_no_pass_is_made_twice(tmp_path: Path, jobs: str) -> None:
    folder(tmp_path, "counted/noise")
    counter, plugin = tmp_path / "passes", tmp_path / "counted.py"
    plugin.write_text(COUNTED.format(path=str(counter)))
    done = robustnoise(tmp_path / "cache", ["run", "board", "--plugin", str(plugin), "--jobs", jobs], tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(counter.read_bytes()) == PASSES


def test_victims_that_share_passes_go_to_one_worker(tmp_path: Path) -> None:
    board = load_board(folder(tmp_path, "gaussian-input-noise(sigma=0.3)"), ["victims.other={noisy} | vote(3)"])
    experiment = board.experiment()
    *_, scores = tasks(experiment)
    found = [[task.victim.name for task in group] for group in groups(experiment, scores).values()]
    assert sorted(map(len, found)) == [1, 2 + 2 * 3]
    assert ["plain"] in found


def test_processes_and_memory_change_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load_board(folder(tmp_path, "gaussian-input-noise(sigma=0.3)")).experiment()
    remembering = run(experiment, Store(tmp_path / "one"))
    expected = {r.digest: r.outcome for r in remembering}
    assert len(expected) == 2 + 2 * 3
    assert {r.digest: r.outcome for r in run(experiment, Store(tmp_path / "two"), executor=Processes(2))} == expected

    class Forgetful:
        def __init__(self, limit: int) -> None: ...
        def attach(self, classifier: Classifier) -> Classifier:
            return classifier

        redrawn = attach

    monkeypatch.setattr(bench_module, "Memory", Forgetful)
    assert {r.digest: r.outcome for r in run(experiment, Store(tmp_path / "forgetful"))} == expected
