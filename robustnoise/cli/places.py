"""Where the cells of a command are made, and what it shows of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from robustnoise.cli.caching import open_store
from robustnoise.cli.progress import bars
from robustnoise.errors import BadParameter
from robustnoise.harness.executors.base import Executor
from robustnoise.harness.executors.cluster import RayCluster
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.executors.serial import Serial
from robustnoise.harness.experiment import Experiment
from robustnoise.harness.runner import plan as make_plan
from robustnoise.harness.runner import run, run_shard
from robustnoise.harness.shards import Shard
from robustnoise.records import EvaluationRecord


@dataclass(frozen=True)
class Place:
    """What the options say.

    Args:
        jobs: cells at a time; None is one, or with `ray` as many as the cluster has room for.
        ray: on a Ray cluster.
        gpus: GPUs for each cell there.
    """

    jobs: int | None = None
    ray: bool = False
    gpus: float = 0.0

    @property
    def executor(self) -> Executor:
        """Who makes them.

        Raises:
            BadParameter: options that don't go together.
        """
        if self.ray:
            return RayCluster(self.jobs, self.gpus)
        if self.gpus:
            raise BadParameter("--gpus: says what Ray gives to each cell, so it belongs to --ray. See also --device.")
        return Processes(self.jobs) if self.jobs is not None and self.jobs > 1 else Serial()

    def run(self, experiment: Experiment, failures: list[str] | None) -> list[EvaluationRecord]:
        """Make every cell; `failures` as for `robustnoise.harness.runner.run`."""
        with bars() as progress:
            return run(experiment, open_store(), progress=progress, executor=self.executor, failures=failures)

    def run_shard(self, experiment: Experiment, shard: Shard, failures: list[str]) -> None:
        """Make one part's cells."""
        with bars() as progress:
            run_shard(experiment, open_store(), shard, progress=progress, executor=self.executor, failures=failures)


def show_plan(experiment: Experiment, *, as_json: bool = False) -> None:
    """What is in the store and what isn't."""
    lines = make_plan(experiment, open_store())
    if as_json:
        print(json.dumps([asdict(line) for line in lines]))
        return
    for line in lines:
        print(f"{line.stage:12} {line.cached:5} cached {line.missing:5} missing")
    print(f"{'all':12} {sum(p.cached for p in lines):5} cached {sum(p.missing for p in lines):5} missing")
