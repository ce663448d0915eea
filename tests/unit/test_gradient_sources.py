"""What the gradient crafter makes of noisy sources, restarts and ensembles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.api import Answer, Linf, SeedStream, TorchClassifier
from robustnoise.testing import toy_model, toy_split
from robustnoise_attacks import FGSM, PGD
from robustnoise_attacks.gradient.objective import Objective

SEEDS = SeedStream(3, ("craft",))
SHAPE, CLASSES = (1, 8, 8), 3


def _images(n: int) -> tuple[Tensor, Tensor]:
    split = toy_split(n)
    return torch.from_numpy(split.floats()), torch.from_numpy(split.labels.copy())


class NoisyLinear:
    """Logits ``(W + noise) x`` of a fresh noise for every image, and a count of the questions."""

    num_classes, input_shape, passes, digest = CLASSES, SHAPE, 1, "noisy"

    def __init__(self, sigma: float) -> None:
        self.sigma, self.stochastic, self.asked = sigma, sigma > 0, 0
        self.weight = torch.randn(CLASSES, 64, generator=torch.Generator().manual_seed(9))

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        self.asked += 1
        drawn = torch.randn(len(x), CLASSES, 64, generator=noise.generator("weight"))
        return ((self.weight + self.sigma * drawn) * x.flatten(1)[:, None]).sum(2)

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return Answer(self.logits(x, noise=noise).argmax(1))


def test_the_eot_gradient_is_the_mean_over_draws() -> None:
    """Of the loss ``-z_y`` the gradient is minus the row y of W; its mean over k draws is off by sigma / sqrt(k)."""
    source, (x, y) = NoisyLinear(2.0), _images(50)
    objective = Objective(source, "logit", x, y, SEEDS, draws=100)
    gradient, value, _ = objective.slope(x, SEEDS)
    off = gradient.flatten(1) + source.weight[y]
    assert source.asked == 100
    assert off.pow(2).mean().sqrt().item() == pytest.approx(0.2, rel=0.05)
    assert value.mean().item() == pytest.approx(-(source.weight[y] * x.flatten(1)).sum(1).mean().item(), abs=1)
    found = FGSM(loss="logit", eot=400).craft(source, x, y, Linf(0.1), SEEDS)
    clear = source.weight[y].abs() > 0.5  # five standard errors of the mean
    sign = ((found - x).flatten(1) / 0.1)[clear]
    moved = ((found > 0) & (found < 1)).flatten(1)[clear]
    assert torch.allclose(sign[moved], -source.weight[y].sign()[clear][moved], atol=1e-4)


def test_a_noise_free_source_is_asked_once() -> None:
    source, (x, y) = NoisyLinear(0.0), _images(4)
    FGSM(eot=50).craft(source, x, y, Linf(0.1), SEEDS)
    assert source.asked == 1


def test_restarts_never_lose_an_image() -> None:
    model, x = toy_model(), _images(60)[0]
    y = model.predict(x, noise=SEEDS).labels  # all are right at first

    def wrong(restarts: int) -> tuple[Tensor, Tensor]:
        adv = PGD(3, 0.4, restarts=restarts).craft(model, x, y, Linf(0.04), SEEDS)
        logits = model.logits(adv, noise=SEEDS)
        return logits.argmax(1) != y, functional.cross_entropy(logits, y, reduction="none")

    (one, one_loss), (many, many_loss) = wrong(1), wrong(10)
    assert bool((many | ~one).all())
    assert bool(((many_loss >= one_loss) | (many & ~one)).all())
    assert bool((many_loss > one_loss).any())


def test_a_restart_is_not_chosen_for_a_lucky_draw() -> None:
    """Where the image has no say, the judged share of every run is about that of chance, whatever is chosen."""

    class Blind(NoisyLinear):
        def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
            drawn = torch.randn(len(x), CLASSES, generator=noise.generator("coin"))
            return drawn + 0 * x.flatten(1).sum(1, keepdim=True)

    source, (x, y) = Blind(1.0), _images(400)
    objective = Objective(source, "ce", x, y, SEEDS)
    fooled, _ = objective.judge(x, SEEDS.child("judge"))
    assert fooled.mean().item() == pytest.approx(2 / 3, abs=0.03)
    assert 0.05 < fooled.std() < 0.2  # of single draws it would be 0.47
    adv = PGD(2, restarts=5).craft(source, x, y, Linf(0.1), SEEDS)
    assert torch.equal(adv, PGD(2).craft(source, x, y, Linf(0.1), SEEDS))  # all are alike, so the first stays


# ------------------------------------------------------------------------------------------------------------ ensembles


class Pair:
    """Two nets, as an `Ensembled` source."""

    num_classes, input_shape, stochastic, passes, digest = CLASSES, SHAPE, False, 1, "pair"

    def __init__(self, combine: str) -> None:
        self.members = (toy_model(seed=1), toy_model(seed=2))
        self.combine = combine

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        return sum((m.logits(x, noise=noise) for m in self.members), torch.zeros(len(x), CLASSES)) / 2

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return Answer(self.logits(x, noise=noise).argmax(1))


def test_an_ensemble_is_climbed_by_the_mean_of_logits_or_of_losses() -> None:
    x, y = _images(10)

    def slope(source: Pair | TorchClassifier) -> Tensor:
        leaf = x.clone().requires_grad_(True)
        return torch.autograd.grad(
            functional.cross_entropy(source.logits(leaf, noise=SEEDS), y, reduction="sum"), leaf
        )[0]

    grads = [slope(m) for m in Pair("losses").members]
    found = Objective(Pair("losses"), "ce", x, y, SEEDS).gradient(x, SEEDS, [lambda leaf: leaf])
    assert torch.allclose(found, sum(grads) / 2, atol=1e-7)
    whole = Pair("logits")
    found = Objective(whole, "ce", x, y, SEEDS).gradient(x, SEEDS, [lambda leaf: leaf])
    assert torch.allclose(found, slope(whole), atol=1e-7)  # type: ignore[arg-type]
    assert not torch.allclose(found, sum(grads) / 2, atol=1e-5)
