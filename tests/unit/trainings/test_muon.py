"""Muon for the matrices of hidden layers, AdamW for the rest."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.api import Context, Schedule, TorchClassifier, build, fit
from robustnoise.building import spec_of
from robustnoise.models.classifier import memory_layout
from robustnoise.training import checkpoints
from robustnoise.training.optimizer import MOMENTUM, Optimizer
from tests.unit.trainings.nets import DATA, IMAGES, LABELS, SEED, STREAM, far, fresh, same, state
from tests.unit.trainings.test_hold_out import Interrupting

SCHEDULE = Schedule(epochs=3, learning_rate=0.01, batch_size=8, weight_decay=0.1, muon=0.1)


def _fit(schedule: Schedule = SCHEDULE, model: str = "mlp(hidden=8)", ctx: Context | None = None) -> TorchClassifier:
    return fit(fresh(model), IMAGES, LABELS, schedule, STREAM, ctx=ctx)


def test_a_perceptron_is_trained_as_by_torch_s_own_muon_and_adamw() -> None:
    module = copy.deepcopy(fresh().module).requires_grad_(True).train()
    named = dict(module.named_parameters())
    hidden = [named.pop(name) for name in [n for n, p in named.items() if p.ndim == 2][:-1]]
    assert len(hidden) == 2
    muon = torch.optim.Muon(hidden, lr=0.1, weight_decay=0.1, momentum=MOMENTUM)
    adam = torch.optim.AdamW(named.values(), lr=0.01, weight_decay=0.1)
    steps = math.ceil(len(IMAGES) / 8)
    for number in range(3 * steps):
        epoch, place = divmod(number, steps)
        rows = torch.randperm(len(IMAGES), generator=STREAM.generator("order", epoch))[place * 8 :][:8]
        share = min((done := (number + 0.5) / (3 * steps)) / 0.2, (1 - done) / 0.8)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = 0.1 * share, 0.01 * share
        module.zero_grad()
        functional.cross_entropy(module(IMAGES[rows]), LABELS[rows]).backward()
        muon.step()
        adam.step()
    found = state(_fit())
    for name, value in module.state_dict().items():
        torch.testing.assert_close(found[name], value, msg=lambda m, name=name: f"{name}: {m}")  # type: ignore[misc]


def _step(module: nn.Module, muon: float = 0.1) -> dict[str, Tensor]:
    """By how much each weight moves in one step at the full rate, without decay."""
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = Optimizer(module, Schedule(1, 0.01, 8, muon=muon))
    optimizer.zero_grad()
    functional.cross_entropy(module(IMAGES[:8]), LABELS[:8]).backward()
    optimizer.step(0.2)
    return {name: p.detach() - before[name] for name, p in module.named_parameters()}


def _module(model: str, layout: torch.memory_format | None = None) -> nn.Module:
    module = copy.deepcopy(fresh(model).module).requires_grad_(True).train()
    return module.to(memory_format=layout or memory_layout(module))  # type: ignore[no-any-return]


def test_a_step_of_a_kernel_is_about_orthogonal_and_goes_downhill() -> None:
    module = _module("norm-cnn(width=4)")
    moved = _step(module)
    kernels = {n: p for n, p in module.named_parameters() if p.ndim == 4}
    assert len(kernels) >= 2
    for name, kernel in kernels.items():
        # Newton and Schulz's five steps leave singular values between 0.6 and 1.3 or so.
        gradient = kernel.grad
        assert gradient is not None
        rows, columns = len(kernel), kernel[0].numel()
        values = torch.linalg.svdvals(moved[name].reshape(rows, -1)) / (0.1 * max(1, rows / columns) ** 0.5)
        sound = torch.linalg.svdvals(gradient.reshape(rows, -1))
        large = int((sound > 0.05 * sound[0]).sum())
        assert ((values[:large] > 0.5) & (values[:large] < 1.4)).all(), name
        assert (moved[name] * gradient).sum() < 0, name


def test_the_layout_doesn_t_matter() -> None:
    kept, other = (
        _step(_module("norm-cnn(width=4)", layout)) for layout in (torch.channels_last, torch.contiguous_format)
    )
    for name, moved in kept.items():
        if moved.ndim == 4:
            # Both are rounded to bfloat16 on their way.
            assert (moved - other[name]).abs().max() < 0.05 * moved.abs().max(), name


def test_output_layer_scales_and_shifts_are_adamw_s() -> None:
    with_muon, without = (_step(_module("norm-cnn(width=4)"), muon) for muon in (0.1, 0.0))
    same_steps = {name for name, moved in with_muon.items() if torch.equal(moved, without[name])}
    weights = [name for name, moved in with_muon.items() if moved.ndim > 1]
    assert same_steps == set(with_muon) - set(weights[:-1])


@pytest.mark.parametrize("stop", [4, 7, 11])
def test_an_interrupted_training_goes_on_as_if_it_hadn_t_been(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    context = Context(checkpoint=tmp_path / "partial.safetensors", progress=Interrupting(stop))
    with pytest.raises(KeyboardInterrupt):
        _fit(model="norm-cnn(width=2)", ctx=context)
    resumed = _fit(model="norm-cnn(width=2)", ctx=replace(context, progress=Interrupting(99)))
    assert same(resumed, _fit(model="norm-cnn(width=2)"))
    assert far(resumed, _fit(replace(SCHEDULE, muon=0.0), "norm-cnn(width=2)"))


def test_a_training_names_it_only_where_it_is_asked_for() -> None:
    plain, asked = (build(f"plain-training(epochs=1{more})", "defense") for more in ("", ", muon=0.1"))
    assert "muon" not in spec_of(plain).params
    assert spec_of(asked).params["muon"] == 0.1
    found = [d.apply(fresh(), Context(train=DATA, seed=SEED)) for d in (plain, asked)]
    assert far(*found)
