"""A substitute trained on the victim's answers to the attacker's images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
from pydantic import Field

from robustnoise.api import (
    Access,
    AttackTraits,
    BadParameter,
    Classifier,
    Context,
    Defense,
    Model,
    Modular,
    Oracle,
    Split,
    Stage,
    Substitute,
    create,
    create_model,
    require_modular,
    to_tensor,
)
from robustnoise_attacks.substitutes.labelling import label, need_answers
from robustnoise_attacks.substitutes.parts import check_stages, noisy


@dataclass(frozen=True)
class KnockoffSubstitute(Substitute):
    """Asks the victim for the attacker's images, once, and learns what it answered; their labels are not used.

    The images are the first of the attacker's split, which is in random order (the paper's strategy "random"). With
    ``answers="scores"`` the mean probabilities of the answers are learned as they are, with ``answers="labels"`` the
    most frequent label. Images that the budget doesn't pay for, or of which the victim abstains, are left out.
    """

    reference = "Orekondy, Schiele & Fritz 2019, arXiv 1812.02766 (random strategy)"

    answers: Annotated[Literal["scores", "labels"], Field(description="what is learned of the victim's answers")] = (
        "scores"
    )
    queries: Annotated[
        int, Field(ge=1, le=10_000_000, description="images that are asked; more than the attacker has are not")
    ] = 10_000
    repeats: Annotated[int, Field(ge=1, le=10_000, description="times that a noisy victim is asked for each")] = 1
    training: Defense = field(default_factory=lambda: create("defense", "plain-training"))
    model: Model = field(default_factory=lambda: create("model", "small-cnn"))
    noise: Defense = field(default_factory=lambda: create("defense", "identity"))

    def check(self) -> None:
        """Refuse a training that is none, and a noise that trains."""
        check_stages("knockoff", "training", self.training, Stage.TRAINING)
        check_stages("knockoff", "noise", self.noise, Stage.INFERENCE)

    @property
    def traits(self) -> AttackTraits:
        """Scores or labels."""
        return AttackTraits(Access.SCORES if self.answers == "scores" else Access.LABELS)

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> tuple[Modular, ...]:
        """See `Substitute.fit`."""
        if oracle is None:
            raise BadParameter("knockoff: the substitute learns from the victim's answers; give it an oracle.")
        if self.traits.access > oracle.threat.access:
            raise BadParameter("knockoff: answers = 'scores': the victim shows labels alone. Use answers=labels.")
        need_answers("knockoff", oracle, self.repeats)
        asked = seed_data.take(min(self.queries, len(seed_data)))
        found = label(oracle, torch.from_numpy(asked.floats()), to_tensor(asked.ids), self.repeats)
        weights = ctx.seeds.child("weights")
        network: Classifier = create_model(self.model, oracle.input_shape, oracle.num_classes, seed=weights)
        answered = found.labels >= 0
        if not bool(answered.any()):
            return (require_modular(network, "a substitute"),)
        rows = answered.nonzero()[:, 0].numpy()
        learned = Split(
            asked.ids[rows],
            images=asked.images[rows],
            labels=found.labels[answered].numpy(),
            num_classes=oracle.num_classes,
            name="knockoff",
        )
        targets = found.scores[answered] if found.scores is not None and self.answers == "scores" else None
        network = self.training.apply(network, replace(ctx, train=learned, targets=targets))
        return (require_modular(network, "a substitute"),)

    def source(self, networks: tuple[Modular, ...], seed_data: Split, ctx: Context) -> Classifier:
        """See `Substitute.source`."""
        (whole,) = noisy(networks, self.noise, seed_data, ctx)
        return whole
