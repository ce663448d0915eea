"""How many passes through networks a cell takes, counted before it is made.

Scores follow from images, draws and votes, attacks through the oracle from their budget. What crafters and trainings do
is counted on a linear stand-in with two images: their passes for an image don't depend on the network, unless they stop
early, which nobody knows beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from robustnoise.compose import compose, split_stages
from robustnoise.harness.bench import AGREEMENT_IMAGES
from robustnoise.harness.experiment import Experiment
from robustnoise.harness.tasks import Task
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Context, Crafter, Meter, TwoStage, WhiteBox
from robustnoise.seeds import SeedStream
from robustnoise.spec import Plugin
from robustnoise.training import LeadingTraining

IMAGES, EPOCHS = 2, 2
"""Of the stand-in."""
BACKWARD = 2.0
"""What a backward pass costs in forward ones: gradients to activations and to weights."""


class Passes(NamedTuple):
    """Passes of single images."""

    forward: float = 0.0
    backward: float = 0.0
    exact: bool = True
    """Whether it is the number; else the most that a budget allows, or a guess where nothing is known."""

    def times(self, factor: float, *, exact: bool = True) -> Passes:
        """So many times as much."""
        return Passes(self.forward * factor, self.backward * factor, self.exact and exact)

    def plus(self, other: Passes) -> Passes:
        """Both."""
        return Passes(self.forward + other.forward, self.backward + other.backward, self.exact and other.exact)

    @property
    def work(self) -> float:
        """In forward passes."""
        return self.forward + BACKWARD * self.backward


class Answering(NamedTuple):
    """What is known of a victim's answers."""

    passes: int
    stochastic: bool
    exact: bool = True


