"""The interface of executors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from robustnoise.harness.executors.job import Group, Job, Made

Workers = Callable[[Sequence[Group]], Iterator[tuple[int, Made | None]]]
"""Makes groups of cells, each in one worker, in any order: the number of a group with what came of it, or None where
its worker was lost on the way. What a worker raises is raised here."""


class Executor(Protocol):
    """Decides where cells are made and how many at a time; rows don't depend on it."""

    def workers(self, job: Job) -> AbstractContextManager[Workers]:
        """Workers for one run; they end with the block, whatever way it is left."""
        ...
