"""The parts of executing: tries, shards, claims."""

from __future__ import annotations

import errno
import fcntl
import functools
import multiprocessing
import os
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky import process_executor

from robustnoise.errors import AttackFailed, BadParameter, BrokenPlugin, StoreError
from robustnoise.harness import claims
from robustnoise.harness.claims import claimed
from robustnoise.harness.executors import processes
from robustnoise.harness.executors.cluster import RayCluster
from robustnoise.harness.executors.job import Group, Made, PluginFiles
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.failed import Failure, attempt
from robustnoise.harness.shards import Shard
from robustnoise.harness.tries import TRIES, make_all
from robustnoise.models.targets.journal import Journal
from robustnoise.registry import registry
from robustnoise.store import Store


class Deadly:
    """Workers that are lost on a group as long as it holds a cell that is to kill, so many times."""

    def __init__(self, **kills: int) -> None:
        self.kills, self.asked = Counter(kills), Counter[str]()

    def __call__(self, groups: Sequence[Group]) -> Iterator[tuple[int, Made | None]]:
        for number, group in reversed(list(enumerate(groups))):
            self.asked.update(group)
            killers = [name for name in group if self.kills[name] > 0]
            self.kills.subtract(killers)
            yield number, None if killers else dict.fromkeys(group)


def test_cells_of_a_lost_worker_are_made_again() -> None:
    workers, told = Deadly(b=1), list[str]()
    assert make_all(workers, [["a", "b"], ["c"]], told.append) == {"a": None, "b": None, "c": None}
    assert workers.asked == {"a": 2, "b": 2, "c": 1}
    assert sorted(told) == ["a", "b", "c"]


def test_a_cell_that_ends_every_worker_is_given_up_and_takes_no_other_with_it() -> None:
    workers, told = Deadly(b=99), list[str]()
    reasons = make_all(workers, [["a", "b"], ["c"]], told.append)
    assert reasons["b"] is not None
    assert "its worker was lost" in reasons["b"]
    assert reasons["b"].endswith("(tried 3 times)")
    assert reasons["a"] is reasons["c"] is None
    assert workers.asked["b"] == TRIES
    assert sorted(told) == ["a", "b", "c"]


def test_cells_that_dont_fit_into_memory_together_are_made_one_after_the_other_at_last() -> None:
    seen = list[list[str]]()

    def workers(groups: Sequence[Group]) -> Iterator[tuple[int, Made | None]]:
        """All at a time, in memory for one."""
        names = [name for group in groups for name in group]
        seen.append(names)
        short = Failure("out of memory", again=True) if len(names) > 1 else None
        for number, group in enumerate(groups):
            yield number, dict.fromkeys(group, short)

    assert make_all(workers, [["a"], ["b"]], lambda _: None) == {"a": None, "b": None}
    assert seen == [["a", "b"], ["a", "b"], ["a"], ["b"]]


def test_what_fails_the_same_way_every_time_is_tried_once() -> None:
    asked = Counter[str]()

    def workers(groups: Sequence[Group]) -> Iterator[tuple[int, Made | None]]:
        for number, group in enumerate(groups):
            asked.update(group)
            yield number, {name: Failure("it asserts", again=False) for name in group}

    assert make_all(workers, [["a"]], lambda _: None) == {"a": "it asserts"}
    assert asked == {"a": 1}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (AttackFailed("it asserts"), False),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: device lost"), True),
    ],
)
def test_want_of_memory_is_another_failure_than_an_attacks(error: Exception, again: bool) -> None:
    def fail() -> None:
        raise error

    failure = attempt(fail)
    assert failure is not None
    assert failure.again is again
    assert failure.reason


def test_a_plugin_that_ends_the_process_in_words_ends_its_cell_alone() -> None:
    failure = attempt(lambda: sys.exit(0))
    assert failure is not None
    assert not failure.again
    assert failure.reason.startswith("SystemExit: 0 (test_executing.py, line ")


def test_a_bug_costs_its_cell_and_what_the_next_would_meet_ends_the_run() -> None:
    def fail(error: Exception) -> None:
        raise error

    failure = attempt(functools.partial(fail, RuntimeError("a bug")))
    assert failure is not None
    assert not failure.again
    assert failure.reason.startswith("RuntimeError: a bug (test_executing.py, line ")
    with pytest.raises(StoreError, match="full"):
        attempt(functools.partial(fail, StoreError("full")))


class Pool:
    """Stands for a process: makes what it is given, or raises; `lost` is one that was killed without work."""

    def __init__(self, raises: BaseException | None = None, *, at_once: bool = False) -> None:
        self.raises, self.at_once, self.lost, self.ended = raises, at_once, False, False

    def submit(self, _: object, group: Group) -> Future[Made]:
        if self.lost:
            raise BrokenProcessPool
        if self.raises is not None and self.at_once:
            raise self.raises
        future = Future[Made]()
        future.set_result(dict.fromkeys(group)) if self.raises is None else future.set_exception(self.raises)
        return future

    def shutdown(self, **options: bool) -> None:
        assert options["kill_workers"]
        self.ended = True


def test_a_worker_that_is_lost_between_two_cells_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = [Pool(), Pool()]
    started = iter(pools)
    monkeypatch.setattr(processes, "_pool", lambda _: next(started))
    job: Any = None
    with Processes(1).workers(job) as workers:
        assert list(workers([["a"]])) == [(0, {"a": None})]
        pools[0].lost = True
        assert list(workers([["b"], ["c"]])) == [(0, {"b": None}), (1, {"c": None})]
    assert all(pool.ended for pool in pools)


