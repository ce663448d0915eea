"""Where the cells of a command are made, and what it shows of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from robustnoise.cli.caching import open_store
from robustnoise.cli.progress import bars
from robustnoise.errors import BadParameter
from robustnoise.harness.executors.automatic import Automatic
from robustnoise.harness.executors.base import Executor, Work
from robustnoise.harness.executors.cluster import RayCluster
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.executors.serial import Serial
from robustnoise.harness.experiment import Experiment
from robustnoise.harness.memory import LIMIT
from robustnoise.harness.planning import Planned, wall_seconds
from robustnoise.harness.planning import plan as make_plan
from robustnoise.harness.runner import run, run_shard
from robustnoise.harness.shards import Shard
from robustnoise.records import EvaluationRecord

GIB = 2**30


@dataclass(frozen=True)
class Place:
    """What the options say.

    Args:
        jobs: cells at a time; None is as many as pay, or with `ray` as many as the cluster has room for.
        ray: on a Ray cluster.
        gpus: GPUs for each cell there.
        memory: gigabytes of all workers together; None is no bound.
        time_limit: seconds that a cell may take, in a worker also where there is but one; None is no limit.

    Raises:
        BadParameter: options that don't go together.
    """

    jobs: int | None = None
    ray: bool = False
    gpus: float = 0.0
    memory: float | None = None
    time_limit: float | None = None

    def __post_init__(self) -> None:
        if self.gpus and not self.ray:
            raise BadParameter("--gpus: says what Ray gives to each cell, so it belongs to --ray. See also --device.")
        if self.memory is not None and self.ray:
            raise BadParameter("--memory: bounds this machine; Ray bounds that of its nodes by itself.")
        self.executor()

    def executor(self, fitting: int | None = None) -> Executor:
        """Who makes the cells, of which memory has room for `fitting`."""
        if self.ray:
            return RayCluster(self.jobs, self.gpus)
        if self.jobs is None and self.time_limit is None:
            return Automatic(fitting)
        jobs = self.jobs or 1
        if fitting is not None:
            jobs = min(jobs, fitting)
        return Processes(jobs) if jobs > 1 or self.time_limit is not None else Serial()

    def run(self, experiment: Experiment, failures: list[str] | None) -> list[EvaluationRecord]:
        """Make every cell; `failures` as for `robustnoise.harness.runner.run`."""
        executor, answers = self.fitted(lambda: make_plan(experiment, open_store()))
        with bars() as progress:
            return run(
                experiment, open_store(), progress=progress, executor=executor, memory=answers,
                time_limit=self.time_limit, failures=failures,
            )  # fmt: skip

    def run_shard(self, experiment: Experiment, shard: Shard, failures: list[str]) -> None:
        """Make one part's cells; one at a time unless it is said otherwise: other parts may be on the same machine."""
        place = self if self.jobs or self.ray else replace(self, jobs=1)
        executor, answers = place.fitted(lambda: make_plan(experiment, open_store()))
        with bars() as progress:
            run_shard(
                experiment, open_store(), shard, progress=progress, executor=executor, memory=answers,
                time_limit=self.time_limit, failures=failures,
            )  # fmt: skip

    def fitted(self, lines: Callable[[], list[Planned]]) -> tuple[Executor, int]:
        """Who makes so many cells at a time that `memory` is enough, and the bytes of answers that each may remember.

        Args:
            lines: the plan, asked for where there is a bound.

        Raises:
            BadParameter: not even one cell fits.
        """
        if self.memory is None:
            return self.executor(), LIMIT
        peak, room = max((line.peak for line in lines()), default=0), int(self.memory * GIB)
        if not peak:
            return self.executor(), LIMIT
        fitting = min(room // peak, self.jobs or os.cpu_count() or 1)
        if fitting < 1:
            raise BadParameter(
                f"--memory {self.memory:g}: one cell of this board needs about {peak / GIB:.2f} GB. Give as much, "
                "or leave the option out."
            )
        return self.executor(fitting), min(LIMIT, room // fitting - peak)


def show_plan(experiment: Experiment, place: Place, *, as_json: bool = False) -> None:
    """What is in the store, what isn't, and what that will cost."""
    lines = make_plan(experiment, open_store())
    if as_json:
        print(json.dumps([asdict(line) for line in lines]))
        return
    print(f"{'':12} {'cached':>8} {'missing':>8} {'forward':>14} {'backward':>14} {'time':>10}")
    for line in lines:
        about = "" if line.exact else "~"
        passes = f"{about + format(line.forward, ','):>14} {about + format(line.backward, ','):>14}"
        print(f"{line.stage:12} {line.cached:8,} {line.missing:8,} {passes} {duration(line.seconds):>10}")
    about = "" if all(line.exact for line in lines) else "~"
    forward, backward = (
        about + format(sum(n), ",") for n in zip(*((p.forward, p.backward) for p in lines), strict=True)
    )
    sums = f"{sum(p.cached for p in lines):8,} {sum(p.missing for p in lines):8,} {forward:>14} {backward:>14}"
    print(f"{'all':12} {sums} {duration(sum(p.seconds for p in lines)):>10}")
    if not any(line.missing for line in lines):
        return
    executor = place.fitted(lambda: lines)[0]
    # Each level is asked for itself; the one that has most at a time counts.
    jobs = max(executor.at_once(experiment, Work(line.seconds, line.longest, line.peak)) for line in lines)
    wall = duration(wall_seconds(lines, jobs, experiment.threads))
    peak = max(line.peak for line in lines) / GIB
    memory = f"{peak:.2f} GB of memory" + (f" each, {jobs * peak:.2f} GB in all" if jobs > 1 else "")
    print(f"About {wall} with {jobs} at a time and {memory}.")
    if about:
        print("~ is at most, by the budgets, or a guess.")


def duration(seconds: float) -> str:
    """In a few letters, such as ``"1 h 05 min"``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