@dataclass(frozen=True)
class Counter:
    """Counts for one experiment.

    Args:
        experiment: what is measured.
        answering: what is known of each victim by name.
    """

    experiment: Experiment
    answering: Callable[[str], Answering]

    def count(self, task: Task) -> Passes:
        """Passes of a task's cell, less what it is made from."""
        count = {"train": self._train, "substitute": self._substitute, "craft": self._craft, "score": self._score}
        return count.get(task.stage, self._agreement)(task)

    def _train(self, task: Task) -> Passes:
        stages, images = split_stages(task.victim.defense)[0], len(self.experiment.dataset.train)
        leader = next((s for s in stages.stages() if isinstance(s, LeadingTraining)), None)
        if leader is None:
            return Passes(exact=False)
        # Held-out images are asked once an epoch, and more where they are attacked.
        short = replace(leader, epochs=EPOCHS, hold_out=0, precision="float32")
        parts = [short if stage is leader else stage for stage in stages.stages()]
        data = self.experiment.dataset.train.take(IMAGES)
        # Less the first of the two steps: where an attack grows from nothing, that one has none.
        for_one = self._counted(lambda net, clear: compose(*parts).apply(net, Context(data, progress=_First(clear))))
        if for_one is None:
            return Passes(leader.epochs * images, leader.epochs * images, exact=False)
        return for_one.times(leader.epochs * images, exact=not leader.hold_out)

    def _substitute(self, task: Task) -> Passes:
        """The budget bounds the victim's answers; how often a substitute is trained on what, nobody tells."""
        assert task.attack is not None
        assert isinstance(task.attack.attack, TwoStage)
        experiment = self.experiment
        seeds = len(experiment.dataset.attacker)
        if experiment.budget.seed_examples is not None:
            seeds = min(seeds, experiment.budget.seed_examples)
        epochs = sum(s.epochs for s in _parts(task.attack.attack.substitute, LeadingTraining)) or 10
        guess = Passes(epochs * seeds, epochs * seeds, exact=False)
        if task.attack.attack.traits.queries and experiment.budget.total is not None:
            victim = self.answering(task.victim.name)
            guess = guess.plus(Passes(experiment.budget.total * victim.passes, 0, exact=False))
        return guess

    def _craft(self, task: Task) -> Passes:
        assert task.attack is not None
        attack, n = task.attack.attack, len(self.experiment.dataset.evaluation)
        if task.attack.given is not None:
            return Passes()
        if isinstance(attack, TwoStage | WhiteBox):
            crafter: Crafter = attack.crafter
            for_one = self._counted(lambda net, _: _craft(crafter, net, self.experiment))
            votes = self.answering(task.victim.name).passes if isinstance(attack, WhiteBox) else 1
            return Passes(n, n, exact=False) if for_one is None else for_one.times(n * votes, exact=votes == 1)
        if not attack.traits.queries:
            return Passes()
        budget, victim = self.experiment.budget, self.answering(task.victim.name)
        bounds = [budget.total, None if budget.per_image is None else budget.per_image * n]
        limit = min((b for b in bounds if b is not None), default=n)
        return Passes(limit * victim.passes, 0, exact=False)

    def _score(self, task: Task) -> Passes:
        victim, n = self.answering(task.victim.name), len(self.experiment.dataset.evaluation)
        draws = self.experiment.draws if victim.stochastic else 1
        halves = 2 if victim.stochastic and task.attack is not None else 1
        return Passes(n * draws * halves * victim.passes, 0, victim.exact)

    def _agreement(self, task: Task) -> Passes:
        victim, n = self.answering(task.victim.name), min(AGREEMENT_IMAGES, len(self.experiment.dataset.validation))
        draws = self.experiment.draws if victim.stochastic else 1
        return Passes(n * (draws * victim.passes + 1), 0, victim.exact)

    def _counted(self, use: Callable[[TorchClassifier, Callable[[], None]], object]) -> Passes | None:
        """Passes for one image in what is done to the stand-in; None where it can't be done there.

        Args:
            use: does it; it is given what counts anew from zero, too.
        """
        shape, classes = self.experiment.dataset.train.input_shape, self.experiment.dataset.num_classes
        tally = [0, 0]
        linear = skip_init(nn.Linear, math.prod(shape), classes)  # which draws nothing
        nn.init.constant_(linear.weight, 0.01)
        nn.init.zeros_(linear.bias)
        net = nn.Sequential(nn.Flatten(), linear)

        def forward(_: nn.Module, __: object, output: Tensor) -> None:
            tally[0] += len(output)
            if output.requires_grad:
                output.register_hook(backward)

        def backward(gradient: Tensor) -> None:
            tally[1] += len(gradient)

        net.register_forward_hook(forward)
        try:
            use(TorchClassifier(net, shape, classes), lambda: tally.__setitem__(slice(None), [0, 0]))
        except Exception:  # noqa: BLE001 - whatever a plugin raises on a network that it wasn't made for
            return None
        return Passes(tally[0] / IMAGES, tally[1] / IMAGES)


class _First:
    """A progress display that says when the first step is done."""

    def __init__(self, done: Callable[[], None]) -> None:
        self.done, self.steps = done, 0

    def start(self, label: str, total: int) -> Meter:
        return self

    def advance(self, steps: int = 1) -> None:
        self.steps += steps
        if steps and self.steps == 1:
            self.done()


def _craft(crafter: Crafter, net: TorchClassifier, experiment: Experiment) -> object:
    data = experiment.dataset.evaluation
    x, y = torch.from_numpy(data.floats(0, IMAGES)), torch.from_numpy(data.labels[:IMAGES].copy())
    assert experiment.threat is not None
    # On a linear net of equal weights no image is won, so nothing stops early.
    return crafter.informed(experiment.dataset.attacker).craft(net, x, y, experiment.threat, SeedStream(0, ("count",)))


def _parts(plugin: object, wanted: type[Any]) -> list[Any]:
    """The plugins of that type in a plugin and its children."""
    found = [plugin] if isinstance(plugin, wanted) else []
    if isinstance(plugin, Plugin) and is_dataclass(plugin):
        for field in fields(plugin):
            value = getattr(plugin, field.name)
            for child in value if isinstance(value, tuple) else (value,):
                found += _parts(child, wanted)
    return found
