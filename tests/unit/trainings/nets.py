"""Tiny data and networks, and a slow training loop written for these tests alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from robustnoise.api import Context, SeedStream, TorchClassifier, build, create_model
from robustnoise.data import Split
from robustnoise.models.classifier import memory_layout

SHAPE = (1, 6, 6)
SEED = 5
STREAM = SeedStream(SEED, ("defend",))


def split(n: int = 32) -> Split:
    """Two classes: bright upper half or bright lower half."""
    generator = np.random.default_rng(0)
    labels = np.arange(n) % 2
    images = generator.integers(0, 120, (n, *SHAPE))
    images[labels == 0, :, :3] += 100
    images[labels == 1, :, 3:] += 100
    return Split(np.arange(n), images=images.astype(np.uint8), labels=labels, num_classes=2, name="train")


DATA = split()
IMAGES, LABELS = torch.from_numpy(DATA.floats()), torch.from_numpy(DATA.labels.copy())


def fresh(model: str = "mlp(hidden=8)") -> TorchClassifier:
    return create_model(model, SHAPE, 2, seed=3)


def trained(text: str, model: str = "mlp(hidden=8)", ctx: Context | None = None) -> TorchClassifier:
    found = build(text, "defense").apply(fresh(model), ctx or Context(train=DATA, seed=SEED))
    assert isinstance(found, TorchClassifier)
    return found


def state(classifier: TorchClassifier) -> dict[str, Tensor]:
    return dict(classifier.module.state_dict())


def same(a: TorchClassifier, b: TorchClassifier) -> bool:
    """Equal to the bit."""
    return a.digest == b.digest


Loss = Callable[[nn.Module, Tensor, Tensor, SeedStream], Tensor]
"""Of the network in train mode, images, labels and the step's stream."""


def slow(loss: Loss, epochs: int, batch: int, rate: float, model: str = "mlp(hidden=8)") -> dict[str, Tensor]:
    """The weights after training with AdamW and the triangular rate, nothing else."""
    module = copy.deepcopy(fresh(model).module).requires_grad_(True).train()
    layout = memory_layout(module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.0)
    steps = math.ceil(len(IMAGES) / batch)
    for number in range(epochs * steps):
        epoch, place = divmod(number, steps)
        rows = torch.randperm(len(IMAGES), generator=STREAM.generator("order", epoch))[place * batch :][:batch]
        done = (number + 0.5) / (epochs * steps)
        optimizer.param_groups[0]["lr"] = rate * min(done / 0.2, (1 - done) / 0.8)
        optimizer.zero_grad()
        loss(module, IMAGES[rows].to(memory_format=layout), LABELS[rows], STREAM.child(epoch, place)).backward()
        optimizer.step()
    return dict(module.state_dict())


def close(classifier: TorchClassifier, expected: dict[str, Tensor], atol: float = 2e-5) -> None:
    """All weights are those of the slow loop."""
    for name, value in state(classifier).items():
        torch.testing.assert_close(value, expected[name], atol=atol, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def same_statistics(classifier: TorchClassifier, expected: dict[str, Tensor]) -> None:
    """Norm layers have seen what they saw in the slow loop.

    Their biases would differ by more than rounding: where a channel is dead AdamW steps along the sign of rounding.
    """
    seen = {name: value for name, value in state(classifier).items() if "running" in name or "tracked" in name}
    assert len(seen) >= 6
    for name, value in seen.items():
        torch.testing.assert_close(value, expected[name], atol=1e-3, rtol=1e-2, msg=lambda m, name=name: f"{name}: {m}")


def far(classifier: TorchClassifier, other: TorchClassifier) -> bool:
    """Some weight differs by more than rounding."""
    return any(
        (a - b).abs().max() > 1e-3 for a, b in zip(state(classifier).values(), state(other).values(), strict=True)
    )
