"""The base of trainings with a schedule of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from torch import Tensor

from robustnoise.blocks import to_tensor
from robustnoise.compose import Defense
from robustnoise.errors import BadParameter, MissingCapability
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Classifier, Context
from robustnoise.seeds import SeedStream
from robustnoise.spec import LaterField, Number
from robustnoise.training.hooks import Batch, Forward, Hook
from robustnoise.training.loop import fit
from robustnoise.training.schedule import Precision, Schedule
from robustnoise.training.selection import HeldOut


@dataclass(frozen=True, kw_only=True)
class LeadingTraining(Defense):
    """Base of a training defense with a schedule; `on_inputs`, `loss`, `withstands` and `hooks` may be overridden."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the training images")] = 10
    learning_rate: Annotated[Number, Field(gt=0, le=1, description="peak of the triangular schedule, AdamW")] = 0.003
    batch_size: Annotated[int, Field(ge=1, le=65536, description="images a step")] = 100
    shift: Annotated[int, Field(ge=0, le=32, description="random translation of each axis, pixels")] = 0
    flip: Annotated[bool, Field(description="mirror half of the images left to right")] = False
    warp: Annotated[Number, Field(ge=0, le=90, description="random rotation in degrees, with scaling and shear")] = 0.0
    smoothing: Annotated[Number, Field(ge=0, lt=1, description="label smoothing")] = 0.0
    weight_decay: Annotated[Number, Field(ge=0, le=1, description="decoupled (AdamW)")] = 0.0
    precision: Annotated[Precision, Field(description="of products and activations")] = "float32"
    # Not in the repr, by which checkpoints of before know their training; `fit` adds them where they aren't 0.
    hold_out: Annotated[
        int,
        Field(ge=0, description="last training images that choose the best epoch instead; 0: the last epoch"),
        LaterField(),
    ] = field(default=0, repr=False)
    muon: Annotated[
        Number,
        Field(ge=0, le=10, description="peak rate of Muon for hidden layers' matrices, such as 0.1; 0: all by AdamW"),
        LaterField(),
    ] = field(default=0.0, repr=False)

    def on_inputs(self, source: Classifier, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        """The batch as it is."""
        return x

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        """The cross-entropy of the images as the input hooks left them; see `LossHook`."""
        return batch.cross_entropy(forward(batch.x))

    def withstands(self, source: Classifier, x: Tensor, y: Tensor, seeds: SeedStream) -> Tensor:
        """Which held-out images the network gets right: here as they are.

        Args:
            source: the network in training, in eval mode.
            x: (n, C, H, W) float32 in [0, 1].
            y: (n,) int64.
            seeds: the same after every epoch.

        Returns:
            (n,) bool.
        """
        return source.predict(x, noise=seeds).labels == y

    def hooks(self, model: TorchClassifier, ctx: Context, stages: Sequence[Defense]) -> list[Hook]:
        """What takes part in the training of `model`, in order."""
        candidates: Sequence[object] = stages  # mypy knows no class that is both a Defense and a ReplayHook
        return [s for s in candidates if isinstance(s, Hook)]

    def train(self, model: Classifier, ctx: Context, stages: Sequence[Defense]) -> Classifier:
        """The one training run that all `stages` take part in."""
        if not isinstance(model, TorchClassifier):
            raise MissingCapability(
                f"{type(self).__name__} trains a network and got a {type(model).__name__}. "
                "Start from robustnoise.models.create(...) and put training first."
            )
        data = ctx.need_train(type(self).__name__)
        schedule = Schedule(
            self.epochs,
            self.learning_rate,
            self.batch_size,
            shift=self.shift,
            flip=self.flip,
            warp=self.warp,
            smoothing=self.smoothing,
            weight_decay=self.weight_decay,
            precision=self.precision,
            muon=self.muon,
        )
        images = to_tensor(data.images)
        labels = to_tensor(data.labels) if ctx.targets is None else ctx.targets
        kept = len(images) - self.hold_out
        if kept < 1:
            raise BadParameter(
                f"{type(self).__name__}: hold_out = {self.hold_out}: leaves none of the {len(images)} training images. "
                f"Expected at most {len(images) - 1}."
            )
        held_out = None
        if self.hold_out:
            last = labels[kept:]
            held_out = HeldOut(images[kept:], last.argmax(1) if last.is_floating_point() else last, self.withstands)
        hooks = self.hooks(model, ctx, stages)
        return fit(model, images[:kept], labels[:kept], schedule, ctx.seeds, hooks=hooks, ctx=ctx, held_out=held_out)

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """A trained copy of `model`."""
        return self.train(model, ctx, (self,))
