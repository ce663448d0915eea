"""The same board made here, by processes, in parts and on Ray: the same rows; what is lost on the way is made again."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustnoise.board import load_board
from robustnoise.harness.executors import automatic
from robustnoise.harness.executors.automatic import Automatic
from robustnoise.harness.executors.base import Executor
from robustnoise.harness.executors.cluster import RayCluster
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.experiment import Experiment
from robustnoise.harness.planning import plan
from robustnoise.harness.runner import run, run_shard
from robustnoise.harness.shards import Shard
from robustnoise.records import EvaluationRecord
from robustnoise.registry import registry
from robustnoise.store import Store
from tests.contracts.made import registered_for_now
from tests.e2e.conftest import BOARD, environment, robustnoise, rows_of

DEADLY = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from robustnoise.api import AttackResult, AttackTraits, BlackBoxAttack
@dataclass(frozen=True)
class Deadly(BlackBoxAttack):
    marker: str
    times: int
    traits = AttackTraits(queries=False)
    def run(self, oracle, seed_data, targets, threat, seeds):
        lives = Path(self.marker)
        with lives.open("ab") as file:
            file.write(b".")
        if len(lives.read_bytes()) <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return AttackResult(targets.x, 0)
PLUGINS = {"deadly": "Deadly"}
"""


def outcomes(records: list[EvaluationRecord]) -> dict[str, str]:
    """Identity and outcome of rows, as they would be written."""
    return {r.digest: json.dumps([r.to_json()["identity"], r.outcome], sort_keys=True) for r in records}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "board.toml").write_text(BOARD)
    return load_board(folder, ["run.draws=2", "data.evaluation=40"]).experiment()


