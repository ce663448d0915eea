"""Substitutes trained on the attacker's own labelled images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field

from robustnoise.api import (
    AttackTraits,
    Classifier,
    Combine,
    Context,
    Defense,
    Ensemble,
    Model,
    Modular,
    Number,
    Oracle,
    Split,
    Stage,
    Substitute,
    create,
    create_model,
    require_modular,
)
from robustnoise_attacks.substitutes.parts import check_stages, forget, noisy, part


@dataclass(frozen=True)
class IndependentSubstitute(Substitute):
    """Trains networks of its own on the attacker's data and true labels; asks the victim nothing.

    One such substitute serves every victim of a board. `copies` networks differ in first weights and order of the
    images and are attacked together. `noise` is put around each when images are crafted, with draws of the attacker's
    own: the attacker knows the defense, but not its draws. Of the attacker's split, which is in random order, the first
    `share` is used.
    """

    reference = (
        "Madry et al. 2018, arXiv 1706.06083 (black-box attacks from independently trained copies); "
        "several: Liu et al. 2017, arXiv 1611.02770, section 5"
    )
    traits = AttackTraits(queries=False)

    training: Defense = field(default_factory=lambda: create("defense", "plain-training"))
    model: Model = field(default_factory=lambda: create("model", "small-cnn"))
    copies: Annotated[int, Field(ge=1, le=100, description="networks that are trained and attacked together")] = 1
    combine: Annotated[Combine, Field(description="what is averaged over the copies")] = "losses"
    noise: Defense = field(default_factory=lambda: create("defense", "identity"))
    share: Annotated[Number, Field(gt=0, le=1, description="of the attacker's images that is used")] = 1.0

    def check(self) -> None:
        """Refuse a training that is none, and a noise that trains."""
        check_stages("independent", "training", self.training, Stage.TRAINING)
        check_stages("independent", "noise", self.noise, Stage.INFERENCE)

    @property
    def nets(self) -> int:
        """See `Substitute.nets`."""
        return self.copies

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> tuple[Modular, ...]:
        """See `Substitute.fit`."""
        others = [part(ctx, "copy", number) for number in range(1, self.copies)]
        networks = tuple(self._train(seed_data, own) for own in (ctx, *others))
        forget(others)
        return networks

    def _train(self, seed_data: Split, ctx: Context) -> Modular:
        fresh = create_model(self.model, seed_data.input_shape, seed_data.num_classes, seed=ctx.seeds.child("weights"))
        return require_modular(self.training.apply(fresh, replace(ctx, train=self._part(seed_data))), "a substitute")

    def _part(self, seed_data: Split) -> Split:
        return seed_data.take(max(1, round(self.share * len(seed_data))))

    def source(self, networks: tuple[Modular, ...], seed_data: Split, ctx: Context) -> Classifier:
        """See `Substitute.source`."""
        members = noisy(networks, self.noise, self._part(seed_data), ctx)
        return members[0] if len(members) == 1 else Ensemble(members, self.combine)
