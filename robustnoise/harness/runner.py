"""Runs an experiment cell by cell: levels of independent work, in one process or several, resumed from the store."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnoise.allocator import keep_memory
from robustnoise.building import spec_of
from robustnoise.compose import compose, split_stages
from robustnoise.errors import BadParameter
from robustnoise.harness.bench import Bench
from robustnoise.harness.cells import NotCached
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.failed import Failed, attempt
from robustnoise.harness.provenance import provenance
from robustnoise.harness.rehearsal import rehearse
from robustnoise.protocols import Progress, Silent, TwoStage
from robustnoise.records import Arm, EvaluationRecord
from robustnoise.registry import registry
from robustnoise.store import Cell, Store

LEVELS = ("train", "substitute", "craft", "score", "agreement")


@dataclass(frozen=True)
class Task:
    """One cell to make: a stage, a victim and, but for training and clean scores, an attack; scores on the way have a
    stop."""

    stage: str
    victim: Victim
    attack: Attack | None = None
    stop: int | None = None

    @property
    def shared(self) -> bool:
        """Whether its cell is the same for every victim."""
        return self.attack is not None and not self.attack.own and self.stage in ("substitute", "craft")

    @property
    def label(self) -> str:
        """For progress and plans."""
        parts = [self.stage, *([] if self.shared else [self.victim.name]), *([self.attack.name] if self.attack else [])]
        return " ".join(parts) + ("" if self.stop is None else f" at {self.stop} queries")

    def run(self, bench: Bench) -> Cell:
        """Make the cell, or find it."""
        if self.stage == "train":
            return bench.weights(self.victim)
        if self.stage == "score":
            return bench.score(self.victim, self.attack, self.stop)
        assert self.attack is not None
        stage = {"substitute": bench.source, "craft": bench.images, "agreement": bench.agreement}[self.stage]
        return stage(self.attack, self.victim)


def tasks(experiment: Experiment) -> Iterator[list[Task]]:
    """The work of an experiment, level by level; the tasks of one level don't need each other."""
    victims, attacks = experiment.victims, experiment.attacks
    attacked = [v for v in victims if not v.clean_only]
    pairs = [(v, a) for a in attacks for v in attacked]
    # What asks no oracle is the same for every victim: once, under the first one's name.
    distinct = [(v, a) for v, a in pairs if a.own or v is attacked[0]]
    two_stage = [(v, a) for v, a in pairs if isinstance(a.attack, TwoStage)]
    yield [Task("train", v) for v in victims if v.classifier is None]
    yield [Task("substitute", v, a) for v, a in distinct if isinstance(a.attack, TwoStage)]
    yield [Task("craft", v, a) for v, a in distinct]
    yield [
        *(Task("score", v) for v in victims),
        *(Task("score", v, a, stop) for v, a in pairs for stop in (*_stops(experiment, a), None)),
        *(Task("agreement", v, a) for v, a in two_stage),
    ]


def _stops(experiment: Experiment, attack: Attack) -> tuple[int, ...]:
    """At how many queries an image the attack is scored before its end."""
    asks = attack.attack.traits.queries and not isinstance(attack.attack, TwoStage)
    return experiment.budget.stops if asks else ()


@dataclass(frozen=True)
class Planned:
    """A line of a plan: a stage with the number of its cells that are cached and missing."""

    stage: str
    cached: int
    missing: int


def plan(experiment: Experiment, store: Store) -> list[Planned]:
    """What a run would find and what it would make. A cell whose inputs are not made yet counts as missing."""
    bench = Bench(experiment, store, compute=False)
    counts: dict[str, dict[str, bool]] = {stage: {} for stage in LEVELS}
    for level in tasks(experiment):
        for task in level:
            try:
                counts[task.stage][task.run(bench).key] = True
            except NotCached:
                counts[task.stage][_work_id(task)] = False
    return [Planned(s, sum(c.values()), len(c) - sum(c.values())) for s, c in counts.items() if c]


