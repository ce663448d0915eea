"""Runs an experiment cell by cell: levels of independent work, made by an executor, resumed from the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from contextlib import nullcontext
from typing import Any

from robustnoise.harness import claims, limits
from robustnoise.harness.bench import Bench
from robustnoise.harness.cells import NotCached
from robustnoise.harness.executors.base import Executor
from robustnoise.harness.executors.job import Job
from robustnoise.harness.executors.serial import Serial
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.failed import Failed
from robustnoise.harness.limits import TimeLimit
from robustnoise.harness.memory import LIMIT
from robustnoise.harness.planning import estimates, sort_cells
from robustnoise.harness.provenance import provenance
from robustnoise.harness.rehearsal import rehearse
from robustnoise.harness.shards import Shard
from robustnoise.harness.tasks import Task, groups, stops, tasks
from robustnoise.harness.tries import make_all
from robustnoise.protocols import Progress, Silent, TwoStage
from robustnoise.records import Arm, EvaluationRecord
from robustnoise.store import Store


def run(
    experiment: Experiment,
    store: Store,
    *,
    progress: Progress | None = None,
    executor: Executor | None = None,
    memory: int = LIMIT,
    time_limit: float | None = None,
    failures: list[str] | None = None,
) -> list[EvaluationRecord]:
    """Make every missing cell, then assemble the records: one per victim and attack, or per victim without attacks.

    A cell that fails is left out, as is one that is lost three times with its worker or for want of memory, and so are
    the records that would need it; all else is made. Failed cells aren't stored, so the next run tries them again.

    Args:
        experiment: what to measure.
        store: where cells are kept; a run that is killed goes on from there.
        progress: where to report.
        executor: where cells are made; None is this process. Records don't depend on it.
        memory: bytes of answers that each worker remembers; records don't depend on it.
        time_limit: seconds that a cell may take in a worker, which is ended then; None is no limit.
        failures: takes one line for each failed cell.

    Raises:
        BadParameter: a victim's stages can't stand around its network, or a time limit has no worker to end.
        AttackFailed: a cell failed and `failures` is None; raised when everything else is in the store.
    """
    # The code that runs is that of now: a checkout may move on in the hours that follow.
    origin, started = provenance(), time.monotonic()
    job = Job(experiment, store, progress or Silent(), memory=memory, limit=_limit(time_limit, store))
    failed = _make(job, executor or Serial())
    failed.hand_over(failures)
    # What was found in the store took no time.
    return _records(job.bench, origin | {"seconds": round(time.monotonic() - started, 1)}, failed)


def run_shard(
    experiment: Experiment,
    store: Store,
    shard: Shard,
    *,
    progress: Progress | None = None,
    executor: Executor | None = None,
    memory: int = LIMIT,
    time_limit: float | None = None,
    failures: list[str] | None = None,
) -> None:
    """Make one part's missing cells; when all parts are done, `run` finds everything and assembles the records.

    What a cell needs of another part's is waited for while somebody makes it, and else made here.

    Args:
        experiment: what to measure, the same for all parts.
        store: where cells are kept, the same for all parts.
        shard: the part.
        progress: as for `run`, like all that follows.
        executor: where cells are made.
        memory: bytes of answers that each worker remembers.
        time_limit: seconds that a cell may take.
        failures: takes one line for each failed cell.

    Raises:
        BadParameter: as `run`.
        AttackFailed: as `run`.
    """
    job = Job(experiment, store, progress or Silent(), memory=memory, limit=_limit(time_limit, store))
    _make(job, executor or Serial(), shard).hand_over(failures)


def _limit(seconds: float | None, store: Store) -> TimeLimit | None:
    return None if seconds is None else TimeLimit(seconds, store)


def _make(job: Job, executor: Executor, shard: Shard | None = None) -> Failed:
    """Make what is missing; what failed."""
    rehearse(job.experiment, job.store)
    failed, looking = Failed(), job.bench.looking()
    levels = [_own(job.experiment, level, shard) for level in tasks(job.experiment)]
    meter = _meter(job, looking, levels)
    try:
        with job.limit.noting() if job.limit else nullcontext(), executor.workers(job) as workers:
            for level in levels:
                same: dict[str, list[Task]] = {}
                for task in (task for group in level for task in group):
                    if not failed.has(task.victim, task.attack, shared=task.shared):
                        same.setdefault(task.work, []).append(task)
                missing = _missing(looking, level, same)
                for name, reason in make_all(workers, missing, meter, job.lost).items():
                    for task in same[name]:
                        failed.note(task.label, task.victim, task.attack, reason, shared=task.shared)
    finally:
        claims.clear(job.store.root / claims.FOLDER)
        limits.clear(job.store)
    return failed


def _own(experiment: Experiment, level: list[Task], shard: Shard | None) -> list[list[Task]]:
    """The groups of a level that are a part's; None is the whole."""
    named = groups(experiment, level)
    own = named if shard is None else shard.own(named)
    return [group for name, group in named.items() if name in own]