def test_a_worker_may_grow_by_what_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loky ends one that does, where psutil is installed, and all that was kept is made again."""
    monkeypatch.setattr(process_executor, "_USE_PSUTIL", True)  # raises where another loky has no such switch
    monkeypatch.setattr(processes, "_job", None)
    monkeypatch.setattr(processes, "_end_with", lambda _: None)
    job: Any = object()
    processes._start(job, os.getppid())
    assert processes._job is job
    assert not process_executor._USE_PSUTIL


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreError("full")])
def test_whatever_stops_a_run_ends_the_worker_that_it_came_from(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, at_once: bool
) -> None:
    pool, job = Pool(error, at_once=at_once), None
    monkeypatch.setattr(processes, "_pool", lambda _: pool)
    with pytest.raises(type(error)), Processes(1).workers(job) as workers:  # type: ignore[arg-type]
        list(workers([["a"]]))
    assert pool.ended


def test_what_cant_go_to_another_process_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, job = Pool(TypeError("cannot pickle '_thread.lock' object"), at_once=True), None
    monkeypatch.setattr(processes, "_pool", lambda _: pool)
    with (
        pytest.raises(BadParameter, match=r"another process: cannot pickle '_thread.lock' object.*--jobs 1"),
        Processes(1).workers(job) as workers,  # type: ignore[arg-type]
    ):
        list(workers([["a"]]))


def test_a_worker_in_another_folder_uses_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("ours.py").write_text("PLUGINS = {}  # another")
    registry().add_file(Path("ours.py"))
    told = pickle.dumps([Store(Path("store")), Journal(Path("paid.jsonl"), "x"), PluginFiles((Path("ours.py"),))])
    monkeypatch.chdir(tmp_path / "there")
    store, journal, plugins = pickle.loads(told)
    assert [store.root, journal.path, *plugins.paths] == [
        tmp_path / "here" / name for name in ("store", "paid.jsonl", "ours.py")
    ]


def test_a_file_of_plugins_that_was_changed_meanwhile_ends_the_run_in_words(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("PLUGINS = {}")
    registry().add_file(path)
    files = PluginFiles((path,))
    assert pickle.loads(pickle.dumps(files)) == files
    path.write_text("PLUGINS = {}  # changed")
    with pytest.raises(BrokenPlugin, match=r"mine.py: it was changed while the board is made"):
        pickle.dumps(files)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_cell_is_one_parts(count: int) -> None:
    names = [f"score victim {i}" for i in range(20)]
    parts = [Shard(i, count).own(names) for i in range(1, count + 1)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [Shard(i, count).own(reversed(names)) for i in range(1, count + 1)] == parts


def test_parts_stay_the_same_from_one_python_to_the_next() -> None:
    assert Shard(1, 2).own(["a", "b", "c", "d"]) == {"b", "d"}


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "-1/2", "1/0", "", "½/2"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="shard"):
        Shard.parse(text)


def test_impossible_places_are_refused() -> None:
    for make in (lambda: Processes(0), lambda: RayCluster(0), lambda: RayCluster(gpus=-1.0)):
        with pytest.raises(BadParameter, match="expected"):
            make()


def test_one_at_a_time_holds_a_claim(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "claims" / "a", [0], [0]

    def work() -> None:
        for _ in range(20):
            with claimed(path):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not list(path.parent.iterdir())


def _hold(path: Path, held: object) -> None:
    with claimed(path):
        held.set()  # type: ignore[attr-defined]
        threading.Event().wait()


def test_a_claim_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "a", held))
    process.start()
    assert held.wait(20)
    process.kill()
    process.join()
    assert (tmp_path / "a").exists()
    with claimed(tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists()


def test_what_killed_processes_left_is_cleared_and_what_is_held_stays(tmp_path: Path) -> None:
    claims.clear(tmp_path / "none")
    (tmp_path / "left").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with claimed(tmp_path / "held"):
        claims.clear(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"held", "folder", "loop"}
    assert not (tmp_path / "held").exists()


def test_one_at_a_time_holds_a_claim_while_others_clear(tmp_path: Path) -> None:
    path, inside, most, done = tmp_path / "claims" / "a", [0], [0], threading.Event()

    def work() -> None:
        for _ in range(30):
            with claimed(path):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                threading.Event().wait(1e-4)
                inside[0] -= 1
            path.touch()  # as if a process had been killed

    def sweep() -> None:
        while not done.is_set():
            claims.clear(path.parent)

    threads = [threading.Thread(target=work) for _ in range(4)]
    sweeper = threading.Thread(target=sweep)
    for thread in (*threads, sweeper):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    sweeper.join()
    assert most == [1]
    claims.clear(path.parent)
    assert not list(path.parent.iterdir())


def test_a_claim_made_anew_while_the_old_file_is_cleared_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flock, held = tmp_path / "a", fcntl.flock, list[int]()
    path.touch()

    def beaten(handle: int, how: int) -> None:
        """Between opening and locking, somebody removes the file and holds a new one of that name."""
        if not held:
            path.unlink()
            held.append(os.open(path, os.O_RDWR | os.O_CREAT))
            flock(held[0], fcntl.LOCK_EX)
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", beaten)
    claims.clear(tmp_path)
    assert path.exists()
    os.close(held[0])


def test_without_locks_work_goes_on_and_no_file_is_taken_from_who_may_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    with claimed(tmp_path / "a"):
        pass
    claims.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_without_a_place_for_locks_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with claimed(tmp_path / "file" / "a"):
        pass
