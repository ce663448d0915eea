"""FGSM, PGD and MI-FGSM against known optima and against Foolbox."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.errors import MissingCapability
from robustnoise.models import create
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Answer, Crafter
from robustnoise.seeds import SeedStream
from robustnoise.threat import L2, Linf, ThreatModel
from robustnoise.training import Schedule, fit
from robustnoise_attacks import FGSM, MIFGSM, PGD
from robustnoise_attacks.gradient.engine import uniform_in_ball

SHAPE = (1, 4, 4)
SEEDS = SeedStream(3, ("craft",))
CRAFTERS = [FGSM(), MIFGSM(), PGD(steps=20, relative_step=0.25), PGD(steps=20, relative_step=0.25, random_start=False)]


def _linear() -> tuple[TorchClassifier, Tensor]:
    """Two classes; the weights w are the gradient's direction everywhere, as (1, 4, 4)."""
    w = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    layer = nn.Linear(16, 2, bias=False)
    layer.weight.data = torch.stack([-w.flatten(), w.flatten()]) * 0.2
    return TorchClassifier(nn.Sequential(nn.Flatten(), layer), SHAPE, 2), w


def _batch(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *SHAPE, generator=generator), torch.randint(0, 2, (n,), generator=generator)


@pytest.fixture(scope="module")
def trained() -> tuple[TorchClassifier, Tensor, Tensor]:
    x, _ = _batch(200, 7)
    y = (x[:, 0, :2].sum((1, 2)) > x[:, 0, 2:].sum((1, 2))).long()
    return fit(create("mlp(hidden=16)", SHAPE, 2), x, y, Schedule(15, 0.02, 50), SEEDS), x, y


def _loss(model: TorchClassifier, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(model.logits(x, noise=SEEDS), y, reduction="none")


@pytest.mark.parametrize("crafter", CRAFTERS, ids=str)
@pytest.mark.parametrize("eps", [8 / 255, 0.3, 1.0])
def test_linf_optimum_of_a_linear_model(crafter: Crafter, eps: float) -> None:
    model, w = _linear()
    x, y = _batch(6)
    away = torch.where(y == 0, 1.0, -1.0).view(-1, 1, 1, 1) * w.sign()
    expected = (x + eps * away).clamp(0, 1)
    assert torch.allclose(crafter.craft(model, x, y, Linf(eps), SEEDS), expected, atol=1e-6)


@pytest.mark.parametrize("crafter", [FGSM(), PGD(steps=200, relative_step=0.2), MIFGSM()], ids=str)
def test_l2_optimum_of_a_linear_model(crafter: Crafter) -> None:
    model, w = _linear()
    _, y = _batch(6)
    x = torch.full((6, *SHAPE), 0.5)  # far from the box, so that the optimum is eps * w / |w|
    away = torch.where(y == 0, 1.0, -1.0).view(-1, 1, 1, 1) * w / w.norm()
    found = crafter.craft(model, x, y, L2(0.4), SEEDS)
    assert torch.allclose(found, x + 0.4 * away, atol=1e-4)


@pytest.mark.parametrize("crafter", CRAFTERS, ids=str)
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.7)], ids=str)
def test_inside_the_ball_and_worse_than_before(
    trained: tuple[TorchClassifier, Tensor, Tensor], crafter: Crafter, threat: ThreatModel
) -> None:
    model, x, y = trained
    found = crafter.craft(model, x, y, threat, SEEDS)
    assert bool((threat.violation(x, found) <= 1e-6).all())
    assert bool(((found >= 0) & (found <= 1)).all())
    assert _loss(model, found, y).mean() > _loss(model, x, y).mean() * 1.5
    assert not found.requires_grad


@pytest.mark.parametrize("crafter", CRAFTERS, ids=str)
def test_a_larger_radius_never_helps_the_victim(
    trained: tuple[TorchClassifier, Tensor, Tensor], crafter: Crafter
) -> None:
    model, x, y = trained
    losses = [
        _loss(model, crafter.craft(model, x, y, Linf(eps), SEEDS), y).mean().item() for eps in (0, 0.02, 0.05, 0.1, 0.2)
    ]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] * 2


@pytest.mark.parametrize("crafter", CRAFTERS, ids=str)
def test_no_radius_returns_a_copy(trained: tuple[TorchClassifier, Tensor, Tensor], crafter: Crafter) -> None:
    model, x, y = trained
    found = crafter.craft(model, x, y, Linf(0), SEEDS)
    assert torch.equal(found, x)
    assert found.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("crafter", CRAFTERS, ids=str)
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.7)], ids=str)
def test_a_row_does_not_depend_on_its_neighbours(
    trained: tuple[TorchClassifier, Tensor, Tensor], crafter: Crafter, threat: ThreatModel
) -> None:
    model, x, y = trained
    others, labels = x.flip(0) * 0.3, 1 - y
    others[17], labels[17] = x[17], y[17]
    first = crafter.craft(model, x, y, threat, SEEDS)[17]
    second = crafter.craft(model, others, labels, threat, SEEDS)[17]
    assert first.numpy().tobytes() == second.numpy().tobytes()


