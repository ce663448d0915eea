"""The loop itself: order, augmentation, hooks, loss and optimizer, step by step."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from robustnoise.errors import BadData, BadParameter, RobustnoiseError
from robustnoise.models.classifier import TorchClassifier, memory_layout
from robustnoise.protocols import Context, Meter
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of
from robustnoise.training import checkpoints
from robustnoise.training.checkpoints import Saved
from robustnoise.training.hooks import Batch, ForwardHook, Hook, InputHook, LossHook, ReplayHook, WeightHook
from robustnoise.training.images import as_floats, shifted, warped
from robustnoise.training.optimizer import Optimizer
from robustnoise.training.schedule import Schedule
from robustnoise.training.selection import HeldOut, Selection
from robustnoise.training.source import LiveSource

T = TypeVar("T")


class TrainingDiverged(RobustnoiseError):
    """The loss became NaN or infinite."""


def fit(
    classifier: TorchClassifier,
    images: Tensor,
    labels: Tensor,
    schedule: Schedule,
    seeds: SeedStream,
    *,
    hooks: Sequence[Hook] = (),
    ctx: Context | None = None,
    held_out: HeldOut | None = None,
) -> TorchClassifier:
    """A trained copy of `classifier` (cross-entropy, where no hook has a loss of its own).

    Args:
        classifier: where training starts; left as it is.
        images: (n, C, H, W) uint8, or float32 in [0, 1].
        labels: (n,) int64, or (n, num_classes) float32 probabilities, whose largest is the label for hooks.
        schedule: epochs, rate, batch size.
        seeds: of order, augmentation and hooks.
        hooks: called in order on every batch.
        ctx: checkpoint, progress and device.
        held_out: what the best epoch is chosen by; None takes the last.

    Raises:
        TrainingDiverged: the loss is no longer finite.
        BadData: no images.
        BadParameter: several hooks have a loss, or several replay.
    """
    ctx = ctx or Context()
    if len(images) == 0:
        raise BadData("training needs at least one image.")
    device = torch.device(ctx.device)
    if schedule.precision == "bfloat16":
        need_bfloat16(device)
    module = copy.deepcopy(classifier.module).to(device).requires_grad_(True).train()
    module = module.to(memory_format=memory_layout(module))
    optimizer = Optimizer(module, schedule)
    parts = [classifier.digest, repr(schedule), [repr(h) for h in hooks], seeds.seed(), len(images)]
    parts += [] if held_out is None else [len(held_out.labels)]
    parts += [f"muon {schedule.muon}"] if schedule.muon else []
    fingerprint = digest_of(parts)
    source = LiveSource(module, classifier, schedule.precision)
    run = _Run(source, optimizer, images, labels, schedule, seeds, hooks)
    best = None if held_out is None else Selection(held_out, source, seeds.child("held out"))
    saved = checkpoints.resume(ctx.checkpoint, fingerprint, module, optimizer.parts) if ctx.checkpoint else Saved(0)
    _restore(saved, run, best)
    meter = ctx.progress.start("train", run.steps * schedule.epochs)
    meter.advance(run.steps * saved.epoch)
    written = time.monotonic()
    for epoch in range(saved.epoch, schedule.epochs):
        run.epoch(epoch, meter)
        if best is not None:
            best.after_epoch()
        due = time.monotonic() - written > checkpoints.CHECKPOINT_SECONDS
        if ctx.checkpoint and epoch + 1 < schedule.epochs and due:
            checkpoints.save(ctx.checkpoint, fingerprint, _state(epoch + 1, run, best), module, optimizer.parts)
            written = time.monotonic()
    if best is not None:
        best.finish()
    optimizer.zero_grad()  # the last step's gradients would stay with the classifier
    return TorchClassifier(module, classifier.input_shape, classifier.num_classes, classifier.architecture)


def _state(epoch: int, run: _Run, best: Selection | None) -> Saved:
    extra = {} if run.perturbation is None else {"perturbation": run.perturbation}
    if best is None:
        return Saved(epoch, extra)
    return Saved(epoch, extra | {f"best.{k}": v for k, v in best.weights.items()}, {"right": best.right})


def _restore(saved: Saved, run: _Run, best: Selection | None) -> None:
    if "perturbation" in saved.extra:
        run.perturbation = saved.extra["perturbation"].to(run.device)
    if best is not None and saved.epoch:
        weights = {k.removeprefix("best."): v for k, v in saved.extra.items() if k.startswith("best.")}
        best.resume(saved.numbers["right"], weights)


def _only_one(hooks: Sequence[T], what: str) -> T | None:
    if len(hooks) > 1:
        names = ", ".join(type(h).__name__ for h in hooks)
        raise BadParameter(
            f"{len(hooks)} stages of one training {what}: {names}. Expected one at most; take others out."
        )
    return hooks[0] if hooks else None


class _Run:
    def __init__(
        self,
        source: LiveSource,
        optimizer: Optimizer,
        images: Tensor,
        labels: Tensor,
        schedule: Schedule,
        seeds: SeedStream,
        hooks: Sequence[Hook],
    ) -> None:
        self.source, self.module, self.optimizer = source, source.module, optimizer
        self.images, self.labels, self.schedule, self.seeds, self.hooks = images, labels, schedule, seeds, hooks
        self.device = next(self.module.parameters()).device
        self.layout = memory_layout(self.module)
        self.steps = math.ceil(len(images) / schedule.batch_size)
        self.leader = _only_one([h for h in hooks if isinstance(h, LossHook)], "have a loss of their own")
        self.replaying = _only_one([h for h in hooks if isinstance(h, ReplayHook)], "replay batches")
        self.perturbation: Tensor | None = None
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def epoch(self, epoch: int, meter: Meter) -> None:
        for step in range(self.steps):
            loss = self.step(epoch * self.steps + step)
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"training diverged in epoch {epoch + 1}, step {step + 1}: loss {loss}. "
                    f"Lower learning_rate (now {self.schedule.learning_rate:g})."
                )
            meter.advance()

    def step(self, number: int) -> float:
        """Step `number` of the whole training. Where batches are replayed, it sees fewer of them, not more steps."""
        drawn, replay = divmod(number, self.replaying.replays if self.replaying else 1)
        turn, place = divmod(drawn, self.steps)
        total = self.schedule.epochs * self.steps
        progress = number / total
        seeds = self.seeds.child(turn, place)
        rows = self.order(turn)[place * self.schedule.batch_size :][: self.schedule.batch_size]
        x, y = self.augmented(self.images[rows], seeds), self.labels[rows].to(self.device)
        if replay:
            seeds = seeds.child("replay", replay)
        batch = self.crafted(x, y, progress, seeds)

        def loss() -> Tensor:
            with self.forward_hooks(progress, seeds.child("forward"), crafting=False):
                if self.leader is None:
                    return batch.cross_entropy(self.source.forward(batch.x))
                return self.leader.loss(self.source.forward, batch)

        self.optimizer.zero_grad()
        with ExitStack() as entered:
            for index, hook in enumerate(self.hooks):
                if isinstance(hook, WeightHook):
                    own = seeds.child("weights", index)
                    entered.enter_context(hook.around_loss(self.module, loss, progress, own))
            value = loss()
            value.backward()
        if self.replaying is not None:
            self.carry_on(self.replaying, batch.x, progress)
        # Half a step on, so that the first step moves and the last one still does.
        self.optimizer.step(progress + 0.5 / total)
        return value.item()

    def order(self, turn: int) -> Tensor:
        """The order in which the images are gone through for the `turn`-th time."""
        if self._order[0] != turn:
            self._order = turn, torch.randperm(len(self.images), generator=self.seeds.generator("order", turn))
        return self._order[1]

    def augmented(self, images: Tensor, seeds: SeedStream) -> Tensor:
        x = as_floats(images)
        if self.schedule.warp:
            x = warped(x, self.schedule.warp, seeds.generator("warp"))
        if self.schedule.shift:
            x = shifted(x, self.schedule.shift, seeds.generator("shift"))
        if self.schedule.flip:
            mirrored = torch.rand(len(x), generator=seeds.generator("flip")) < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        return x.to(self.device, memory_format=self.layout)

    def crafted(self, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Batch:
        clean, labels = x, Batch(x, x, y, self.schedule.smoothing).labels
        with self.forward_hooks(progress, seeds.child("forward"), crafting=True):
            for number, hook in enumerate(self.hooks):
                if hook is self.leader:
                    clean = x
                if isinstance(hook, InputHook):
                    x = hook.on_inputs(self.source, x, labels, progress, seeds.child("hook", number)).detach()
                if isinstance(hook, ReplayHook):
                    x = hook.perturbed(x, self.carried(x))
        if self.replaying is not None:
            x = x.detach().clone().requires_grad_(True)
        return Batch(clean, x, y, self.schedule.smoothing)

    def carried(self, x: Tensor) -> Tensor:
        if self.perturbation is None:
            whole = min(self.schedule.batch_size, len(self.images))
            self.perturbation = x.new_zeros((whole, *x.shape[1:]))
        return self.perturbation[: len(x)]

    def carry_on(self, hook: ReplayHook, x: Tensor, progress: float) -> None:
        assert self.perturbation is not None
        gradient = torch.zeros_like(x) if x.grad is None else x.grad
        self.perturbation[: len(x)] = hook.after_step(self.perturbation[: len(x)], gradient, progress)

    @contextmanager
    def forward_hooks(self, progress: float, seeds: SeedStream, *, crafting: bool) -> Iterator[None]:
        with ExitStack() as entered:
            for number, hook in reversed(list(enumerate(self.hooks))):  # the first of the stack is the innermost
                if isinstance(hook, ForwardHook) and (hook.while_crafting or not crafting):
                    entered.enter_context(
                        hook.during_forward(self.module, progress, seeds.child(number), crafting=crafting)
                    )
            yield


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
