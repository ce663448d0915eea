"""The one training loop: baselines, adversarial training and substitutes all go through `fit`.

Every draw is a function of (seed, epoch, step), so a training that resumes from an epoch's checkpoint ends in the same
weights as one that was never interrupted.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, runtime_checkable

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.blocks import to_tensor
from robustnoise.compose import Defense
from robustnoise.errors import BadData, BadParameter, CorruptArtifact, MissingCapability, RobustnoiseError
from robustnoise.models.classifier import TorchClassifier, memory_layout
from robustnoise.protocols import Answer, Classifier, Context, Meter
from robustnoise.seeds import SeedStream
from robustnoise.spec import Number, digest_of
from robustnoise.store import atomic_write
from robustnoise.threat import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping

Precision = Literal["float32", "bfloat16"]

CHECKPOINT_SECONDS = 2.0
"""A checkpoint is written at the end of an epoch, at most this often."""


class TrainingDiverged(RobustnoiseError):
    """The loss became NaN or infinite."""


@runtime_checkable
class InputHook(Protocol):
    """What a training-stage defense may do with a batch before the loss."""

    def on_inputs(self, source: Classifier, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        """The batch to train on.

        Args:
            source: a view of the network as it is now, with `logits`.
            x: (n, C, H, W) float32 in [0, 1].
            y: (n,) int64.
            progress: the share of the training that is done, 0 to 1.
            seeds: the stream of this hook and step.
        """
        ...


@runtime_checkable
class ForwardHook(Protocol):
    """What a training-stage defense may do to the network while it computes the loss."""

    @property
    def while_crafting(self) -> bool:
        """Whether it acts while the input hooks run too."""
        ...

    def during_forward(
        self, module: nn.Module, progress: float, seeds: SeedStream, *, crafting: bool
    ) -> AbstractContextManager[object]:
        """Entered around the forward pass of a step; leaves the module as it was.

        Args:
            module: the network in training.
            progress: the share of the training that is done, 0 to 1.
            seeds: the stream of this hook and step, the same while crafting and for the loss.
            crafting: it is entered around the input hooks.
        """
        ...


Hook = InputHook | ForwardHook


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained, with AdamW and a triangular learning rate.

    Args:
        epochs: passes over the data.
        learning_rate: the peak; reached after `warmup` of the steps, then falling linearly to 0.
        batch_size: images a step.
        shift: random translation in pixels, each axis, zeros coming in; 0 switches it off.
        flip: half of the images are mirrored left to right.
        warp: random rotation up to this many degrees, with up to a tenth of scaling and shear; 0 switches it off.
        smoothing: label smoothing, 0 to 1.
        weight_decay: decoupled, as AdamW's: each step takes learning rate times this share of every weight.
        precision: of products and activations; weights, loss and optimizer stay float32.
        warmup: share of the steps.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    shift: int = 0
    flip: bool = False
    warp: float = 0.0
    smoothing: float = 0.0
    weight_decay: float = 0.0
    precision: Precision = "float32"
    warmup: float = 0.2

    def rate(self, progress: float) -> float:
        """The learning rate when `progress` (0 to 1) of the steps are done."""
        rising = progress / self.warmup if self.warmup else math.inf
        return self.learning_rate * min(rising, (1 - progress) / (1 - self.warmup))


@dataclass(frozen=True, kw_only=True)
class LeadingTraining(Defense):
    """Base of a training defense with a schedule; `on_inputs` may be overridden."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the training images")] = 10
    learning_rate: Annotated[Number, Field(gt=0, le=1, description="peak of the triangular schedule, AdamW")] = 0.003
    batch_size: Annotated[int, Field(ge=1, le=65536, description="images a step")] = 100
    shift: Annotated[int, Field(ge=0, le=32, description="random translation of each axis, pixels")] = 0
    flip: Annotated[bool, Field(description="mirror half of the images left to right")] = False
    warp: Annotated[Number, Field(ge=0, le=90, description="random rotation in degrees, with scaling and shear")] = 0.0
    smoothing: Annotated[Number, Field(ge=0, lt=1, description="label smoothing")] = 0.0
    weight_decay: Annotated[Number, Field(ge=0, le=1, description="decoupled (AdamW)")] = 0.0
    precision: Annotated[Precision, Field(description="of products and activations")] = "float32"

    def on_inputs(self, source: Classifier, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        """The batch as it is."""
        return x

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
        )
        images = to_tensor(data.images)
        labels = to_tensor(data.labels) if ctx.targets is None else ctx.targets
        hooks = [s for s in stages if isinstance(s, InputHook | ForwardHook)]
        return fit(model, images, labels, schedule, ctx.seeds, hooks=hooks, ctx=ctx)

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """A trained copy of `model`."""
        return self.train(model, ctx, (self,))


