"""One cell after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from robustnoise.errors import BadParameter
from robustnoise.harness.executors.base import Work, Workers
from robustnoise.harness.executors.job import Group, Job, Made
from robustnoise.harness.experiment import Experiment


@dataclass(frozen=True)
class Serial:
    """This process alone: stages show how far they are, and what kills a cell kills the run."""

    def at_once(self, experiment: Experiment, work: Work) -> int:
        """One."""
        return 1

    @contextmanager
    def workers(self, job: Job) -> Iterator[Workers]:
        """The one worker.

        Raises:
            BadParameter: there is a time limit, at which this process would end.
        """
        if job.limit is not None:
            raise BadParameter("a time limit ends the process that a cell is made in; give Processes(1) as executor.")

        def run(groups: Sequence[Group]) -> Iterator[tuple[int, Made | None]]:
            for number, group in enumerate(groups):
                yield number, job.make(group)

        yield run
