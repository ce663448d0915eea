"""A Ray cluster, or Ray on this machine alone (extra ``ray``)."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from robustnoise.errors import BadParameter, told
from robustnoise.extras import require
from robustnoise.harness.executors.base import Work, Workers
from robustnoise.harness.executors.job import Group, Job, Made, handing_over
from robustnoise.harness.experiment import Experiment


@dataclass(frozen=True)
class RayCluster:
    """Cells as Ray tasks: on the cluster of ``RAY_ADDRESS`` if it is set, else on this machine.

    A task asks for as many CPUs as the experiment has threads. Every node needs robustnoise, the plugins' files and the
    store's folder under the same paths.

    Args:
        jobs: most cells at a time; None is as many as the cluster has room for.
        gpus: GPUs for each cell, such as 1 or 0.25; Ray shows each task its own alone.

    Raises:
        BadParameter: a number is out of range.
    """

    jobs: int | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise BadParameter(f"jobs = {self.jobs}: expected at least 1.")
        if self.gpus < 0:
            raise BadParameter(f"gpus = {self.gpus:g}: expected 0 or more, such as 1 or 0.25.")

    def at_once(self, experiment: Experiment, work: Work) -> int:
        """As it was told; what the cluster has room for shows when it runs."""
        return self.jobs or 1

    @contextmanager
    def workers(self, job: Job) -> Iterator[Workers]:
        """Tasks of the cluster; one that this block started ends with it.

        Raises:
            MissingExtra: ray isn't installed.
            BadParameter: no cluster answers at ``RAY_ADDRESS``, or the experiment can't go to another process.
        """
        ray: Any = require("ray", purpose="Running on Ray", install="robustnoise[ray]")
        own = not ray.is_initialized()
        if own:
            try:
                knock(os.environ.get("RAY_ADDRESS", ""))
                ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
            except ConnectionError as error:
                raise BadParameter(
                    f"no Ray cluster answers: {told(error)}. Correct RAY_ADDRESS, or unset it for Ray on this machine."
                ) from error
        lost = ray.exceptions
        lost_on_the_way = (lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError, lost.ObjectLostError)
        # Lost tasks are counted by the harness, which asks for them again.
        options = {"num_cpus": job.experiment.threads, "num_gpus": self.gpus, "max_retries": 0}
        remote, name = ray.remote(**options)(_make), secrets.token_hex(8)
        with handing_over():
            put = ray.put(job)
        running: dict[Any, int] = {}

        def run(groups: Sequence[Group]) -> Iterator[tuple[int, Made | None]]:
            waiting = list(enumerate(groups))[::-1]
            while waiting or running:
                while waiting and (self.jobs is None or len(running) < self.jobs):
                    number, group = waiting.pop()
                    # In a list it stays a reference, which a worker follows once.
                    running[remote.remote(name, [put], list(group))] = number
                for task in ray.wait(list(running))[0]:
                    number = running.pop(task)
                    try:
                        made = ray.get(task)
                    except lost_on_the_way:
                        made = None
                    except lost.RayTaskError as error:
                        raise (error.cause or error) from None
                    yield number, made

        try:
            yield run
        finally:
            for task in running:
                ray.cancel(task, force=True)
            if own:
                ray.shutdown()


def knock(address: str) -> None:
    """Connect to HOST:PORT and hang up; Ray itself goes on asking for many minutes where nobody listens.

    Addresses of other forms ("auto", "ray://...") are left to Ray.

    Raises:
        ConnectionError: nobody answers there within ten seconds.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError, ValueError) as error:  # no such name, port or text
        raise ConnectionError(f"{address}: {told(error)}") from error


_jobs: dict[str, Job] = {}
"""In a worker, the job of the present run: what it loads and measures for one cell serves the next."""


def _make(name: str, put: Sequence[Any], group: Group) -> Made:
    import ray

    if name not in _jobs:
        _jobs.clear()
        _jobs[name] = ray.get(put[0])
    return _jobs[name].make(group)
