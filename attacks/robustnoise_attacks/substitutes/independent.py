"""A substitute trained on the attacker's own labelled images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from robustnoise.api import (
    AttackTraits,
    BadParameter,
    Context,
    Defense,
    FittedSubstitute,
    Model,
    Oracle,
    Split,
    Stage,
    Substitute,
    create,
    create_model,
    require_modular,
)


@dataclass(frozen=True)
class IndependentSubstitute(Substitute):
    """Trains a network of its own on the attacker's data and true labels; asks the victim nothing.

    One such substitute serves every victim of a board.
    """

    reference = "Madry et al. 2018, arXiv 1706.06083, section 5 (black-box attacks from independently trained copies)"
    traits = AttackTraits(queries=False)

    training: Defense = field(default_factory=lambda: create("defense", "plain-training"))
    model: Model = field(default_factory=lambda: create("model", "small-cnn"))

    def check(self) -> None:
        """Refuse a training that is none."""
        if any(stage.traits.stage is not Stage.TRAINING for stage in self.training.stages()):
            raise BadParameter(f"independent: training = {self.training}: expected training stages only.")

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> FittedSubstitute:
        """See `Substitute.fit`."""
        fresh = create_model(self.model, seed_data.input_shape, seed_data.num_classes, seed=ctx.seeds.child("weights"))
        trained = require_modular(self.training.apply(fresh, replace(ctx, train=seed_data)), "a substitute")
        return FittedSubstitute((trained,), 0)