@pytest.mark.parametrize("crafter", CRAFTERS, ids=str)
def test_seeded_and_without_traces(trained: tuple[TorchClassifier, Tensor, Tensor], crafter: Crafter) -> None:
    model, x, y = trained
    digest, before, state = model.digest, x.clone(), torch.get_rng_state()
    with torch.no_grad():  # a caller's no_grad must not stop the attack
        first = crafter.craft(model, x, y, Linf(0.1), SEEDS)
    assert torch.equal(first, crafter.craft(model, x, y, Linf(0.1), SEEDS))
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.digest == digest
    assert all(p.grad is None and not p.requires_grad for p in model.module.parameters())
    other = crafter.craft(model, x, y, Linf(0.1), SEEDS.child("other"))
    assert torch.equal(first, other) == (not getattr(crafter, "random_start", False))


@pytest.mark.parametrize(("threat", "share"), [(Linf(0.2), 0.5), (L2(0.2), 0.5 ** (1 / 16))], ids=str)
def test_the_random_start_is_uniform_in_the_ball(threat: ThreatModel, share: float) -> None:
    """The median distance is eps / 2 for a pixel (l-infinity) and eps * 2^(-1/d) for an image (l2)."""
    x = torch.zeros(4000, *SHAPE)
    draw = uniform_in_ball(x, threat, SEEDS.generator("uniform"))
    sizes = draw.abs().flatten() if threat == Linf(0.2) else draw.flatten(1).norm(dim=1)
    assert sizes.max() <= 0.2 * (1 + 1e-6)
    assert sizes.median().item() == pytest.approx(0.2 * share, rel=0.02)
    assert draw.mean().abs() < 0.002


def test_mi_fgsm_without_momentum_is_pgd_without_a_start(trained: tuple[TorchClassifier, Tensor, Tensor]) -> None:
    model, x, y = trained
    plain = PGD(10, 0.1, random_start=False).craft(model, x, y, Linf(0.1), SEEDS)
    assert torch.equal(MIFGSM(10, 0.1, momentum=0).craft(model, x, y, Linf(0.1), SEEDS), plain)


def test_mi_fgsm_accumulates_l1_normalised_gradients(trained: tuple[TorchClassifier, Tensor, Tensor]) -> None:
    """Algorithm 1 of arXiv 1710.06081, written out for one image."""
    model, images, labels = trained
    x, y = images[:1], labels[:1]
    adv, velocity = x, torch.zeros_like(x)
    for _ in range(5):
        leaf = adv.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(_loss(model, leaf, y).sum(), leaf)
        velocity = 0.9 * velocity + gradient / gradient.abs().sum()
        adv = torch.min(torch.max(adv + 0.02 * velocity.sign(), x - 0.1), x + 0.1).clamp(0, 1)
    found = MIFGSM(5, 0.2, momentum=0.9).craft(model, x, y, Linf(0.1), SEEDS)
    assert torch.allclose(found, adv, atol=1e-6)


def test_a_model_without_gradients_is_refused() -> None:
    class Labels:
        num_classes, input_shape, stochastic, passes, digest = 2, SHAPE, False, 1, "labels"

        def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
            return Answer(torch.zeros(len(x), dtype=torch.int64))

    x, y = _batch(2)
    with pytest.raises(MissingCapability, match="Labels has none"):
        FGSM().craft(Labels(), x, y, Linf(0.1), SEEDS)


@pytest.mark.adapter
@pytest.mark.parametrize("name", ["fgsm", "pgd", "pgd-l2"])
def test_agrees_with_foolbox(trained: tuple[TorchClassifier, Tensor, Tensor], name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import foolbox

    model, x, y = trained
    reference = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
    ours: Crafter
    if name == "fgsm":
        attack, ours, threat = foolbox.attacks.LinfFastGradientAttack(random_start=False), FGSM(), Linf(0.1)
    elif name == "pgd":
        attack = foolbox.attacks.LinfProjectedGradientDescentAttack(rel_stepsize=0.25, steps=7, random_start=False)
        ours, threat = PGD(7, 0.25, random_start=False), Linf(0.1)
    else:
        attack = foolbox.attacks.L2ProjectedGradientDescentAttack(rel_stepsize=0.25, steps=7, random_start=False)
        ours, threat = PGD(7, 0.25, random_start=False), L2(0.5)
    raw = attack.run(reference, x, foolbox.criteria.Misclassification(y), epsilon=threat.eps)
    assert torch.allclose(ours.craft(model, x, y, threat, SEEDS), raw, atol=1e-6)
