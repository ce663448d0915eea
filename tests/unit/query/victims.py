"""Victims of the query attacks' tests."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnoise.blocks import predict_blocks
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Answer, AttackResult, BlackBoxAttack, Classifier, Targets
from robustnoise.seeds import SeedStream
from robustnoise.testing.toys import linear_toy, toy_split
from robustnoise.threat import Access, ThreatModel

SEEDS = SeedStream(5, ("attack",))


class Counting:
    """Counts the rows that reach the model, padding left out: no image of these tests is all black."""

    def __init__(self, inner: Classifier) -> None:
        self.inner, self.rows = inner, 0
        self.num_classes, self.input_shape = inner.num_classes, inner.input_shape
        self.stochastic, self.passes, self.digest = inner.stochastic, inner.passes, inner.digest

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.rows += int((x.flatten(1).amax(1) > 0).sum())
        return self.inner.predict(x, noise=noise)


class ScoreCoin:
    """Blind to its input: class 0 with probability `p`, else class 1, with random scores that agree."""

    num_classes, stochastic, passes, digest = 2, True, 1, "score-coin"

    def __init__(self, p: float, input_shape: tuple[int, int, int] = (1, 8, 8)) -> None:
        self.p, self.input_shape = p, input_shape

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        u = torch.rand(len(x), 2, generator=noise.generator("coin"))
        top = 0.5 + 0.5 * u[:, 1]
        zero = u[:, 0] < self.p
        first = torch.where(zero, top, 1 - top)
        return Answer((~zero).long(), torch.stack([first, 1 - first], 1))


class NoisyInput:
    """`inner` behind Gaussian input noise."""

    stochastic, passes, digest = True, 1, "noisy"

    def __init__(self, inner: Classifier, sigma: float) -> None:
        self.inner, self.sigma = inner, sigma
        self.num_classes, self.input_shape = inner.num_classes, inner.input_shape

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        shift = self.sigma * torch.randn(x.shape, generator=noise.generator("shift"))
        return self.inner.predict(x + shift, noise=noise)


def right_targets(n: int = 24, seed: int = 1, *, margin: float = 0.0) -> Targets:
    """Images that `linear_toy` gets right, labels by its own answers, at least `margin` from the boundary."""
    levels = 64 + toy_split(3000, num_classes=2, seed=seed).images // 2  # away from the box
    x = torch.from_numpy(levels.astype("float32")) / 255
    logits = linear_toy().predict(x, noise=SeedStream(0)).logits
    assert logits is not None
    x = x[(logits[:, 0].abs() >= margin).nonzero()[:n, 0]]
    return Targets(torch.arange(100, 100 + len(x)), x, linear_toy().predict(x, noise=SeedStream(0)).labels)


def attack(
    plugin: BlackBoxAttack,
    victim: Classifier,
    targets: Targets,
    threat: ThreatModel,
    *,
    per_image: int | None = None,
    total: int | None = None,
    stops: tuple[int, ...] = (),
) -> tuple[AttackResult, CountingOracle]:
    """What `plugin` finds, and the oracle it asked."""
    shown = ThreatModel(threat.norm, threat.eps, Access.SCORES)
    oracle = CountingOracle(victim, shown, SeedStream(7), per_image=per_image, total=total, stops=stops)
    return plugin.run(oracle, toy_split(8), targets, shown, SEEDS), oracle


def as_scored(targets: Targets, x: Tensor, threat: ThreatModel) -> Tensor:
    """`x` as the harness rounds it."""
    return threat.to_levels((targets.x * 255).round().to(torch.uint8), x).float() / 255


def wrong_rate(victim: Classifier, x: Tensor, y: Tensor, draws: int = 200) -> Tensor:
    """(n,) share of wrong answers in draws that no attack has seen."""
    fresh = SeedStream(1234, ("fresh",))
    return torch.stack([predict_blocks(victim, x, fresh.child(r)).labels != y for r in range(draws)]).float().mean(0)


def margins(x: Tensor, y: Tensor) -> Tensor:
    """(n,) margin of `linear_toy`, without noise."""
    logits = linear_toy().predict(x, noise=SeedStream(0)).logits
    assert logits is not None
    return torch.where(y == 0, 1.0, -1.0) * (logits[:, 0] - logits[:, 1])