class LiveSource:
    """A network in training, as crafters see it: logits in its current mode and weights."""

    stochastic = False
    passes = 1
    digest = "live"

    def __init__(self, module: nn.Module, classifier: TorchClassifier) -> None:
        self.module = module
        self.num_classes = classifier.num_classes
        self.input_shape = classifier.input_shape

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `robustnoise.protocols.Differentiable.logits`."""
        out: Tensor = self.module(x)
        return out

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`."""
        with torch.no_grad():
            return Answer(self.logits(x, noise=noise).argmax(1))


def fit(
    classifier: TorchClassifier,
    images: Tensor,
    labels: Tensor,
    schedule: Schedule,
    seeds: SeedStream,
    *,
    hooks: Sequence[Hook] = (),
    ctx: Context | None = None,
) -> TorchClassifier:
    """A trained copy of `classifier` (cross-entropy).

    Args:
        classifier: where training starts; left as it is.
        images: (n, C, H, W) uint8, or float32 in [0, 1].
        labels: (n,) int64, or (n, num_classes) float32 probabilities, whose largest is the label for hooks.
        schedule: epochs, rate, batch size.
        seeds: of order, augmentation and hooks.
        hooks: called in order on every batch.
        ctx: checkpoint, progress and device.

    Raises:
        TrainingDiverged: the loss is no longer finite.
        BadData: no images.
    """
    ctx = ctx or Context()
    if len(images) == 0:
        raise BadData("training needs at least one image.")
    device = torch.device(ctx.device)
    if schedule.precision == "bfloat16":
        need_bfloat16(device)
    module = copy.deepcopy(classifier.module).to(device).requires_grad_(True).train()
    module = module.to(memory_format=memory_layout(module))
    optimizer = torch.optim.AdamW(module.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    fingerprint = digest_of([classifier.digest, repr(schedule), [repr(h) for h in hooks], seeds.seed(), len(images)])
    start = _resume(ctx.checkpoint, fingerprint, module, optimizer) if ctx.checkpoint else 0
    run = _Run(module, classifier, optimizer, images, labels, schedule, seeds, hooks)
    meter = ctx.progress.start("train", run.steps * schedule.epochs)
    meter.advance(run.steps * start)
    written = time.monotonic()
    for epoch in range(start, schedule.epochs):
        run.epoch(epoch, meter)
        if ctx.checkpoint and epoch + 1 < schedule.epochs and time.monotonic() - written > CHECKPOINT_SECONDS:
            _save(ctx.checkpoint, fingerprint, epoch + 1, module, optimizer)
            written = time.monotonic()
    optimizer.zero_grad(set_to_none=True)  # the last step's gradients would stay with the classifier
    return TorchClassifier(module, classifier.input_shape, classifier.num_classes, classifier.architecture)


class _Run:
    def __init__(
        self,
        module: nn.Module,
        classifier: TorchClassifier,
        optimizer: torch.optim.Optimizer,
        images: Tensor,
        labels: Tensor,
        schedule: Schedule,
        seeds: SeedStream,
        hooks: Sequence[Hook],
    ) -> None:
        self.module, self.optimizer, self.schedule, self.seeds, self.hooks = module, optimizer, schedule, seeds, hooks
        self.images, self.labels = images, labels
        self.source = LiveSource(module, classifier)
        self.device = next(module.parameters()).device
        self.layout = memory_layout(module)
        self.steps = math.ceil(len(images) / schedule.batch_size)

    def epoch(self, epoch: int, meter: Meter) -> None:
        order = torch.randperm(len(self.images), generator=self.seeds.generator("order", epoch))
        for step in range(self.steps):
            rows = order[step * self.schedule.batch_size :][: self.schedule.batch_size]
            progress = (epoch * self.steps + step) / (self.schedule.epochs * self.steps)
            loss = self.step(rows, progress, self.seeds.child(epoch, step))
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"training diverged in epoch {epoch + 1}, step {step + 1}: loss {loss}. "
                    f"Lower learning_rate (now {self.schedule.learning_rate:g})."
                )
            meter.advance()

    def step(self, rows: Tensor, progress: float, seeds: SeedStream) -> float:
        x = as_floats(self.images[rows])
        y = self.labels[rows].to(self.device)
        if self.schedule.warp:
            x = warped(x, self.schedule.warp, seeds.generator("warp"))
        if self.schedule.shift:
            x = shifted(x, self.schedule.shift, seeds.generator("shift"))
        if self.schedule.flip:
            mirrored = torch.rand(len(x), generator=seeds.generator("flip")) < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        x = x.to(self.device, memory_format=self.layout)
        with self.forward_hooks(progress, seeds.child("forward"), crafting=True):
            for number, hook in enumerate(self.hooks):
                if isinstance(hook, InputHook):
                    hard = y.argmax(1) if y.is_floating_point() else y
                    x = hook.on_inputs(self.source, x, hard, progress, seeds.child("hook", number)).detach()
        for group in self.optimizer.param_groups:
            # Half a step on, so that the first step moves and the last one still does.
            group["lr"] = self.schedule.rate(progress + 0.5 / (self.schedule.epochs * self.steps))
        self.optimizer.zero_grad(set_to_none=True)
        with self.forward_hooks(progress, seeds.child("forward"), crafting=False), self.autocast():
            logits = self.module(x)
        loss = functional.cross_entropy(logits.float(), y, label_smoothing=self.schedule.smoothing)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @contextmanager
    def forward_hooks(self, progress: float, seeds: SeedStream, *, crafting: bool) -> Iterator[None]:
        with ExitStack() as entered:
            for number, hook in reversed(list(enumerate(self.hooks))):  # the first of the stack is the innermost
                if isinstance(hook, ForwardHook) and (hook.while_crafting or not crafting):
                    entered.enter_context(
                        hook.during_forward(self.module, progress, seeds.child(number), crafting=crafting)
                    )
            yield

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.precision == "bfloat16")