@pytest.fixture(scope="module")
def expected(tiny: Experiment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return outcomes(run(tiny, Store(tmp_path_factory.mktemp("serial"))))


def cells(store: Store) -> set[str]:
    return {path.stem for path in store.cells()}


def test_parts_one_after_the_other_make_the_rows(tiny: Experiment, expected: dict[str, str], tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = []
    for index in (1, 2, 3):
        before = cells(store)
        run_shard(tiny, store, Shard(index, 3))
        made.append(len(cells(store) - before))
    assert all(made)
    assert sum(line.missing for line in plan(tiny, store)) == 0
    whole = cells(store)
    assert outcomes(run(tiny, store)) == expected
    assert cells(store) == whole
    assert not list((tmp_path / "claims").iterdir())


def test_where_nobody_says_how_many_it_makes_the_rows(
    tiny: Experiment, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[int]()

    def processes(jobs: int) -> Processes:
        started.append(jobs)
        return Processes(jobs)

    monkeypatch.setattr(automatic, "WORTH", -1.0)
    monkeypatch.setattr(automatic, "_cores", lambda: 2 * tiny.threads)
    monkeypatch.setattr(automatic, "Processes", processes)
    assert outcomes(run(tiny, Store(tmp_path), executor=Automatic())) == expected
    assert started == [2]  # for all levels


def test_a_part_made_twice_makes_nothing(tiny: Experiment, tmp_path: Path) -> None:
    store = Store(tmp_path)
    run_shard(tiny, store, Shard(1, 2))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run_shard(tiny, store, Shard(1, 2))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_parts_at_once_make_each_cell_once(tiny: Experiment, expected: dict[str, str], tmp_path: Path) -> None:
    from joblib import Parallel, delayed

    store = Store(tmp_path)
    Parallel(n_jobs=2)(delayed(run_shard)(tiny, store, Shard(index, 2)) for index in (1, 2))
    assert sum(line.missing for line in plan(tiny, store)) == 0
    assert outcomes(run(tiny, store)) == expected


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray isn't installed: pip install robustnoise[ray]")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
def test_ray_makes_the_rows(tiny: Experiment, expected: dict[str, str], tmp_path: Path) -> None:
    assert outcomes(run(tiny, Store(tmp_path), executor=RayCluster(2))) == expected


def deadly(folder: Path, times: int) -> tuple[Experiment, Path]:
    """The tiny board with an attack that kills its process so often."""
    plugin, marker = folder / "deadly.py", folder / "lives"
    plugin.write_text(DEADLY)
    registry().add_file(plugin)
    (folder / "board.toml").write_text(BOARD)
    changes = ["run.draws=2", "data.evaluation=40", f'attacks.deadly=deadly/deadly("{marker}", {times})']
    return load_board(folder, changes).experiment(plugin_files=[plugin]), marker


EXECUTORS = [
    pytest.param(Processes(1), id="processes"),
    pytest.param(
        RayCluster(1),
        id="ray",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray isn't installed"),
            pytest.mark.filterwarnings(
                "ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"
            ),
        ],
    ),
]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_cell_whose_worker_is_killed_is_made_again(
    executor: Executor, expected: dict[str, str], tmp_path: Path
) -> None:
    with registered_for_now():
        whole, marker = deadly(tmp_path, times=1)
        failures: list[str] = []
        found = outcomes(run(whole, Store(tmp_path / "store"), executor=executor, failures=failures))
    assert failures == []
    assert len(marker.read_bytes()) == 2
    assert expected.items() <= found.items()
    assert len(found) == len(expected) + 3


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_cell_that_kills_every_worker_is_given_up_and_the_board_goes_on(
    executor: Executor, expected: dict[str, str], tmp_path: Path
) -> None:
    with registered_for_now():
        whole, marker = deadly(tmp_path, times=99)
        failures: list[str] = []
        found = outcomes(run(whole, Store(tmp_path / "store"), executor=executor, failures=failures))
    assert found == expected
    assert len(marker.read_bytes()) == 3
    (line,) = failures
    assert line.startswith("craft deadly failed: its worker was lost")
    assert line.endswith("(tried 3 times)")


KILLED = """
import os, signal, sys
from pathlib import Path
from time import sleep
from robustnoise.board import load_board
from robustnoise.harness.executors import processes
from robustnoise.harness.executors.job import Job
from robustnoise.store import Store
job = Job(load_board(Path(sys.argv[1])).experiment(), Store(Path(sys.argv[2])), memory=0)
with processes.Processes(1).workers(job) as workers:
    started = "started" in sys.argv
    if started:
        list(workers([[next(iter(job.tasks))]]))
    worker = processes._pool(job)
    found = worker.submit(os.getpid if started else sleep, *([] if started else [120]))
    print(found.result() if started else next(iter(worker._processes)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["started", "starting"])
def test_workers_end_with_a_run_that_was_killed(board: Path, tmp_path: Path, when: str) -> None:
    with (tmp_path / "pid").open("w") as out:
        done = subprocess.run([sys.executable, "-c", KILLED, str(board), str(tmp_path / "store"), when],
                              stdout=out, env=environment(tmp_path / "cache"), check=False)  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    worker = int((tmp_path / "pid").read_text())
    for _ in range(300):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker is still there")


def test_the_command_makes_parts_and_then_the_rows(board: Path) -> None:
    cache, options = board.parent / "cache", ["--set", "run.draws=2", "--limit", "40"]
    for part in ("1/2", "2/2"):
        done = robustnoise(cache, ["run", "board", "--shard", part, *options], board.parent)
        assert done.returncode == 0, done.stderr
        assert f"Part {part} is made" in done.stdout
        assert not (board.parent / "runs").exists()
    plan_ = robustnoise(cache, ["run", "board", "--plan", *options], board.parent)
    assert plan_.stdout.splitlines()[-1].split()[:3] == ["all", "33", "0"]
    done = robustnoise(cache, ["run", "board", *options], board.parent)
    assert done.returncode == 0, done.stderr
    assert "train" not in done.stderr
    assert len(rows_of(board.parent / "runs" / "tiny")) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "3/2"], "shard 3/2: expected 1/N to N/N"),
        (["--shard", "1/2", "--audit"], "a part makes cells alone"),
        (["--gpus", "1"], "belongs to --ray"),
        (["--ray", "--gpus", "-1"], "gpus = -1"),
    ],
)
def test_impossible_options_are_refused_before_any_work(board: Path, options: list[str], message: str) -> None:
    done = robustnoise(board.parent / "cache", ["run", "board", *options], board.parent)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (board.parent / "cache" / "store").exists()


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_the_extra_is_named_before_any_work(board: Path) -> None:
    done = robustnoise(board.parent / "cache", ["run", "board", "--ray"], board.parent)
    assert done.returncode == 2
    assert "pip install 'robustnoise[ray]'" in done.stderr
    assert not (board.parent / "cache" / "store").exists()
