"""Training on images made for other networks, so that attacks which transfer are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    BadParameter,
    Classifier,
    Context,
    Crafter,
    Defense,
    DefenseTraits,
    Hook,
    Linf,
    Model,
    SeedStream,
    Stage,
    TorchClassifier,
    create,
    create_model,
    evaluating,
    require_modular,
)
from robustnoise_defenses.adversarial_training.base import AdversarialTraining, Eps, Ramp


@dataclass(frozen=True)
class EnsembleTraining(AdversarialTraining):
    """Half of each batch stays as it is, half is crafted on a source drawn anew for the batch.

    The sources are `sources` networks that were trained before on the same images, with weights and streams of their
    own, and the network in training itself (in eval mode); all are equally likely.
    """

    reference = "Tramer et al. 2018, arXiv 1705.07204, section 3.4"
    traits = DefenseTraits(Stage.TRAINING)

    eps: Eps = 0.3
    _: KW_ONLY
    ramp: Ramp = 0.35
    sources: Annotated[int, Field(ge=1, le=100, description="networks trained before")] = 2
    model: Model = field(default_factory=lambda: create("model", "small-cnn"))
    training: Defense = field(default_factory=lambda: create("defense", "plain-training"))
    inner: Crafter = field(default_factory=lambda: create("crafter", "fgsm"))

    def check(self) -> None:
        """Refuse sources that are not trained."""
        if any(s.traits.stage is not Stage.TRAINING for s in self.training.stages()) or not self.training.stages():
            raise BadParameter(
                f"ensemble-training: training = {self.training}: expected training stages only, such as plain-training."
            )

    def hooks(self, model: TorchClassifier, ctx: Context, stages: Sequence[Defense]) -> list[Hook]:
        """The stages, with trained sources in place of this one; see `LeadingTraining.hooks`."""
        trained = [self._source(own) for own in self._parts(ctx)]
        return [_Crafting(self, trained) if hook is self else hook for hook in super().hooks(model, ctx, stages)]

    def train(self, model: Classifier, ctx: Context, stages: Sequence[Defense]) -> Classifier:
        """See `LeadingTraining.train`."""
        found = super().train(model, ctx, stages)
        for own in self._parts(ctx):  # kept until now: a training that goes on needs its sources again
            if own.checkpoint is not None:
                own.checkpoint.unlink(missing_ok=True)
        return found

    def _parts(self, ctx: Context) -> list[Context]:
        """What each source is trained with: images that aren't held out, a stream and a checkpoint of its own."""
        data = ctx.need_train("ensemble-training")
        kept = len(data) - self.hold_out
        targets = None if ctx.targets is None else ctx.targets[:kept]
        files = [ctx.checkpoint and ctx.checkpoint.with_name(f"{ctx.checkpoint.name}-source-{i}") for i in self._range]
        common = replace(ctx, train=data.take(kept), targets=targets)
        return [replace(common, seed=ctx.seeds.child("source", i), checkpoint=files[i]) for i in self._range]

    @property
    def _range(self) -> range:
        return range(self.sources)

    def _source(self, own: Context) -> Classifier:
        data = own.need_train("ensemble-training")
        fresh = create_model(self.model, data.input_shape, data.num_classes, seed=own.seeds.child("weights"))
        return self.training.apply(fresh, own)


class _Crafting:
    """The input hook of an ensemble training, with its sources."""

    def __init__(self, how: EnsembleTraining, sources: Sequence[Classifier]) -> None:
        self.how, self.sources = how, sources

    def __repr__(self) -> str:
        return repr(self.how)  # names the checkpoints; the sources follow from it and the seed

    def on_inputs(self, source: Classifier, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        half = len(x) // 2
        drawn = int(torch.randint(len(self.sources) + 1, (), generator=seeds.generator("source")))
        chosen = self.sources[drawn] if drawn < len(self.sources) else source
        with evaluating(require_modular(source, "ensemble-training").module):
            threat = Linf(self.how.radius(progress))
            crafted = self.how.inner.craft(chosen, x[half:], y[half:], threat, seeds.child("craft"))
        return torch.cat([x[:half], crafted])
