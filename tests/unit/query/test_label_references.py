"""RayS beside its algorithm written out for one image, and HopSkipJump beside ART's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustnoise.data import Dataset, load_dataset
from robustnoise.models import create
from robustnoise.models.classifier import TorchClassifier
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Targets
from robustnoise.seeds import SeedStream
from robustnoise.testing.toys import toy_model, toy_split
from robustnoise.threat import L2, Linf, Norm, ThreatModel
from robustnoise.training import Schedule, fit
from robustnoise_attacks import HopSkipJump, RayS

SEEDS = SeedStream(4, ("attack",))


class Spent(Exception):
    pass


def rays_of_one(victim: TorchClassifier, x: Tensor, y: int, reach: int, budget: int) -> tuple[Tensor, bool, int]:
    """Algorithms 1 to 3 of arXiv 2006.12792 on whole levels, ended inside the ball: image, whether found, queries."""
    size, spent = x.numel(), 0
    best, radius = torch.ones(size), 256

    def at(sign: Tensor, level: int) -> Tensor:
        return (x + (level / 255 * sign).view_as(x)).clamp(0, 1)

    def fools(image: Tensor) -> bool:
        nonlocal spent
        if spent == budget:
            raise Spent
        spent += 1
        return int(victim.predict(image[None], noise=SEEDS).labels) != y

    try:
        if fools(x):
            return x, True, spent
        candidate, stage, block, first = best, 0, 0, True
        while True:
            length = math.ceil(size / 2**stage)
            candidate = best.clone()
            if not first:
                candidate[block * length : (block + 1) * length] *= -1
                block += 1
                if block * length >= size:
                    stage, block = min(stage + 1, math.ceil(math.log2(size))), 0
            first = False
            if not fools(at(candidate, min(radius, 255))):
                continue
            low, high = 0, min(radius, 255)
            try:
                while high - low > 1 and high > reach:
                    middle = reach if low < reach else (low + high) // 2
                    low, high = (low, middle) if fools(at(candidate, middle)) else (middle, high)
            finally:
                best, radius = candidate, high
            if radius <= reach:
                return at(best, radius), True, spent
    except Spent:
        return at(best, min(radius, reach)), False, spent


@pytest.mark.parametrize("reach", [20, 40])
def test_rays_is_its_algorithm(reach: int) -> None:
    victim = toy_model(seed=2)
    data = toy_split(12)
    x = torch.from_numpy(data.floats())
    y = victim.predict(x, noise=SEEDS).labels.detach().clone()
    y[0] = (y[0] + 1) % 3  # wrong as it is
    oracle = CountingOracle(victim, Linf(reach / 255), SEEDS, per_image=150)
    result = RayS().run(oracle, data, Targets(torch.arange(12), x, y), Linf(reach / 255), SEEDS)
    assert result.claimed is not None
    alone = [rays_of_one(victim, x[i], int(y[i]), reach, 150) for i in range(12)]
    assert [spent for _, _, spent in alone] == [oracle.counts[i] for i in range(12)]
    assert [found for _, found, _ in alone] == result.claimed.tolist()
    assert torch.equal(torch.stack([image for image, _, _ in alone]), result.x)
    assert 1 < result.claimed.sum() < 12


@pytest.fixture(scope="module")
def digits() -> tuple[TorchClassifier, Dataset]:
    data = load_dataset("digits")
    x, y = torch.from_numpy(data.train.floats()), torch.from_numpy(data.train.labels.copy())
    net = create("mlp(hidden=64)", data.input_shape, 10)
    return fit(net, x, y, Schedule(5, 0.01, 50), SEEDS.child("train")), data


@pytest.mark.adapter
@pytest.mark.parametrize("threat", [Linf(0.15), L2(0.9)], ids=["linf", "l2"])
def test_hop_skip_jump_is_as_strong_as_arts(digits: tuple[TorchClassifier, Dataset], threat: ThreatModel) -> None:
    """At the rows that ART sent: our robust accuracy is not above theirs by more than the 95 % interval."""
    from art.attacks.evasion import HopSkipJump as Theirs
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    victim, data = digits
    n, rows = 40, 0
    levels = torch.from_numpy(data.evaluation.images[:n].copy())
    x, y = levels.float() / 255, torch.from_numpy(data.evaluation.labels[:n].copy())

    def predict(batch: Any) -> Any:
        nonlocal rows
        rows += len(batch)
        logits = victim.predict(torch.from_numpy(np.asarray(batch, np.float32)), noise=SEEDS).logits
        assert logits is not None
        return logits.softmax(1).numpy()

    model = BlackBoxClassifierNeuralNetwork(predict, data.input_shape, 10, clip_values=(0.0, 1.0))
    norm = np.inf if threat.norm is Norm.LINF else 2
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002 - ART draws from the global generator
    raw = Theirs(model, norm=norm, max_iter=4, max_eval=1000, init_eval=100, verbose=False).generate(
        x.numpy(), y.numpy()
    )
    np.random.set_state(state)  # noqa: NPY002
    oracle = CountingOracle(victim, threat, SEEDS, per_image=rows // n)
    result = HopSkipJump().run(oracle, data.attacker, Targets(torch.arange(n), x, y), threat, SEEDS)
    ours, theirs = (
        (victim.predict(threat.to_levels(levels, image).float() / 255, noise=SEEDS).labels == y).float().mean().item()
        for image in (result.x, torch.from_numpy(raw))
    )
    assert oracle.spent <= rows
    assert 0.05 < theirs < 0.9
    assert ours <= theirs + 1.96 * math.sqrt(2 * theirs * (1 - theirs) / n)
