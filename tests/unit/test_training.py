"""The one training loop: a function of its seed, resumable to the byte, and loud when it diverges."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustnoise import training
from robustnoise.data import Split
from robustnoise.errors import BadData, BadParameter, CorruptArtifact, MissingCapability
from robustnoise.models import create
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise.training import (
    LiveSource,
    Precision,
    Schedule,
    TrainingDiverged,
    checkpoints,
    fit,
    leading,
    loop,
    shifted,
)
from robustnoise_defenses import FastTraining, PlainTraining

SHAPE = (1, 6, 6)
SCHEDULE = Schedule(epochs=3, learning_rate=0.01, batch_size=16, shift=1)
SEEDS = SeedStream(1, ("test",))


def _data(n: int = 64) -> Split:
    """Two classes: bright upper half or bright lower half."""
    generator = np.random.default_rng(0)
    labels = np.arange(n) % 2
    images = generator.integers(0, 80, (n, *SHAPE))
    images[labels == 0, :, :3] += 150
    images[labels == 1, :, 3:] += 150
    return Split(np.arange(n), images=images.astype(np.uint8), labels=labels, num_classes=2, name="train")


DATA = _data()
IMAGES, LABELS = torch.from_numpy(DATA.images.copy()), torch.from_numpy(DATA.labels.copy())


def _fresh(seed: int = 0) -> TorchClassifier:
    return create("mlp(hidden=8)", SHAPE, 2, seed=seed)


def _weights(classifier: TorchClassifier) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in classifier.module.state_dict().items()}


class Interrupting:
    """Progress whose meter raises KeyboardInterrupt after so many steps; counts them."""

    def __init__(self, after: float = math.inf) -> None:
        self.after, self.done, self.total = after, 0, 0

    def start(self, label: str, total: int) -> Interrupting:
        self.total = total
        return self

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        if self.done >= self.after:
            raise KeyboardInterrupt


class Recorder:
    """A hook that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []
        self.draws: list[int] = []
        self.progress: list[float] = []

    def on_inputs(self, source: Any, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        self.batches.append(x.clone())
        self.draws.append(seeds.seed())
        self.progress.append(progress)
        return x

    def __repr__(self) -> str:
        return "Recorder"


def test_training_learns() -> None:
    trained = fit(_fresh(), IMAGES, LABELS, Schedule(8, 0.02, 16), SEEDS)
    answers = trained.predict(IMAGES.float() / 255, noise=SEEDS).labels
    assert (answers == LABELS).float().mean() > 0.95
    assert not trained.module.training
    assert not any(p.requires_grad for p in trained.module.parameters())


def test_same_seed_same_weights() -> None:
    first = fit(_fresh(), IMAGES, LABELS, SCHEDULE, SEEDS)
    again = fit(_fresh(), IMAGES, LABELS, SCHEDULE, SEEDS)
    assert _weights(first) == _weights(again)
    assert first.digest == again.digest
    assert first.digest != fit(_fresh(), IMAGES, LABELS, SCHEDULE, SEEDS.child("other")).digest
    assert first.digest != fit(_fresh(1), IMAGES, LABELS, SCHEDULE, SEEDS).digest


def test_a_global_seed_moves_nothing_and_is_not_moved() -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = fit(_fresh(), IMAGES, LABELS, SCHEDULE, SEEDS)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert fit(_fresh(), IMAGES, LABELS, SCHEDULE, SEEDS).digest == first.digest


def test_the_start_is_left_as_it_is() -> None:
    start = _fresh()
    before, digest = _weights(start), start.digest
    fit(start, IMAGES, LABELS, SCHEDULE, SEEDS)
    assert (_weights(start), start.digest) == (before, digest)
    assert not start.module.training
    assert all(p.grad is None and not p.requires_grad for p in start.module.parameters())


@pytest.mark.parametrize("after", [1, 4, 5, 7, 8, 11])
@pytest.mark.parametrize(
    "defense", [PlainTraining(epochs=3, batch_size=16, shift=1), FastTraining(epochs=3, batch_size=16)]
)
def test_resuming_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, defense: PlainTraining
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    whole = defense.apply(_fresh(), Context(train=DATA, seed=5))
    path = tmp_path / "partial.safetensors"
    with pytest.raises(KeyboardInterrupt):
        defense.apply(_fresh(), Context(train=DATA, seed=5, checkpoint=path, progress=Interrupting(after)))
    assert path.exists() == (after > 4)
    meter = Interrupting()
    resumed = defense.apply(_fresh(), Context(train=DATA, seed=5, checkpoint=path, progress=meter))
    assert isinstance(whole, TorchClassifier)
    assert isinstance(resumed, TorchClassifier)
    assert _weights(resumed) == _weights(whole)
    assert meter.done == meter.total == 12


def test_resuming_goes_on_and_does_not_start_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    path = tmp_path / "partial.safetensors"
    ctx = Context(checkpoint=path, progress=Interrupting(9))
    with pytest.raises(KeyboardInterrupt):
        fit(_fresh(), IMAGES, LABELS, SCHEDULE, SEEDS, hooks=[Recorder()], ctx=ctx)
    recorder = Recorder()
    fit(_fresh(), IMAGES, LABELS, SCHEDULE, SEEDS, hooks=[recorder], ctx=Context(checkpoint=path))
    assert len(recorder.batches) == 4


@pytest.mark.parametrize("damage", ["bytes", "other training", "empty"])
def test_a_checkpoint_that_does_not_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    path = tmp_path / "partial.safetensors"
    fit(_fresh(), IMAGES, LABELS, SCHEDULE, SEEDS, ctx=Context(checkpoint=path))
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "empty":
        path.write_bytes(b"")
    seeds = SEEDS.child("other") if damage == "other training" else SEEDS
    with pytest.raises(CorruptArtifact, match="Delete the file; training then starts anew") as caught:
        fit(_fresh(), IMAGES, LABELS, SCHEDULE, seeds, ctx=Context(checkpoint=path))
    assert str(path) in str(caught.value)


def test_two_epochs_see_different_order_shift_and_draws() -> None:
    recorder = Recorder()
    one_batch = Schedule(2, 0.01, 64, shift=2)
    fit(_fresh(), IMAGES, LABELS, one_batch, SEEDS, hooks=[recorder])
    first, second = recorder.batches
    plain = IMAGES.float() / 255
    unshifted = [sum(any(torch.equal(row, image) for image in plain) for row in batch) for batch in (first, second)]
    assert max(unshifted) < 32  # a 5x5 grid of offsets keeps about one image in 25
    key = [sorted(row.numpy().tobytes() for row in batch) for batch in (first, second)]
    assert key[0] != key[1]
    assert recorder.draws[0] != recorder.draws[1]
    assert recorder.progress == [0.0, 0.5]


def test_every_epoch_sees_every_image_once_in_another_order() -> None:
    recorder = Recorder()
    fit(_fresh(), IMAGES, LABELS, Schedule(2, 0.01, 10), SEEDS, hooks=[recorder])
    assert [len(b) for b in recorder.batches] == [10, 10, 10, 10, 10, 10, 4] * 2
    epochs = [torch.cat(recorder.batches[:7]), torch.cat(recorder.batches[7:])]
    assert not torch.equal(*epochs)
    expected = sorted(row.numpy().tobytes() for row in IMAGES.float() / 255)
    assert all(sorted(row.numpy().tobytes() for row in epoch) == expected for epoch in epochs)


def test_a_shift_moves_the_image_and_fills_with_black() -> None:
    x = torch.zeros(200, 1, 7, 7)
    x[:, :, 3, 3] = 1
    moved = shifted(x, 2, torch.Generator().manual_seed(0))
    assert torch.equal(moved.flatten(1).sum(1), torch.ones(200))
    _, _, rows, columns = moved.nonzero(as_tuple=True)
    assert sorted(set(rows.tolist())) == sorted(set(columns.tolist())) == [1, 2, 3, 4, 5]
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == 25


def test_the_rate_is_a_triangle() -> None:
    schedule = Schedule(1, 0.1, 1, warmup=0.2)
    assert [schedule.share(p) for p in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_divergence_is_reported() -> None:
    images = IMAGES.float() / 255
    images[5, 0, 0, 0] = math.nan
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step \d: loss nan\. Lower learning_rate \(now 0\.01\)"):
        fit(_fresh(), images, LABELS, SCHEDULE, SEEDS)
    with pytest.raises(TrainingDiverged, match=r"loss (nan|inf)"):
        fit(_fresh(), IMAGES, LABELS, Schedule(20, 1e30, 16), SEEDS)


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(BadData, match="at least one image"):
        fit(_fresh(), IMAGES[:0], LABELS[:0], SCHEDULE, SEEDS)
    with pytest.raises(BadParameter, match="PlainTraining needs training images"):
        PlainTraining().apply(_fresh(), Context())
    with pytest.raises(MissingCapability, match="PlainTraining trains a network"):
        PlainTraining().apply(object(), Context(train=DATA))  # type: ignore[arg-type]


class Doubling:
    """A forward hook that doubles every logit while it is entered, and counts."""

    def __init__(self, *, while_crafting: bool) -> None:
        self.while_crafting, self.entered, self.left = while_crafting, 0, 0

    @contextlib.contextmanager
    def during_forward(
        self, module: nn.Module, progress: float, seeds: SeedStream, *, crafting: bool
    ) -> Iterator[None]:
        self.entered += 1
        handle = module.register_forward_hook(lambda _module, _inputs, out: 2 * out)
        yield
        handle.remove()
        self.left += 1

    def __repr__(self) -> str:
        return f"Doubling({self.while_crafting})"


class Asking(Recorder):
    """An input hook that asks the network in training, as an adversary would."""

    def __init__(self) -> None:
        super().__init__()
        self.logits: list[Tensor] = []

    def on_inputs(self, source: Any, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        self.logits.append(source.logits(x, noise=seeds).detach())
        return x


@pytest.mark.parametrize("while_crafting", [False, True])
def test_a_forward_hook_acts_on_the_loss_and_where_asked_on_the_adversary(while_crafting: bool) -> None:
    asking, hook, one_step = Asking(), Doubling(while_crafting=while_crafting), Schedule(1, 0.01, 64)
    hooked = fit(_fresh(), IMAGES, LABELS, one_step, SEEDS, hooks=[asking, hook])
    plain = Asking()
    assert _weights(fit(_fresh(), IMAGES, LABELS, one_step, SEEDS, hooks=[plain])) != _weights(hooked)
    assert torch.equal(asking.logits[0], plain.logits[0] * (2 if while_crafting else 1))
    assert hook.entered == hook.left == (2 if while_crafting else 1)


def test_a_mirrored_half_of_the_images() -> None:
    recorder = Recorder()
    images = torch.zeros(400, 1, 6, 6, dtype=torch.uint8)
    images[:, :, :, 0] = 255
    fit(
        _fresh(),
        images,
        torch.zeros(400, dtype=torch.int64),
        Schedule(1, 0.01, 400, flip=True),
        SEEDS,
        hooks=[recorder],
    )
    left, right = (recorder.batches[0][:, 0, :, column].mean(1) for column in (0, 5))
    assert torch.equal(left + right, torch.ones(400))
    assert 160 < int(right.sum()) < 240


def test_a_warp_turns_the_image_about_its_middle() -> None:
    x = torch.zeros(300, 1, 21, 21)
    x[:, :, 10, 4:17] = 1
    warped = training.warped(x, 30, torch.Generator().manual_seed(0))
    assert torch.allclose(warped[:, 0, 10, 10], torch.ones(300), atol=0.15)
    rows = torch.arange(21.0)
    heights = (warped[:, 0, :, 15] * rows).sum(1) / warped[:, 0, :, 15].sum(1).clamp_min(1e-6)
    slopes = torch.rad2deg(torch.atan2(heights - 10, torch.tensor(5.0)))
    assert slopes.abs().max() < 45
    assert slopes.std() > 10
    assert torch.equal(training.warped(x, 30, torch.Generator().manual_seed(0)), warped)


def test_weight_decay_and_smoothing_reach_the_training() -> None:
    plain = Schedule(1, 0.01, 16)
    seen = {
        str(_weights(fit(_fresh(), IMAGES, LABELS, schedule, SEEDS)))
        for schedule in (plain, replace(plain, weight_decay=0.5), replace(plain, smoothing=0.1))
    }
    assert len(seen) == 3


def test_every_field_of_the_schedule_is_a_parameter_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Schedule] = []
    monkeypatch.setattr(leading, "fit", lambda *parts, **_: given.append(parts[3]))
    other = {
        "epochs": 3, "learning_rate": 0.5, "batch_size": 7, "shift": 1, "flip": True, "warp": 5.0, "smoothing": 0.1,
        "weight_decay": 0.2, "precision": "bfloat16", "muon": 0.3,
    }  # fmt: skip
    PlainTraining(**other).apply(_fresh(), Context(train=DATA))
    assert vars(given[0]) == other | {"warmup": 0.2}


def test_emulated_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(BadParameter, match="precision = 'bfloat16': this processor has no instructions"):
        fit(_fresh(), IMAGES, LABELS, Schedule(1, 0.01, 16, precision="bfloat16"), SEEDS)


def test_bfloat16_trains_to_about_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "need_bfloat16", lambda _: None)  # emulated here: slow, not wrong
    schedule = Schedule(3, 0.01, 16)
    exact, rounded = (
        fit(_fresh(), IMAGES, LABELS, replace(schedule, precision=precision), SEEDS).module.state_dict()
        for precision in ("float32", "bfloat16")
    )
    for name, weight in exact.items():
        assert rounded[name].dtype == torch.float32
        assert not torch.equal(weight, rounded[name])
        assert torch.allclose(weight, rounded[name], atol=0.05), name


def test_adversaries_of_a_bfloat16_training_meet_bfloat16_products() -> None:
    toy = _fresh()
    x = torch.rand(4, *toy.input_shape, generator=torch.Generator().manual_seed(1))
    seen: list[torch.dtype] = []
    handle = next(m for m in toy.module.modules() if isinstance(m, torch.nn.Linear)).register_forward_hook(
        lambda _module, _inputs, out: seen.append(out.dtype)
    )
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    logits = [LiveSource(toy.module, toy, p).logits(x, noise=SEEDS) for p in precisions]
    handle.remove()
    assert seen == [torch.float32, torch.bfloat16]
    assert [out.dtype for out in logits] == [torch.float32, torch.float32]
    assert torch.allclose(*logits, atol=0.05)