def _meter(job: Job, looking: Bench, levels: list[list[list[Task]]]) -> Callable[[str], None]:
    """Shows how much of the whole is done, by the time that cells are expected to take; told of each that is made."""
    if isinstance(job.bench.progress, Silent):
        return lambda _: None
    cached, missing = sort_cells(looking, (task for level in levels for group in level for task in group))
    found = estimates(job.experiment, job.store, cached, missing)
    steps = {name: max(1, round(1000 * estimate.seconds)) for name, estimate in found.items()}
    if not steps:
        return lambda _: None
    meter = job.bench.progress.start(f"{len(steps)} cells", sum(steps.values()))
    return lambda name: meter.advance(steps.pop(name, 0))


def _missing(looking: Bench, level: list[list[Task]], wanted: Container[str]) -> list[list[str]]:
    """The groups of a level's cells that are to be made: first those whose inputs are here, of them the longest, so
    that no worker is left alone with it at the end."""
    found: list[tuple[bool, list[str]]] = []
    for group in level:
        cells, waits = [], False
        for task in group:
            if task.work in wanted:
                try:
                    task.run(looking)
                except NotCached as error:
                    cells.append(task.work)
                    waits |= str(error) != task.stage
        if cells:
            found.append((waits, list(dict.fromkeys(cells))))
    return [cells for _, cells in sorted(found, key=lambda entry: (entry[0], -len(entry[1])))]


def _records(bench: Bench, origin: Mapping[str, Any], failed: Failed) -> list[EvaluationRecord]:
    experiment = bench.experiment
    named = {v.name: v for v in experiment.victims}
    pairs = [(v, a) for v in experiment.victims for a in experiment.attacks_on(v)]
    arms = {(v.name, a.name if a else None): _arm(bench, v, a) for v, a in pairs if not failed.has(v, a)}

    def complete(victim: Victim, attack: Attack | None) -> bool:
        # A record without the arm that it is compared with would be another one under the same identity.
        others = (None if victim.clean_only else experiment.undefended, victim.reference)
        return not any(failed.has(named[name], attack) for name in (victim.name, *others) if name is not None)

    def record(victim: Victim, attack: Attack | None) -> EvaluationRecord:
        undefended = None if victim.clean_only or experiment.undefended == victim.name else experiment.undefended
        name = attack.name if attack else None
        return EvaluationRecord(
            setting=experiment.setting(attacked=attack is not None),
            attack=attack.identity() if attack else None,
            victim=arms[victim.name, name],
            reference=arms[victim.reference, name] if victim.reference else None,
            undefended=arms[undefended, name] if undefended else None,
            outside=bench.outside(attack, victim) if attack else None,
            provenance={**origin, **_precision(bench, victim, attack)},
        )

    return [record(victim, attack) for victim, attack in pairs if complete(victim, attack)]


def _precision(bench: Bench, victim: Victim, attack: Attack | None) -> dict[str, Any]:
    """What `crafting.craft` found of bfloat16; nothing where the images were crafted in float32 as usual."""
    facts = bench.images(attack, victim).facts if attack else {}
    return {"precision": facts["precision"]} if "precision" in facts else {}


def _arm(bench: Bench, victim: Victim, attack: Attack | None) -> Arm:
    classifier = bench.classifier(victim)
    agreement = None
    if attack is not None and isinstance(attack.attack, TwoStage):
        agreement = bench.agreement(attack, victim).facts["agreement"]
    return Arm(
        victim=victim.identity(classifier.digest),
        stochastic=classifier.stochastic,
        passes=classifier.passes,
        clean=bench.tally(victim, None),
        adversarial=bench.tally(victim, attack) if attack else None,
        queries=bench.queries(attack, victim) if attack else 0,
        agreement=agreement,
        claimed=bench.claimed(attack, victim) if attack else None,
        curve={stop: bench.tally(victim, attack, stop) for stop in stops(bench.experiment, attack)} if attack else {},
    )
