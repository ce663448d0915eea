"""Random stacks answer the same while passes are kept as they do without."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from robustnoise.api import Context, SeedStream, TorchClassifier, build, repeating
from robustnoise.errors import RobustnoiseError
from robustnoise.testing.toys import toy_split

SHAPE, CLASSES = (1, 8, 8), 4
PARTS = (
    "layer-noise(0, power=sample{at})", "layer-noise(3, power=channel{at})", "layer-noise(0{at})",
    "layer-noise(0, site=layer_input{at})", "layer-noise(5, site=weight{at})", "layer-noise(5, site=logits)",
    "layer-noise(5, site=input)", "adc(4{at})", "dac(4{at})", "weight-quantiser(4{at})", "device-noise(5{at})",
    "conductance-drift", "stuck-cells(0.05)", "gaussian-input-noise(0.2)", "bit-depth(3)", "random-resize",
    "output-noise(0.3)", "vote(2)", "adaptive-vote(6, error=0.2)",
)  # fmt: skip
DETERMINISTIC = "bit-depth(3)"
"""An input stage that leaves the image the same in each pass, which hides what is behind it."""


def net() -> TorchClassifier:
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, CLASSES),
    )  # fmt: skip
    return TorchClassifier(layers, SHAPE, CLASSES)


def stacks(number: int) -> list[str]:
    """Of two to four stages, half of them with a deterministic input stage among them."""
    chooser, found = random.Random(0), []
    for i in range(number):
        at = [f", layers='{chooser.choice('0479')}'" if chooser.random() < 0.7 else "" for _ in range(4)]
        parts = [chooser.choice(PARTS).format(at=a) for a in at[: chooser.randint(2, 4)]]
        if i % 2:
            parts[len(parts) // 2] = DETERMINISTIC
        found.append(" | ".join(parts))
    return found


def differing(texts: list[str]) -> tuple[list[str], int]:
    """Those that answer otherwise, and how many could be built."""
    ctx, wrong, built = Context(train=toy_split(40, SHAPE, CLASSES), seed=0), [], 0
    for number, text in enumerate(texts):
        try:
            victim = build(text, "defense").apply(net(), ctx)
        except RobustnoiseError:  # no order that there is
            continue
        built += 1
        x = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(number))
        usual = [victim.predict(x, noise=SeedStream(k)) for k in range(3)]
        with repeating(victim):
            kept = [victim.predict(x, noise=SeedStream(k)) for k in range(3)]
        pairs = [(p, q) for a, b in zip(usual, kept, strict=True) for p, q in zip(a, b, strict=True)]
        if any((p is None) != (q is None) or (p is not None and not torch.equal(p, q)) for p, q in pairs):
            wrong.append(text)
    return wrong, built


def test_a_stack_answers_the_same_while_passes_are_kept() -> None:
    wrong, built = differing(stacks(80))
    assert wrong == []
    assert built > 40


@pytest.mark.slow
def test_many_stacks_answer_the_same_while_passes_are_kept() -> None:
    wrong, built = differing(stacks(4_000))
    assert wrong == []
    assert built > 2_000
