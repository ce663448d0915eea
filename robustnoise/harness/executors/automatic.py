"""This process, or several, whichever is done sooner: what happens where nobody says how many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from robustnoise.harness.costs.estimate import Estimator
from robustnoise.harness.executors.base import Work, Workers
from robustnoise.harness.executors.job import Group, Job, Made
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.executors.serial import Serial
from robustnoise.harness.experiment import Experiment

LIMITS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux tells how much memory a container has, in its two versions."""
WORTH = 20.0
"""Seconds that several processes must save: each loads its libraries, images and networks first."""


@dataclass(frozen=True)
class Automatic:
    """This process, which shows how far each stage is, where several wouldn't save much.

    Args:
        most: processes at a time; None is as many as there are cores and memory for.
    """

    most: int | None = None

    def at_once(self, experiment: Experiment, work: Work) -> int:
        """How many cells at a time.

        One where networks run on an accelerator, or a victim is somebody else's: nobody's endpoint gets more questions
        at a time than it was meant to.
        """
        if not experiment.self_contained:
            return 1
        many = min(_cores() // experiment.threads, _memory() // 2 // max(1, work.peak), self.most or _cores())
        if many < 2 or work.seconds - max(work.longest, work.seconds / many) < WORTH:
            return 1
        return many

    @contextmanager
    def workers(self, job: Job) -> Iterator[Workers]:
        """Processes start with the first level that is worth it, and make all that follows: a cell that was the end of
        one of them must not be tried again here."""
        with ExitStack() as stack:
            workers = [stack.enter_context(Serial().workers(job))]

            def run(groups: Sequence[Group]) -> Iterator[tuple[int, Made | None]]:
                many = self.at_once(job.experiment, _work(job, groups)) if len(groups) > 1 else 1
                if many > 1 and len(workers) == 1:
                    workers.append(stack.enter_context(Processes(many).workers(job)))
                yield from workers[-1](groups)

            yield run


def _work(job: Job, groups: Sequence[Group]) -> Work:
    estimator = Estimator(job.experiment)
    each = [[estimator.of(job.tasks[name]) for name in group] for group in groups]
    seconds = [sum(estimate.seconds for estimate in group) for group in each]
    return Work(sum(seconds), max(seconds), max(estimate.peak for group in each for estimate in group))


def _cores() -> int:
    """That this process may use: of a container or a job of a scheduler, not of its whole machine."""
    from joblib import cpu_count

    return int(cpu_count())


def _memory(limits: Sequence[Path] = LIMITS) -> int:
    """Bytes, of the machine or of the container that this process is in."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in limits:
        with suppress(OSError, ValueError):  # there is none, or it is "max"
            found.append(int(limit.read_text()))
    return min(found)
