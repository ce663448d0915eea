"""What a run would find, what it would make, and what that would cost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from robustnoise.harness.bench import Bench
from robustnoise.harness.cells import NotCached
from robustnoise.harness.costs.estimate import Estimate, Estimator
from robustnoise.harness.costs.passes import Passes
from robustnoise.harness.costs.spent import spent
from robustnoise.harness.experiment import Experiment
from robustnoise.harness.tasks import LEVELS, Task, tasks
from robustnoise.store import Store


@dataclass(frozen=True)
class Planned:
    """A line of a plan: a stage with its cells.

    Args:
        stage: of `LEVELS`.
        cached: cells that are in the store.
        missing: cells that aren't.
        forward: passes of single images through networks that the missing ones take.
        backward: the same back.
        exact: whether that is the number; else the most that a budget allows, or a guess.
        seconds: that one worker takes for all of them.
        longest: of them, seconds of one.
        peak: bytes of memory that a worker holds at most.
    """

    stage: str
    cached: int
    missing: int
    forward: int
    backward: int
    exact: bool
    seconds: float
    longest: float
    peak: int


def plan(experiment: Experiment, store: Store) -> list[Planned]:
    """One line a stage. A cell whose inputs are not made yet counts as missing."""
    bench = Bench(experiment, store, compute=False)
    cached, missing = sort_cells(bench, (task for level in tasks(experiment) for task in level))
    found = estimates(experiment, store, cached, missing)
    lines = []
    for stage in LEVELS:
        here = [found[name] for name, task in missing.items() if task.stage == stage]
        finished = len({key for task, key in cached if task.stage == stage})
        if not here and not finished:
            continue
        passes = Passes()
        for estimate in here:
            passes = passes.plus(estimate.passes)
        took = [estimate.seconds for estimate in here]
        peak = max((estimate.peak for estimate in here), default=0)
        lines.append(
            Planned(
                stage, finished, len(here), round(passes.forward), round(passes.backward), passes.exact,
                seconds=sum(took), longest=max(took, default=0.0), peak=peak,
            )
        )  # fmt: skip
    return lines


def wall_seconds(lines: list[Planned], jobs: int, threads: int) -> float:
    """How long the missing cells of a plan take so many workers, of which no more work at a time than there are cores
    for; a level ends with its longest cell."""
    at_once = max(1, min(jobs, (os.cpu_count() or 1) // threads))
    return sum(max(line.longest, line.seconds / at_once) for line in lines)


def estimates(
    experiment: Experiment, store: Store, cached: list[tuple[Task, str]], missing: dict[str, Task]
) -> dict[str, Estimate]:
    """What missing cells will cost, by `Task.work`, from what the cached ones have cost."""
    estimator = Estimator(experiment)
    if missing:
        for task, key in cached:
            if (cost := spent(store, key)) is not None:
                estimator.learn(task, cost)
    return {name: estimator.of(task) for name, task in missing.items()}


def sort_cells(bench: Bench, every: Iterator[Task]) -> tuple[list[tuple[Task, str]], dict[str, Task]]:
    """Cached tasks with the keys of their cells, one for each cell, and missing ones by `Task.work`."""
    cached: dict[str, Task] = {}
    missing: dict[str, Task] = {}
    for task in every:
        try:
            cached.setdefault(task.run(bench).key, task)
        except NotCached:
            missing.setdefault(task.work, task)
    return [(task, key) for key, task in cached.items()], missing
