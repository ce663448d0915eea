"""The interface of executors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from robustnoise.harness.executors.job import Group, Job, Made
from robustnoise.harness.experiment import Experiment

Workers = Callable[[Sequence[Group]], Iterator[tuple[int, Made | None]]]
"""Makes groups of cells, each in one worker, in any order: the number of a group with what came of it, or None where
its worker was lost on the way. What a worker raises is raised here."""


class Work(NamedTuple):
    """Cells that don't wait for each other."""

    seconds: float
    """Of all of them in one process."""
    longest: float
    """Of them, seconds of one group."""
    peak: int
    """Bytes that a worker holds at most."""


class Executor(Protocol):
    """Decides where cells are made and how many at a time; rows don't depend on it."""

    def at_once(self, experiment: Experiment, work: Work) -> int:
        """How many cells it makes at a time, for a plan; 1 where nobody knows beforehand."""
        ...

    def workers(self, job: Job) -> AbstractContextManager[Workers]:
        """Workers for one run; they end with the block, whatever way it is left."""
        ...
