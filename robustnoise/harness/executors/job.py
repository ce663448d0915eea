"""What a worker is told once: the experiment and its store. After that it is told names of cells."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnoise.allocator import keep_memory
from robustnoise.errors import BadParameter, BrokenPlugin, RobustnoiseError, told
from robustnoise.harness.bench import Bench
from robustnoise.harness.experiment import Experiment
from robustnoise.harness.failed import LOST, Failure, attempt
from robustnoise.harness.limits import TimeLimit
from robustnoise.harness.tasks import Task, tasks
from robustnoise.protocols import Progress
from robustnoise.registry import is_loaded, registry
from robustnoise.store import Store

Group = Sequence[str]
"""What one worker does in a row, by `Task.work`."""
Made = dict[str, Failure | None]
"""What came of the cells of a group, by `Task.work`; None is that all is well."""


class Job:
    """The work of one run, wherever it is done; a copy that another process unpickles has a bench of its own.

    Args:
        experiment: what to measure.
        store: where cells are kept; every worker must reach its folder under the same path.
        progress: where this process reports; copies are silent.
        memory: bytes of answers that a bench remembers; see `Memory`.
        limit: of the time that a cell may take in another process; None is no limit.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        progress: Progress | None = None,
        *,
        memory: int,
        limit: TimeLimit | None = None,
    ) -> None:
        self.experiment, self.store, self.memory, self.limit = experiment, store, memory, limit
        self.watched = False
        self.bench = Bench(experiment, store, progress, memory=memory)

    @functools.cached_property
    def tasks(self) -> dict[str, Task]:
        """One task for each cell, by `Task.work`."""
        return {task.work: task for level in reversed(list(tasks(self.experiment))) for task in reversed(level)}

    def make(self, group: Group) -> Made:
        """Make cells, or find them."""
        return {name: attempt(functools.partial(self._make, name)) for name in group}

    def _make(self, name: str) -> None:
        with self.limit.watching(name) if self.limit and self.watched else nullcontext():
            self.tasks[name].run(self.bench)

    def lost(self, name: str) -> Failure:
        """Why a cell isn't there whose worker isn't either."""
        return (self.limit and self.limit.overrun(name)) or LOST

    def __reduce__(self) -> tuple[Any, ...]:
        plugins = PluginFiles(self.experiment.plugin_files)
        return _job, (plugins, self.experiment, self.store.root, self.memory, self.limit)


def _job(_plugins: PluginFiles, experiment: Experiment, root: Path, memory: int, limit: TimeLimit | None) -> Job:
    keep_memory()
    job = Job(experiment, Store(root), memory=memory, limit=limit)
    job.watched = True
    return job


@contextmanager
def handing_over() -> Iterator[None]:
    """A block that tells another process of a job.

    Raises:
        BadParameter: the experiment holds something that can't go there.
    """
    try:
        yield
    except RobustnoiseError:
        raise
    except (TypeError, AttributeError, ValueError) as error:
        raise BadParameter(
            f"the board can't be handed to another process: {told(error)}. A network or function of your own holds "
            "what lives in this process alone, such as a lock or an open file. Leave that out, or give --jobs 1 and no "
            "time limit."
        ) from error


@dataclass(frozen=True)
class PluginFiles:
    """Loads the files where it is unpickled: before the arguments that follow it, which hold what the files define."""

    paths: tuple[Path, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        for path in self.paths:
            if not is_loaded(path):
                raise BrokenPlugin(
                    f"plugin file {path}: it was changed while the board is made, and a worker that starts now doesn't "
                    "find what it was. What was finished is kept: start the same command again."
                )
        return _load_plugins, (tuple(path.absolute() for path in self.paths),)


def _load_plugins(paths: tuple[Path, ...]) -> PluginFiles:
    for path in paths:
        registry().add_file(path)
    return PluginFiles(paths)
