"""The contract of the shortcuts: what the harness keeps from one draw to the next, and from one victim to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from robustnoise import building
from robustnoise.compose import Defense
from robustnoise.errors import BadData, BadParameter, BadSpec, MissingCapability
from robustnoise.harness.memory import Memory
from robustnoise.models.classifier import repeating
from robustnoise.models.fresh import create
from robustnoise.protocols import Answer, Classifier, Context
from robustnoise.seeds import SeedStream
from robustnoise.testing.common import apart, identical, need
from robustnoise.testing.toys import CLASSES, SHAPE

LATE = 'layer-noise(10, layers="12")'
"""Noise in the last layer of the network below: all that comes before is kept while passes repeat."""
AROUND = ("{}", "{} | vote(2)", "{} | output-noise(0.5)", f"{{}} | {LATE} | vote(2)", f"{LATE} | {{}}",
          f"{LATE} | {{}} | vote(2)")  # fmt: skip
"""What stands before and behind the defense where the harness takes its shortcuts."""
DRAWS = (0, 1, 0)
"""The last one is remembered where anything is."""


def check_repeats(defense: Defense, data: Any, x: Tensor) -> None:
    """Asked as the harness asks, again and again and beside other victims, it answers as it does when asked once.

    Args:
        defense: of inference.
        data: training images, to calibrate on.
        x: (n, C, H, W) float32 in [0, 1].
    """
    memory = Memory()
    for around, victim in victims(defense, data):
        with suppress(MissingCapability):  # only an answer shows that it holds labels alone
            plain = _asked(victim, x)
            for how, asked in (("repeated", victim), ("remembered", memory.redrawn(memory.attach(victim)))):
                with repeating(asked):
                    differs = _apart(plain, _asked(asked, x))
                why = f"in {around.format('it')!r} {how} draws give other answers: {differs}."
                need(defense, "repeats", not differs, why)


def victims(defense: Defense, data: Any) -> Iterator[tuple[str, Classifier]]:
    """The stacks of `AROUND` in which the defense can stand, around a convolutional network."""
    for around in AROUND:
        net: Classifier = create("norm-cnn(width=2)", SHAPE, CLASSES)
        ctx = Context(train=data, seed=SeedStream(5))
        with suppress(MissingCapability, BadData, BadParameter, BadSpec):  # it can't stand there
            for part in around.split(" | "):
                net = (defense if part == "{}" else building.build(part, "defense")).apply(net, ctx)
            yield around, net


def _asked(victim: Classifier, x: Tensor) -> list[Answer]:
    return [victim.predict(x, noise=SeedStream(9, (draw,))) for draw in DRAWS]


def _apart(plain: Sequence[Answer], found: Sequence[Answer]) -> str:
    """Where answers differ, in words; empty where they don't."""
    for draw, (a, b) in enumerate(zip(plain, found, strict=True)):
        for name, p, q in zip(Answer._fields, a, b, strict=True):
            if not identical(p, q):
                return f"in pass {draw + 1} {name} are {apart(p, q)}"
    return ""
