"""How long cells will take and how much memory: passes times what a pass takes here, set right by what is finished.

A forward pass of each network is timed once, on untrained weights and the experiment's device. What finished cells of
the board took, as a multiple of that, holds for missing ones: those of the same work on the same network if there are
any, else of less and less alike ones. So the first cells of each kind set most of the error right.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustnoise.blocks import BLOCK
from robustnoise.building import spec_of
from robustnoise.compose import split_stages
from robustnoise.errors import RobustnoiseError
from robustnoise.harness.arithmetic import arithmetic
from robustnoise.harness.costs.clock import Stopwatch
from robustnoise.harness.costs.passes import Answering, Counter, Passes
from robustnoise.harness.costs.spent import Spent, peak_memory
from robustnoise.harness.experiment import Experiment, Victim
from robustnoise.harness.rehearsal import stand_in, untrained
from robustnoise.harness.tasks import Task
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import TwoStage
from robustnoise.spec import Plugin, digest_of

OVERHEAD = 0.02
"""Seconds of a cell beside its passes: files, loading, packing."""
UNKNOWN = 1e-4
"""Seconds of a forward pass of a model that isn't timed here: others' networks, endpoints."""
KEPT = 3
"""How often the activations of a block are held at most: forward, backward and a copy on the way."""


class Estimate(NamedTuple):
    """What a missing cell will cost."""

    passes: Passes
    seconds: float
    peak: int
    """Bytes that its worker holds at most."""


class _Net(NamedTuple):
    seconds: float
    """Of a forward pass of one image."""
    held: int
    """Bytes of weights and of the activations of a block."""


class Estimator:
    """Learns from finished cells, estimates missing ones.

    Args:
        experiment: what is measured.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.counter = Counter(experiment, self._answering)
        self._victims = {v.name: v for v in experiment.victims}
        self._nets: dict[str, _Net] = {}
        self._answers: dict[str, Answering] = {}
        self._passes: dict[str, Passes] = {}
        self._known: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._peak = 0

    def learn(self, task: Task, spent: Spent) -> None:
        """A finished cell, and what it cost."""
        expected = self._expected(task)
        # A control, which asks no network, tells nothing of attacks that do.
        for kind in self._kinds(task) if self.passes(task).work else ():
            self._known[kind][0] += spent.seconds
            self._known[kind][1] += expected
        self._peak = max(self._peak, spent.peak)

    def of(self, task: Task) -> Estimate:
        """What a missing cell will cost."""
        known = [self._known[k] for k in self._kinds(task) if k in self._known] if self.passes(task).work else []
        took, expected = known[0] if known else (1.0, 1.0)
        peak = self._peak or peak_memory() + self._net(task.victim).held
        return Estimate(self.passes(task), self._expected(task) * took / expected, peak)

    def passes(self, task: Task) -> Passes:
        """Passes of a task's cell, counted once for all that take the same."""
        key = digest_of(self._kinds(task)[0])
        if key not in self._passes:
            self._passes[key] = self.counter.count(task)
        return self._passes[key]

    def _expected(self, task: Task) -> float:
        """Seconds, if passes took what they take in a forward pass of a whole block."""
        return OVERHEAD + self.passes(task).work * self._net(task.victim).seconds

    def _kinds(self, task: Task) -> list[tuple[str, ...]]:
        """The kinds of work that a task belongs to, from the narrowest on; the last takes in everything."""
        training, inference = split_stages(task.victim.defense)
        net = digest_of(_told(task.victim.model)) if task.victim.model is not None else task.victim.name
        attack: Plugin | None = None if task.attack is None else task.attack.attack
        if task.stage == "substitute" and isinstance(attack, TwoStage):
            attack = attack.substitute
        stages = {"train": training.stages(), "craft": inference.stages() if task.attack and task.attack.own else ()}
        acting = stages.get(task.stage, inference.stages())
        names = "|".join(type(s).__name__ for s in acting)
        exactly = digest_of([_told(s) for s in acting])
        under = "" if attack is None else digest_of(_told(attack))
        scale = "" if task.stage == "train" else ("" if task.attack is None else task.attack.scope)
        return [
            (task.stage, net, exactly, under, str(task.stop is None), scale),
            (task.stage, net, names, under),
            (task.stage, net, under),
            (task.stage, under or names),
            (task.stage,),
            (),
        ]

    def _answering(self, name: str) -> Answering:
        if name not in self._answers:
            self._answers[name] = self._asked(self._victims[name])
        return self._answers[name]

    def _asked(self, victim: Victim) -> Answering:
        inference = split_stages(victim.defense)[1]
        try:
            if victim.classifier is not None and not inference.stages():
                return Answering(victim.classifier.passes, victim.classifier.stochastic)
            if victim.model is not None:
                found = stand_in(victim, self.experiment)
                return Answering(found.passes, found.stochastic)
        except RobustnoiseError:
            pass
        random = any(s.traits.stochastic for s in inference.stages())
        return Answering(1, random, exact=False)

    def _net(self, victim: Victim) -> _Net:
        key = victim.name if victim.model is None else digest_of(_told(victim.model))
        if key not in self._nets:
            self._nets[key] = self._measured(victim)
        return self._nets[key]

    def _measured(self, victim: Victim) -> _Net:
        try:
            net = untrained(victim, self.experiment) if victim.model is not None else victim.classifier
            if isinstance(net, TorchClassifier):
                if victim.model is not None:
                    net.module.to(self.experiment.device)
                return _timed(net, self.experiment.threads)
        except (RobustnoiseError, RuntimeError):
            pass  # the cell says what is wrong, if anything is
        return _Net(UNKNOWN, 0)


def _told(plugin: Plugin | None) -> object:
    return None if plugin is None else spec_of(plugin).to_json()


def _timed(net: TorchClassifier, threads: int) -> _Net:
    """A forward pass of a block of grey images, with the experiment's threads."""
    held = [0]

    def weigh(_: nn.Module, __: object, output: object) -> None:
        held[0] += sum(part.nbytes for part in _tensors(output))

    hooks = [m.register_forward_hook(weigh) for m in net.module.modules() if not list(m.children())]
    x = torch.full((BLOCK, *net.input_shape), 0.5, device=net.device)
    with arithmetic(threads, str(net.device)), torch.inference_mode():
        net.module(x[:1])
        for hook in hooks:
            hook.remove()
        taken = math.inf
        for _ in range(2):
            watch = Stopwatch(computes=net.device.type == "cpu")
            for part in _tensors(net.module(x)):
                part.cpu()  # an accelerator says at once that it is done; this waits for it
            taken = min(taken, watch.seconds())
            if taken > 1:
                break
    weights = sum(p.nbytes for p in net.module.parameters())
    # Weights, their gradient and two moments of the optimizer.
    return _Net(taken / BLOCK, KEPT * BLOCK * held[0] + 4 * weights)


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Sequence):
        for part in output:
            yield from _tensors(part)