def need_bfloat16(device: torch.device) -> None:
    """Refuse a processor that only emulates bfloat16, hundreds of times slower than float32.

    Raises:
        BadParameter: it does.
    """
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise BadParameter(
            "precision = 'bfloat16': this processor has no instructions for it and would be hundreds of times slower. "
            "Use float32, a processor with AVX-512, or a GPU."
        )


def as_floats(images: Tensor) -> Tensor:
    """uint8 levels as float32 in [0, 1]; floats as they are."""
    return images.to(torch.float32) / LEVELS if images.dtype == torch.uint8 else images


def shifted(x: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Each image moved by a whole number of pixels from -reach to reach on both axes, zeros coming in."""
    n, _, height, width = x.shape
    offsets = torch.randint(0, 2 * reach + 1, (2, n), generator=generator)
    padded = functional.pad(x, (reach,) * 4)
    rows = (offsets[0, :, None] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1, :, None] + torch.arange(width))[:, None, None, :]
    channels = torch.arange(x.shape[1])[None, :, None, None]
    return padded[torch.arange(n)[:, None, None, None], channels, rows, columns]


def warped(x: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Each image rotated by up to `degrees`, scaled by up to a tenth and sheared by up to a fifth, bilinear."""
    turn, scale, shear = 2 * torch.rand(3, len(x), generator=generator) - 1
    turn, scale, shear = torch.deg2rad(turn * degrees), 1 + scale / 10, shear / 5
    zero = torch.zeros_like(turn)
    matrices = torch.stack(
        [
            torch.stack([scale * turn.cos(), shear - scale * turn.sin(), zero], 1),
            torch.stack([scale * turn.sin(), scale * turn.cos(), zero], 1),
        ],
        1,
    )
    grid = functional.affine_grid(matrices, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


# ---------------------------------------------------------------------------------------------------------- checkpoints


def _save(path: Path, fingerprint: str, epoch: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    tensors = {f"net.{k}": v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": v.detach().cpu().contiguous() for k, v in values.items()}
    metadata = {"checkpoint": json.dumps({"epoch": epoch, "fingerprint": fingerprint})}
    atomic_write(path, save(tensors, metadata=metadata))


def _resume(path: Path, fingerprint: str, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint into module and optimizer; the number of finished epochs, 0 without one."""
    if not path.exists():
        return 0
    try:
        with safe_open(str(path), framework="pt") as file:
            header: Mapping[str, object] = json.loads(file.metadata()["checkpoint"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        if header["fingerprint"] != fingerprint:
            raise ValueError("it belongs to another training")
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = tensor
        module.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return int(str(header["epoch"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptArtifact(
            f"{path}: this checkpoint can't be resumed: {error}. Delete the file; training then starts anew."
        ) from None
