"""The work of an experiment as tasks, one a cell, level by level."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from robustnoise.building import spec_of
from robustnoise.compose import compose, split_stages
from robustnoise.harness.bench import Bench
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.protocols import TwoStage
from robustnoise.store import Cell

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
        """For progress and plans; names hold spaces, so several cells may have one label."""
        parts = [self.stage, *([] if self.shared else [self.victim.name]), *([self.attack.name] if self.attack else [])]
        return " ".join(parts) + ("" if self.stop is None else f" at {self.stop} queries")

    @property
    def work(self) -> str:
        """Names the cell before its inputs are made. Tasks of one cell must not run side by side: victims share
        trainings, attacks share substitutes."""
        if self.stage == "train":
            assert self.victim.model is not None
            training = split_stages(self.victim.defense)[0]
            return f"{spec_of(training).digest()} {spec_of(self.victim.model).digest()} {self.victim.seed}"
        if self.stage == "substitute" and self.attack is not None and isinstance(self.attack.attack, TwoStage):
            own = self.victim.name if self.attack.own else ""
            return spec_of(self.attack.attack.substitute).digest() + own
        victim, attack = None if self.shared else self.victim.name, self.attack and self.attack.name
        return json.dumps([self.stage, victim, attack, self.stop])

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
        *(Task("score", v, a, stop) for v, a in pairs for stop in (*stops(experiment, a), None)),
        *(Task("agreement", v, a) for v, a in two_stage),
    ]


def stops(experiment: Experiment, attack: Attack) -> tuple[int, ...]:
    """At how many queries an image the attack is scored before its end."""
    asks = attack.attack.traits.queries and not isinstance(attack.attack, TwoStage)
    return experiment.budget.stops if asks else ()


def groups(experiment: Experiment, level: Iterable[Task]) -> dict[str, list[Task]]:
    """What one worker does in a row, by a name that stays the same: the scores of victims that ask for the same passes,
    any other cell alone."""
    found: dict[str, list[Task]] = {}
    for task in level:
        found.setdefault(_shared_passes(experiment, task) or task.work, []).append(task)
    return found


def _shared_passes(experiment: Experiment, task: Task) -> str | None:
    """Names the passes that a bench remembers from one score to the next (see `Memory`); None where it doesn't."""
    victim = task.victim
    if task.stage != "score" or victim.model is None or None not in experiment.attacks_on(victim):
        return None
    stages = victim.defense.stages()
    asked = stages if stages[-1].traits.differentiable else stages[:-1]  # less the vote
    return "passes " + spec_of(compose(*asked)).digest() + spec_of(victim.model).digest()
