"""APGD against its algorithm written out for one image, known optima and ART's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.api import (
    L2,
    Answer,
    BadParameter,
    Linf,
    Norm,
    Schedule,
    SeedStream,
    ThreatModel,
    TorchClassifier,
    create_model,
    fit,
)
from robustnoise.testing import linear_optimum, linear_toy, toy_split
from robustnoise_attacks import APGD, PGD
from robustnoise_attacks.gradient.apgd import _on_the_sphere, _Schedule
from robustnoise_attacks.gradient.objective import LOSSES

SEEDS = SeedStream(5, ("craft",))
SHAPE, CLASSES = (1, 8, 8), 4


@pytest.fixture(scope="module")
def trained() -> tuple[TorchClassifier, Tensor, Tensor]:
    """A net that tells which quarter of the image is brightest."""
    split = toy_split(400, num_classes=CLASSES)
    x = torch.from_numpy(split.floats())
    y = torch.stack([part.mean((1, 2, 3)) for part in x.split(2, dim=2)], 1).argmax(1)
    return fit(create_model("mlp(hidden=32)", SHAPE, CLASSES), x, y, Schedule(20, 0.01, 50), SEEDS), x, y


def _one_image(
    model: TorchClassifier, x: Tensor, y: Tensor, start: Tensor, threat: ThreatModel, steps: int, loss: str
) -> Tensor:
    """Algorithm 1 of arXiv 2003.01690 for a single image, line by line, with a list of all it has seen."""

    def at(point: Tensor) -> tuple[float, Tensor]:
        leaf = point.clone().requires_grad_(True)
        logits = model.logits(leaf, noise=SEEDS)
        value = LOSSES[loss](logits, y)[0]
        seen.append((bool(logits.argmax() != y), value.item(), point))
        return value.item(), torch.autograd.grad(value, leaf)[0]

    def step(point: Tensor, gradient: Tensor, eta: float) -> Tensor:
        unit = gradient.sign() if threat.norm is Norm.LINF else gradient / gradient.norm()
        return threat.project(x, point + eta * unit)

    seen: list[tuple[bool, float, Tensor]] = []
    checkpoints = [0]
    window, least, closer = max(1, int(0.22 * steps)), max(1, int(0.06 * steps)), max(1, int(0.03 * steps))
    while checkpoints[-1] + window <= steps:
        checkpoints.append(checkpoints[-1] + window)
        window = max(window - closer, least)
    values = [at(start)[0]]
    best, best_value, eta = start, values[0], 2 * threat.eps
    eta_before, best_before = -1.0, values[0]  # whether the best stays is not asked at the first checkpoint
    before, current = start, start
    for k in range(steps):
        moved = step(current, at(current)[1], eta)
        if k:
            moved = threat.project(x, current + 0.75 * (moved - current) + 0.25 * (current - before))
        before, current = current, moved
        values.append(at(current)[0])
        if values[-1] > best_value:
            best, best_value = current, values[-1]
        if k + 1 in checkpoints:
            first = checkpoints[checkpoints.index(k + 1) - 1]
            rises = sum(values[i + 1] > values[i] for i in range(first, k + 1))
            halve = rises <= 0.75 * (k + 1 - first) or (eta == eta_before and best_value == best_before)
            eta_before, best_before = eta, best_value
            if halve:
                eta, current = eta / 2, best
    return max(seen, key=lambda point: point[:2])[2]


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.4)], ids=lambda t: t.norm.value)
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_each_image_goes_the_way_of_the_paper(
    trained: tuple[TorchClassifier, Tensor, Tensor], threat: ThreatModel, loss: str
) -> None:
    model, x, y = trained
    x, y = x[:8], y[:8]
    found = APGD(30, loss=loss).craft(model, x, y, threat, SEEDS)
    start = threat.project(x, x + _on_the_sphere(x, threat, SEEDS.generator("start")))
    for i in range(len(x)):
        one = slice(i, i + 1)
        expected = _one_image(model, x[one], y[one], start[one], threat, 30, loss)
        assert torch.allclose(found[one], expected, atol=1e-4), i


def test_the_checkpoints_of_a_hundred_steps() -> None:
    """22, then 3 closer each time, never closer than 6; at each the images whose loss seldom rose halve their step."""
    schedule = _Schedule(100, torch.zeros(2))
    at, value = [], torch.zeros(2)
    for number in range(1, 101):
        value = value + torch.tensor([1.0, -1.0])
        halved = schedule.halves(value, value.clamp_min(0))
        if halved is not None:
            at.append(number)
            assert halved.tolist() == [False, True]
    assert at == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=lambda t: t.norm.value)
def test_the_optimum_of_a_linear_model(threat: ThreatModel) -> None:
    split = toy_split(20, num_classes=2)
    x, y = 0.4 + 0.2 * torch.from_numpy(split.floats()), torch.from_numpy(split.labels.copy())
    toy = linear_toy()
    found = APGD().craft(toy, x, y, threat, SEEDS)
    assert torch.allclose(found, linear_optimum(toy, x, y, threat), atol=1e-3)
    with pytest.raises(BadParameter, match="loss = dlr: needs at least 3 classes"):
        APGD(loss="dlr").craft(toy, x, y, threat, SEEDS)


@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.5)], ids=lambda t: t.norm.value)
def test_the_start_is_on_the_sphere(threat: ThreatModel) -> None:
    draw = _on_the_sphere(torch.zeros(50, *SHAPE), threat, SEEDS.generator("x")).flatten(1)
    sizes = draw.abs().amax(1) if threat.norm is Norm.LINF else draw.norm(dim=1)
    assert sizes.tolist() == pytest.approx([threat.eps] * 50, rel=1e-5)


def _robust(model: TorchClassifier, adv: Tensor, y: Tensor) -> float:
    return (model.predict(adv, noise=SEEDS).labels == y).float().mean().item()


@pytest.mark.parametrize("threat", [Linf(0.04), L2(0.3)], ids=lambda t: t.norm.value)
def test_it_is_no_weaker_than_pgd_and_restarts_never_lose_an_image(
    trained: tuple[TorchClassifier, Tensor, Tensor], threat: ThreatModel
) -> None:
    model, x, y = trained
    x, y = x[:100], y[:100]
    pgd = _robust(model, PGD(50, 0.1).craft(model, x, y, threat, SEEDS), y)
    one = APGD(50).craft(model, x, y, threat, SEEDS)
    five = APGD(50, restarts=5).craft(model, x, y, threat, SEEDS)
    assert 0.05 < pgd < 0.95
    assert _robust(model, one, y) <= pgd + 0.01
    wrong = [model.predict(adv, noise=SEEDS).labels != y for adv in (one, five)]
    assert bool((wrong[1] | ~wrong[0]).all())


@pytest.mark.adapter
@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("threat", [Linf(0.04), L2(0.3)], ids=lambda t: t.norm.value)
def test_it_is_no_weaker_than_arts(
    trained: tuple[TorchClassifier, Tensor, Tensor], threat: ThreatModel, loss: str
) -> None:
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    model, x, y = trained
    theirs = PyTorchClassifier(model.module, torch.nn.CrossEntropyLoss(), SHAPE, CLASSES, clip_values=(0, 1))
    attack = AutoProjectedGradientDescent(
        theirs, norm="inf" if threat.norm is Norm.LINF else 2, eps=threat.eps, eps_step=2 * threat.eps, max_iter=30,
        nb_random_init=1, batch_size=len(x), verbose=False,
        loss_type="cross_entropy" if loss == "ce" else "difference_logits_ratio",
    )  # fmt: skip
    adv = torch.from_numpy(attack.generate(x.numpy(), functional.one_hot(y, CLASSES).numpy()))
    ours = APGD(30, loss=loss).craft(model, x, y, threat, SEEDS)
    assert _robust(model, ours, y) <= _robust(model, adv, y) + 0.015


def test_on_a_noisy_source_it_climbs_the_mean_of_draws(trained: tuple[TorchClassifier, Tensor, Tensor]) -> None:
    """Noise that single gradients drown in; the mean of 32 draws still points the way."""
    model, x, y = trained

    class Noisy:
        num_classes, input_shape, stochastic, passes, digest = CLASSES, SHAPE, True, 1, "noisy"

        def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
            return model.logits(x + 0.5 * torch.randn(x.shape, generator=noise.generator("n")), noise=noise)

        def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
            return Answer(self.logits(x, noise=noise).argmax(1))

    source, x, y = Noisy(), x[:100], y[:100]
    losses = []
    for eot in (1, 32):
        adv = APGD(15, eot=eot).craft(source, x, y, Linf(0.1), SEEDS)
        drawn = [functional.cross_entropy(source.logits(adv, noise=SEEDS.child("fresh", k)), y) for k in range(50)]
        losses.append(torch.stack(drawn).mean().item())
    assert losses[1] > losses[0] * 1.02
