"""A substitute trained by label-only Jacobian augmentation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    BLOCK,
    AttackTraits,
    BadParameter,
    Classifier,
    Context,
    Defense,
    Model,
    Modular,
    Number,
    Oracle,
    Schedule,
    SeedStream,
    Split,
    Stage,
    Substitute,
    TorchClassifier,
    create,
    create_model,
    fit,
    to_tensor,
)
from robustnoise_attacks.substitutes.labelling import affordable, label, need_answers
from robustnoise_attacks.substitutes.parts import check_stages, noisy


@dataclass(frozen=True)
class JacobianSubstitute(Substitute):
    """Few seed images, the victim's labels alone, and synthetic images where the substitute's answer changes fastest.

    Each round trains the substitute on everything labelled so far, then adds for every image x the image
    ``x + step * sign(d s_y(x) / dx)``, s_y the substitute's logit of the victim's label y; the set doubles. The seed
    images' own labels are not used. `rounds` rounds ask ``seed_images * 2 ** rounds`` labels, `repeats` times each of a
    noisy victim; where the budget is smaller, the last round labels what is left of it. With a `reservoir`, rounds from
    number `after` on add only that many of the new images, each with the same chance. With a `period`, the sign of the
    step turns after every so many rounds. `noise` is put around the network when images are crafted, with draws of the
    attacker's own.
    """

    reference = (
        "Papernot et al. 2017, arXiv 1602.02697 (lambda 0.1, 6 rounds, 150 seed images); reservoir and "
        "period: Papernot, McDaniel, Goodfellow 2016, arXiv 1605.07277"
    )
    traits = AttackTraits()

    seed_images: Annotated[
        int, Field(ge=1, le=1_000_000, description="images of the attacker's split to start from")
    ] = 150
    rounds: Annotated[int, Field(ge=0, le=20, description="times that the labelled set doubles")] = 6
    step: Annotated[
        Number, Field(gt=0, le=1, description="lambda: length of an augmentation step, pixels in [0, 1]")
    ] = 0.1
    epochs: Annotated[int, Field(ge=1, le=10_000, description="epochs of training in each round")] = 10
    learning_rate: Annotated[Number, Field(gt=0, le=1, description="peak learning rate, Adam")] = 0.003
    batch_size: Annotated[int, Field(ge=1, le=65536, description="images a step")] = 100
    shift: Annotated[int, Field(ge=0, le=32, description="random translation while training, pixels")] = 0
    model: Model = field(default_factory=lambda: create("model", "small-cnn"))
    repeats: Annotated[
        int, Field(ge=1, le=10_000, description="times that a noisy victim is asked for each label (the majority)")
    ] = 1
    reservoir: Annotated[
        int, Field(ge=0, le=1_000_000, description="kappa: images that a late round adds; 0 adds all")
    ] = 0
    after: Annotated[int, Field(ge=0, le=20, description="sigma: rounds that add all before the reservoir")] = 3
    period: Annotated[int, Field(ge=0, le=20, description="tau: rounds between turns of the step; 0 never turns")] = 0
    noise: Defense = field(default_factory=lambda: create("defense", "identity"))

    def check(self) -> None:
        """Refuse a noise that trains."""
        check_stages("jacobian", "noise", self.noise, Stage.INFERENCE)

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> tuple[Modular, ...]:
        """See `Substitute.fit`."""
        if oracle is None:
            raise BadParameter("jacobian: the substitute learns from the victim's labels; give it an oracle.")
        need_answers("jacobian", oracle, self.repeats)
        seed = seed_data.take(min(self.seed_images, len(seed_data)))
        x, ids = torch.from_numpy(seed.floats()), to_tensor(seed.ids)
        y = label(oracle, x, ids, self.repeats).labels
        x, ids = x[: len(y)], ids[: len(y)]
        schedule = Schedule(self.epochs, self.learning_rate, self.batch_size, self.shift)
        # A round is short and its images exist in memory alone, so a substitute resumes as a whole, not by epoch.
        ctx = replace(ctx, checkpoint=None)
        for number in range(self.rounds + 1):
            # From fresh weights each round: a substitute that goes on from the last one agrees less with the victim.
            weights = ctx.seeds.child("weights", number)
            source = create_model(self.model, oracle.input_shape, oracle.num_classes, seed=weights)
            labelled = y >= 0  # a victim may abstain
            if bool(labelled.any()):
                source = fit(source, x[labelled], y[labelled], schedule, ctx.seeds.child("round", number), ctx=ctx)
            parents = self._parents(len(x), number, ctx.seeds.child("reservoir", number))
            parents = parents[: affordable(oracle, len(parents), self.repeats)]
            if number == self.rounds or len(parents) == 0:
                break
            new = augment(source, x[parents], y[parents], self._signed_step(number))
            answers = label(oracle, new, ids[parents], self.repeats).labels
            x, y, ids = torch.cat([x, new]), torch.cat([y, answers]), torch.cat([ids, ids[parents]])
        return (source,)

    def source(self, networks: tuple[Modular, ...], seed_data: Split, ctx: Context) -> Classifier:
        """See `Substitute.source`."""
        (whole,) = noisy(networks, self.noise, seed_data.take(min(self.seed_images, len(seed_data))), ctx)
        return whole

    def _parents(self, rows: int, number: int, seeds: SeedStream) -> Tensor:
        """Which of the images get a child in a round."""
        if not self.reservoir or number < self.after:
            return torch.arange(rows)
        # In random order, so that what a small budget cuts off is no particular part of them.
        return torch.randperm(rows, generator=seeds.generator("order"))[: self.reservoir]

    def _signed_step(self, number: int) -> float:
        turned = self.period > 0 and (number // self.period) % 2 == 1
        return -self.step if turned else self.step


def augment(source: TorchClassifier, x: Tensor, y: Tensor, step: float) -> Tensor:
    """``x + step * sign(d s_y / dx)``, clipped to [0, 1].

    Args:
        source: its logits are s.
        x: (n, C, H, W) float32 in [0, 1].
        y: (n,) int64; an abstention (-1) counts as class 0.
        step: pixels; below 0 it leads away from y.
    """
    # Block by block, since a pass with gradients keeps every layer's outputs.
    parts = zip(x.split(BLOCK), y.split(BLOCK), strict=True)
    return torch.cat([_step(source, rows, labels, step) for rows, labels in parts])


def _step(source: TorchClassifier, x: Tensor, y: Tensor, step: float) -> Tensor:
    device = source.device
    with torch.enable_grad():
        leaf = x.to(device).detach().requires_grad_(True)
        chosen = source.module(leaf).gather(1, y.clamp_min(0).to(device)[:, None])
        (gradient,) = torch.autograd.grad(chosen.sum(), leaf)
    return (leaf.detach() + step * gradient.sign()).clamp(0, 1).cpu()
