"""Several processes of this machine, through joblib's loky."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from robustnoise.errors import BadParameter
from robustnoise.harness.executors.base import Work, Workers
from robustnoise.harness.executors.job import Group, Job, Made, handing_over
from robustnoise.harness.experiment import Experiment

IDLE_SECONDS = 600
"""After so long without work a worker ends, and the next cell starts another."""
ORPHAN_SECONDS = 2.0
"""How often a worker looks whether its run is still there: nothing is left behind by one that was killed."""


@dataclass(frozen=True)
class Processes:
    """Workers that each keep their networks, measurements and remembered passes from one cell to the next.

    Args:
        jobs: how many.

    Raises:
        BadParameter: fewer than one.
    """

    jobs: int

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise BadParameter(f"jobs = {self.jobs}: expected at least 1.")

    def at_once(self, experiment: Experiment, work: Work) -> int:
        """As it was told."""
        return self.jobs

    @contextmanager
    def workers(self, job: Job) -> Iterator[Workers]:
        """As many as there is work for; one that is lost, also between two cells, or ran out of memory, is replaced.

        Raises:
            BadParameter: the experiment holds something that can't go to another process.
            BrokenPlugin: a file of plugins has changed since it was loaded.
        """
        started: list[Any] = []
        idle: list[Any] = []
        busy: dict[Future[Made], tuple[int, Any]] = {}

        def give(group: Group) -> tuple[Future[Made], Any]:
            while idle:
                pool = idle.pop()
                with suppress(BrokenProcessPool):  # it was lost while it had nothing to do
                    return pool.submit(_make, list(group)), pool
            started.append(_pool(job))  # noted first: whatever stops this block now ends the process as well
            with handing_over():
                return started[-1].submit(_make, list(group)), started[-1]

        def run(groups: Sequence[Group]) -> Iterator[tuple[int, Made | None]]:
            waiting = list(enumerate(groups))[::-1]
            while waiting or busy:
                while waiting and len(busy) < self.jobs:
                    number, group = waiting.pop()
                    future, pool = give(group)
                    busy[future] = number, pool
                done, _ = wait(busy, return_when=FIRST_COMPLETED)
                for future in done:
                    number, pool = busy.pop(future)
                    made = _made(future)
                    if made is None or any(failure is not None and failure.again for failure in made.values()):
                        pool.shutdown(wait=False, kill_workers=True)
                    else:
                        idle.append(pool)
                    yield number, made

        try:
            yield run
        finally:
            for pool in started:
                pool.shutdown(wait=True, kill_workers=True)


def _pool(job: Job) -> Any:
    """One process. Of a pool of several nobody can tell which cell was the end of one, and all end with it."""
    from joblib.externals.loky import ProcessPoolExecutor

    told = job, os.getpid()
    return ProcessPoolExecutor(max_workers=1, timeout=IDLE_SECONDS, initializer=_start, initargs=told)


def _made(future: Future[Made]) -> Made | None:
    try:
        return future.result()
    except BrokenProcessPool:
        return None


_job: Job | None = None
"""In a worker, what it was told at its start."""


def _start(job: Job, parent: int) -> None:
    global _job  # noqa: PLW0603 - a worker's own
    _job = job
    from joblib.externals.loky import process_executor

    # Where psutil is installed, loky takes what a worker keeps for a leak, and ends one that grew by 300 MB.
    process_executor._USE_PSUTIL = False
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, even before this one had started: who is killed tells nobody."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    os._exit(1)


def _make(group: Group) -> Made:
    assert _job is not None
    return _job.make(group)