def run(
    experiment: Experiment,
    store: Store,
    *,
    progress: Progress | None = None,
    jobs: int = 1,
    memory_images: int = 1024,
    failures: list[str] | None = None,
) -> list[EvaluationRecord]:
    """Make every missing cell, then assemble the records: one per victim and attack, or per victim without attacks.

    A cell in which somebody else's attack fails is left out, as are the records that would need it; all else is made.
    Failed cells aren't stored, so the next run tries them again.

    Args:
        experiment: what to measure.
        store: where cells are kept; a run that is killed goes on from there.
        progress: where to report.
        jobs: processes; 1 runs in this one. Records don't depend on it.
        memory_images: images held as float32 at a time; records don't depend on it.
        failures: takes one line for each failed cell.

    Raises:
        BadParameter: `jobs` or `memory_images` is out of range, or a victim's stages can't stand around its network.
        AttackFailed: an attack failed and `failures` is None; raised when everything else is in the store.
    """
    if jobs < 1:
        raise BadParameter(f"jobs = {jobs}: expected at least 1.")
    if memory_images < 1:
        raise BadParameter(f"memory_images = {memory_images}: expected at least 1.")
    progress = progress or Silent()
    # The code that runs is that of now: a checkout may move on in the hours that follow.
    origin, started = provenance(), time.monotonic()
    rehearse(experiment, store)
    bench = Bench(experiment, store, progress, memory_images=memory_images)
    failed = Failed()
    if jobs == 1:
        for level in tasks(experiment):
            tried: dict[str, str | None] = {}
            for task in level:
                if not failed.has(task.victim, task.attack, shared=task.shared):
                    key = _work_id(task)
                    if key not in tried:
                        tried[key] = attempt(functools.partial(task.run, bench))
                    failed.note(task.label, task.victim, task.attack, tried[key])
    else:
        _run_parallel(experiment, store, progress, jobs, memory_images, failed)
    failed.hand_over(failures)
    # What was found in the store took no time.
    return _records(bench, origin | {"seconds": round(time.monotonic() - started, 1)}, failed)


def _run_parallel(
    experiment: Experiment, store: Store, progress: Progress, jobs: int, memory_images: int, failed: Failed
) -> None:
    from joblib import Parallel, delayed

    looker = Bench(experiment, store, compute=False)
    name, plugins = secrets.token_hex(8), _PluginFiles(experiment.plugin_files)
    for level in tasks(experiment):
        missing: dict[str, list[Task]] = {}
        for task in level:
            if failed.has(task.victim, task.attack, shared=task.shared):
                continue
            try:
                task.run(looker)
            except NotCached:
                missing.setdefault(_work_id(task), []).append(task)
        if not missing:
            continue
        meter = progress.start(
            f"{len(missing)} cells: {', '.join(dict.fromkeys(t.stage for (t, *_) in missing.values()))}", len(missing)
        )
        groups = _groups(experiment, [same[0] for same in missing.values()])
        calls = (delayed(_work)(plugins, name, experiment, store.root, group, memory_images) for group in groups)
        reasons: dict[str, str | None] = {}
        for done in Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")(calls):
            reasons |= done
            meter.advance(len(done))
        for key, same in missing.items():
            for task in same:
                failed.note(task.label, task.victim, task.attack, reasons[key])


def _work_id(task: Task) -> str:
    """Tasks that make the same cell must not run side by side; victims share trainings, attacks share substitutes."""
    if task.stage == "train":
        assert task.victim.model is not None
        training = split_stages(task.victim.defense)[0]
        return f"{spec_of(training).digest()} {spec_of(task.victim.model).digest()} {task.victim.seed}"
    if task.stage == "substitute" and task.attack is not None and isinstance(task.attack.attack, TwoStage):
        own = task.victim.name if task.attack.own else ""
        return spec_of(task.attack.attack.substitute).digest() + own
    return task.label


def _groups(experiment: Experiment, tasks: Iterable[Task]) -> list[list[Task]]:
    """What one worker does in a row: the scores of victims that ask for the same passes, any other task alone."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(_shared_passes(experiment, task) or _work_id(task), []).append(task)
    # The longest first, so that no worker is left alone with it at the end.
    return sorted(found.values(), key=len, reverse=True)


def _shared_passes(experiment: Experiment, task: Task) -> str | None:
    """Names the passes that a bench remembers from one score to the next (see `Memory`); None where it doesn't."""
    victim = task.victim
    if task.stage != "score" or victim.model is None or None not in experiment.attacks_on(victim):
        return None
    stages = victim.defense.stages()
    asked = stages if stages[-1].traits.differentiable else stages[:-1]  # less the vote
    return "passes " + spec_of(compose(*asked)).digest() + spec_of(victim.model).digest()


_benches: dict[str, Bench] = {}
"""In a worker, the bench of the present run: what it remembers and measures for one task serves the next."""


@dataclass(frozen=True)
class _PluginFiles:
    """Loads the files where it is unpickled: before the arguments that follow it, which hold what the files define."""

    paths: tuple[Path, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_plugins, (self.paths,)


def _load_plugins(paths: tuple[Path, ...]) -> _PluginFiles:
    for path in paths:
        registry().add_file(path)
    return _PluginFiles(paths)


def _work(
    _plugins: _PluginFiles, name: str, experiment: Experiment, root: Path, group: list[Task], memory_images: int
) -> dict[str, str | None]:
    """The reason, or None, for each task by `_work_id`."""
    if name not in _benches:
        keep_memory()
        _benches.clear()
        _benches[name] = Bench(experiment, Store(root), memory_images=memory_images)
    return {_work_id(task): attempt(functools.partial(task.run, _benches[name])) for task in group}


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
        queries=bench.images(attack, victim).facts["queries"] if attack else 0,
        agreement=agreement,
        claimed=bench.claimed(attack, victim) if attack else None,
        curve={stop: bench.tally(victim, attack, stop) for stop in _stops(bench.experiment, attack)} if attack else {},
    )
