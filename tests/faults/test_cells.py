"""A cell that can't be made: it fails, it is named, and the rest of the board is there."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.small_board import experiment, make_board
from robustnoise.errors import AttackFailed, BadParameter, StoreError
from robustnoise.harness.bench import Bench
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.failed import attempt
from robustnoise.harness.limits import TimeLimit
from robustnoise.harness.runner import run, run_shard
from robustnoise.harness.shards import Shard
from robustnoise.harness.tries import TRIES
from robustnoise.store import Store
from robustnoise.training import loop
from tests.e2e.conftest import robustnoise
from tests.faults.conftest import Finished

HANGS = """
import re
from dataclasses import dataclass
from robustnoise.api import AttackResult, AttackTraits, BlackBoxAttack
@dataclass(frozen=True)
class Hang(BlackBoxAttack):
    @property
    def traits(self):
        return AttackTraits(queries=False)
    def run(self, oracle, seed_data, targets, threat, seeds):
        re.match("(a+)+$", "a" * 60 + "b")  # in C, and Python's own lock is held
        return AttackResult(targets.x, 0)
PLUGINS = {"hang": "Hang"}
"""


def _raises(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "words", "tries"),
    [
        (ZeroDivisionError("division by zero"), r"ZeroDivisionError: division by zero \(test_cells.py, line \d+\)", 1),
        (RuntimeError("CUDA error: device-side assert triggered\nmore"), "CUDA error: device-side assert", TRIES),
        (RuntimeError("CUDA error: the launch timed out and was terminated"), "CUDA error: the launch", TRIES),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), "CUDA out of memory", TRIES),
        (MemoryError(), "MemoryError", TRIES),
        (AssertionError("\x1b[31m" + "x" * 5000), r"AssertionError: \?\[31mx+\.\.\. \(", 1),
    ],
    ids=["a bug", "GPU lost", "GPU hangs", "GPU full", "memory", "a strange message"],
)
def test_one_bad_cell_is_no_lost_board(
    undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str, tries: int
) -> None:
    source, tried = Bench.source, 0

    def broken(bench: Bench, attack: Any, victim: Any) -> Any:
        nonlocal tried
        if attack.name == "shared" and bench.compute:
            tried += 1
            raise error
        return source(bench, attack, victim)

    failures: list[str] = []
    store = Store(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(Bench, "source", broken)
        records = run(experiment(undisturbed.folder), store, failures=failures)
    assert tried == tries
    assert len(records) == len(undisturbed.outcomes) - 2  # one of each victim
    (line,) = failures
    assert pytest.importorskip("re").search(f"substitute shared failed: .*{words}", line)
    assert len(line) < 500
    assert list(store.damaged()) == []
    made = run(experiment(undisturbed.folder), store)  # nothing of a failure is stored
    assert {f"{r.digest}.json" for r in made} == set(undisturbed.outcomes)


def test_what_the_next_cell_would_meet_too_ends_the_run() -> None:
    for error in (StoreError("full"), BadParameter("sigma = 7")):
        with pytest.raises(type(error)):
            attempt(_raises(error))


def test_a_loss_that_is_no_number_costs_its_victim_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop._Run.step

    def diverging(training: Any, number: int) -> float:
        found = step(training, number)
        return float("nan") if training.schedule.learning_rate == 1 else found

    monkeypatch.setattr(loop._Run, "step", diverging)
    folder = make_board(tmp_path / "board")
    text = (folder / "board.toml").read_text()
    make_board(folder, text.replace("[attacks]", 'wild = "plain-training(epochs=2, learning_rate=1)"\n[attacks]'))
    failures: list[str] = []
    records = run(experiment(folder), Store(tmp_path / "store"), failures=failures)
    assert {r.victim.victim["name"] for r in records} == {"plain", "noisy"}
    assert len(records) == 8
    assert "train wild failed: training diverged in epoch 1" in failures[0]
    with pytest.raises(AttackFailed, match="train wild failed: training diverged"):
        run(experiment(folder), Store(tmp_path / "store"))


def test_a_training_that_diverges_is_tried_once_in_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []

    def diverging(training: Any, number: int) -> float:
        if training.schedule.learning_rate == 1:
            trained.append(number)
            return float("nan")
        return step(training, number)

    step = loop._Run.step
    monkeypatch.setattr(loop._Run, "step", diverging)
    folder = make_board(tmp_path / "board")
    text = (folder / "board.toml").read_text()
    make_board(folder, text.replace("[attacks]", 'wild = "plain-training(epochs=2, learning_rate=1)"\n[attacks]'))
    lines = 0
    for number in (1, 2):
        failures: list[str] = []
        run_shard(experiment(folder), Store(tmp_path / str(number)), Shard(number, 2), failures=failures)
        lines += len(failures)
    assert lines > 2  # cells that need it, each of which says why it isn't there
    assert len(trained) == 2


@contextmanager
def _little_memory(megabytes: int) -> Iterator[None]:
    """An address space that ends soon: this process's own, and for the block alone."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + megabytes * 2**20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_memory_that_runs_out_in_numpy_or_torch_is_a_cell_to_be_tried_again() -> None:
    for greedy in (lambda: np.ones(2**28), lambda: torch.ones(2**28), lambda: bytearray(2**31)):
        with _little_memory(512):
            failure = attempt(greedy)
        assert failure is not None
        assert failure.again


