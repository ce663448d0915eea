"""Free adversarial training: what is replayed, what is carried on, and what it costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.api import Schedule, SeedStream, fit
from robustnoise_defenses import FreeTraining
from tests.unit.trainings.nets import IMAGES, LABELS, STREAM, close, fresh, same, slow, trained

SHORT = "epochs=4, batch_size=16, learning_rate=0.02"


class Seen:
    """An input hook that keeps the batches it is given."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def on_inputs(self, source: Any, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        self.batches.append(x.clone())
        return x


def _batches(replays: int, epochs: int, batch: int) -> tuple[list[Tensor], list[Tensor]]:
    """The batches before and after the perturbation."""
    before, after = Seen(), Seen()
    hooks = [before, FreeTraining(eps=0.1, ramp=0, replays=replays), after]
    fit(fresh(), IMAGES, LABELS, Schedule(epochs, 0.02, batch), STREAM, hooks=hooks)
    return before.batches, after.batches


def test_each_batch_is_replayed_and_the_steps_stay_as_many() -> None:
    before, after = _batches(replays=3, epochs=3, batch=16)
    assert len(before) == 6  # three epochs of two batches, as in plain training
    assert [torch.equal(before[i], before[i + 1]) for i in range(5)] == [True, True, False, True, True]
    drawn = torch.cat([before[0], before[3]])
    assert sorted(r.numpy().tobytes() for r in drawn) == sorted(r.numpy().tobytes() for r in IMAGES)
    assert torch.equal(before[0], after[0])  # it starts at 0


def test_the_perturbation_passes_on_to_the_next_batch_and_stays_in_the_ball() -> None:
    before, after = _batches(replays=2, epochs=4, batch=20)  # batches of 20 and 12 images
    shift = [b - a for a, b in zip(before, after, strict=True)]
    assert all(s.abs().max() <= 0.1 + 1e-6 for s in shift)
    # The first step on the batch of 12 is where one that starts anew would see the images as they are.
    assert shift[2].abs().max() > 0.09
    assert not torch.equal(shift[2], shift[3])


def test_a_slow_loop_ends_in_the_same_weights() -> None:
    carried = torch.zeros(20, 1, 6, 6)
    count = 0
    last: tuple[Tensor, Tensor] | None = None

    def loss(module: nn.Module, x: Tensor, y: Tensor, seeds: SeedStream) -> Tensor:
        nonlocal count, last
        if last is not None:  # the step before left its slope
            leaf, moved = last
            assert leaf.grad is not None
            moved.copy_((moved + 0.1 * leaf.grad.sign()).clamp(-0.1, 0.1))
        drawn = count // 2
        epoch, place = divmod(drawn, 2)
        rows = torch.randperm(32, generator=STREAM.generator("order", epoch))[place * 20 :][:20]
        count += 1
        moved = carried[: len(rows)]
        leaf = (IMAGES[rows] + moved).clamp(0, 1).requires_grad_(True)
        last = leaf, moved
        return functional.cross_entropy(module(leaf), LABELS[rows])

    ours = trained("free-training(eps=0.1, ramp=0, replays=2, epochs=3, batch_size=20, learning_rate=0.02)")
    close(ours, slow(loss, 3, 20, 0.02))


def test_without_radius_and_replays_it_is_plain_training() -> None:
    assert same(
        trained(f"free-training(eps=0, replays=1, {SHORT}, shift=1)"), trained(f"plain-training({SHORT}, shift=1)")
    )
    assert not same(trained(f"free-training(eps=0.1, replays=1, {SHORT})"), trained(f"plain-training({SHORT})"))


def test_noise_is_fresh_in_every_replay() -> None:
    seen = Seen()
    stages = [FreeTraining(eps=0, replays=2), _Noise(), seen]
    fit(fresh(), IMAGES, LABELS, Schedule(2, 0.02, 32), STREAM, hooks=stages)
    assert not torch.equal(seen.batches[0], seen.batches[1])


class _Noise:
    def on_inputs(self, source: Any, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        return x + torch.randn(x.shape, generator=seeds.generator("n"))