def test_a_cell_that_hangs_in_c_ends_its_worker_and_says_where(tmp_path: Path) -> None:
    limit = TimeLimit(0.5, Store(tmp_path))
    hang = (
        "import re, sys; from pathlib import Path\n"
        "from robustnoise.harness.limits import TimeLimit; from robustnoise.store import Store\n"
        "limit = TimeLimit(0.5, Store(Path('.'))); limit.folder = Path(sys.argv[1])\n"
        "def stuck(): re.match('(a+)+$', 'a' * 60 + 'b')\n"
        "with limit.watching('quick'): pass\n"
        "with limit.watching('craft x'): stuck()\n"
    )
    with limit.noting():
        ended = subprocess.run([sys.executable, "-c", hang, str(limit.folder)], timeout=120, check=False)
        assert ended.returncode == 1
        failure = limit.overrun("craft x")
        assert failure is not None
        assert not failure.again
        assert failure.reason.startswith("it took more than 0.5 s and was ended in ")
        assert limit.overrun("quick") is None
    assert [path for path in tmp_path.rglob("*") if path.name != "claims"] == []


def test_a_time_limit_needs_a_worker_and_a_number(undisturbed: Finished, tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match=r"Processes\(1\)"):
        run(experiment(undisturbed.folder), undisturbed.store, time_limit=5)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadParameter, match="time limit"):
            TimeLimit(seconds, Store(tmp_path))


@pytest.mark.slow
def test_a_board_goes_on_without_an_attack_that_hangs(undisturbed: Finished, tmp_path: Path) -> None:
    plugin = tmp_path / "stuck.py"
    plugin.write_text(HANGS)
    folder = make_board(tmp_path / "board")
    with (folder / "board.toml").open("a") as file:
        file.write('hangs = "stuck/hang"\n')
    done = robustnoise(
        tmp_path / "cache", ["run", "board", "--plugin", str(plugin), "--time-limit", "45", "--output", "out"], tmp_path
    )
    assert done.returncode == 3, done.stderr
    assert "craft hangs failed: it took more than 45 s and was ended" in done.stderr
    assert len(list((tmp_path / "out" / "rows").glob("*.json"))) == len(undisturbed.outcomes)
    assert not (tmp_path / "cache" / "store" / "overruns").exists()


@pytest.mark.slow
def test_a_worker_killed_in_a_cell_leaves_a_whole_store(undisturbed: Finished, tmp_path: Path) -> None:
    plugin = tmp_path / "deadly.py"
    mark = tmp_path / "mark"
    once = f"import os, signal, pathlib\n        mark = pathlib.Path({str(mark)!r})\n        if not mark.exists():\n"
    once += "            mark.touch()\n            os.kill(os.getpid(), signal.SIGKILL)"
    plugin.write_text(HANGS.replace('re.match("(a+)+$", "a" * 60 + "b")', once).replace("hang", "die"))
    folder = make_board(tmp_path / "board")
    with (folder / "board.toml").open("a") as file:
        file.write('dies = "deadly/die"\n')
    from robustnoise.board import load_board
    from robustnoise.registry import registry

    registry().add_file(plugin)
    measured = load_board(folder).experiment(plugin_files=(plugin,))
    store = Store(tmp_path / "store")
    records = run(measured, store, executor=Processes(2))
    assert mark.exists()
    assert len(records) == len(undisturbed.outcomes) + 2
    assert list(store.damaged()) == []
