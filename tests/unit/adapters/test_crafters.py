"""Gradient attacks of ART and Foolbox on a substitute, and ART's extraction attacks as substitutes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.building import build
from robustnoise.errors import AttackFailed, BadParameter, MissingCapability
from robustnoise.models.classifier import TorchClassifier, Wrapper
from robustnoise.models.files import classifier_bytes
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Answer, Context
from robustnoise.seeds import SeedStream
from robustnoise.testing import linear_optimum, linear_toy, toy_model, toy_split
from robustnoise.testing.toys import CoinClassifier
from robustnoise.threat import Access, Norm, ThreatModel

X = torch.from_numpy(toy_split(8, num_classes=2, seed=1).floats())


def craft(text: str, norm: str, source: TorchClassifier, eps: float | None = None) -> tuple[Tensor, Tensor]:
    """Images and the labels they were crafted against."""
    y = source.predict(X, noise=SeedStream(0)).labels.clone()
    threat = ThreatModel(Norm(norm), eps or (0.1 if norm == "linf" else 1.0))
    return build(text, "crafter").craft(source, X, y, threat, SeedStream(3)), y


def loss(model: TorchClassifier, x: Tensor, y: Tensor) -> float:
    return functional.cross_entropy(model.logits(x, noise=SeedStream(0)), y).item()


@pytest.mark.parametrize(
    ("text", "norm"),
    [
        ("art-crafter(ProjectedGradientDescent, 'max_iter=20')", "linf"),
        ("art-crafter(ProjectedGradientDescent, 'max_iter=20')", "l2"),
        ("art-crafter(FastGradientMethod)", "linf"),
        ("art-crafter(AutoProjectedGradientDescent, 'max_iter=20')", "linf"),
        ("art-crafter(MomentumIterativeMethod, 'max_iter=20')", "linf"),
        ("foolbox-crafter(LinfPGD)", "linf"),
        ("foolbox-crafter(L2PGD)", "l2"),
        ("foolbox-crafter(FGSM)", "linf"),
    ],
)
def test_a_maximiser_gets_near_the_optimum_of_the_linear_toy(text: str, norm: str) -> None:
    toy = linear_toy()
    x, y = craft(text, norm, toy)
    best = loss(toy, linear_optimum(toy, X, y, ThreatModel(Norm(norm), 0.1 if norm == "linf" else 1.0)), y)
    clean = loss(toy, X, y)
    assert loss(toy, x, y) > clean + 0.8 * (best - clean)  # 40 short steps from a random start don't get all the way


@pytest.mark.parametrize(
    ("text", "norm"),
    [
        ("art-crafter(CarliniL2Method, 'max_iter=20')", "l2"),
        ("art-crafter(DeepFool)", "l2"),
        ("foolbox-crafter(L2CarliniWagnerAttack, 'steps=200, stepsize=0.05')", "l2"),
        ("foolbox-crafter(L2DeepFoolAttack)", "l2"),
        ("foolbox-crafter(LInfFMNAttack, 'steps=30')", "linf"),
    ],
)
def test_a_minimiser_crosses_the_boundary(text: str, norm: str) -> None:
    source = linear_toy()
    x, y = craft(text, norm, source, eps=2.0 if norm == "l2" else 0.3)
    wrong = source.predict(x, noise=SeedStream(0)).labels != y
    assert int(wrong.sum()) >= 6


def test_the_step_keeps_its_share_of_eps_unless_it_is_given() -> None:
    """ART's steps are absolute: 0.1 at its default radius of 0.3; one step of it must not jump over a ball of 0.03."""
    toy = linear_toy()
    x, _ = craft("art-crafter(BasicIterativeMethod, 'max_iter=1')", "linf", toy, eps=0.03)
    assert (x - X).abs().max().item() == pytest.approx(0.01, abs=1e-6)
    x, _ = craft("art-crafter(BasicIterativeMethod, 'max_iter=1, eps_step=0.02')", "linf", toy, eps=0.03)
    assert (x - X).abs().max().item() == pytest.approx(0.02, abs=1e-6)


def test_a_crash_on_the_substitute_names_the_attack() -> None:
    with pytest.raises(AttackFailed, match=r"ART 1\..*: CarliniL2Method: ValueError: .*"):
        craft("art-crafter(CarliniL2Method, 'binary_search_steps=-1')", "l2", toy_model())


def test_a_source_without_gradients_is_refused() -> None:
    threat = ThreatModel(Norm.LINF, 0.1)
    with pytest.raises(MissingCapability, match="needs logits with gradients"):
        crafter = build("foolbox-crafter(LinfPGD)", "crafter")
        crafter.craft(CoinClassifier(0.9), X, torch.zeros(len(X), dtype=torch.int64), threat, SeedStream(0))


def test_another_norm_than_foolbox_measures_is_refused() -> None:
    with pytest.raises(BadParameter, match="measures perturbations in linf|measures perturbations in l2"):
        craft("foolbox-crafter(L2PGD)", "linf", toy_model())


# ---------------------------------------------------------------------------------------------------------- extraction


class _Labels(Wrapper):
    """A victim of 3 classes that a small net can learn: the brightest third of the image."""

    def __init__(self) -> None:
        self.num_classes, self.input_shape, self.stochastic, self.passes, self.digest = 3, (1, 6, 6), False, 1, "x"

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        scores = (20 * x.view(len(x), 3, -1).mean(2)).softmax(1)
        return Answer(scores.argmax(1), scores)


DATA = toy_split(600, (1, 6, 6), 3, seed=4)


@pytest.mark.parametrize(
    "text",
    [
        "art-extraction(CopycatCNN, 'nb_epochs=30', learning_rate=0.01, model=mlp(hidden=32))",
        "art-extraction(KnockoffNets, 'nb_epochs=30', learning_rate=0.01, model=mlp(hidden=32))",
        "art-extraction(KnockoffNets, 'nb_epochs=30, use_probability=true', learning_rate=0.01, model=mlp(hidden=32))",
    ],
)
def test_a_stolen_net_agrees_with_the_victim_and_can_be_stored(text: str) -> None:
    plugin = build(text, "substitute")
    assert plugin.traits.access is (Access.SCORES if "use_probability" in text else Access.LABELS)
    oracle = CountingOracle(_Labels(), ThreatModel(Norm.LINF, 0.1, plugin.traits.access), SeedStream(1), total=500)
    (net,) = plugin.fit(oracle, DATA, Context(seed=SeedStream(5)))
    assert oracle.spent == sum(oracle.counts.values()) == 500
    assert set(oracle.counts) <= set(DATA.ids.tolist())
    assert isinstance(net, TorchClassifier)
    assert classifier_bytes(net)
    fresh = torch.from_numpy(toy_split(400, (1, 6, 6), 3, seed=9).floats())
    agreed = net.predict(fresh, noise=SeedStream(0)).labels == _Labels().predict(fresh, noise=SeedStream(0)).labels
    assert agreed.float().mean().item() > 0.75  # chance is a third


def test_an_adaptive_knockoff_spends_one_query_an_image() -> None:
    options = "sampling_strategy=adaptive, reward=cert, nb_epochs=1, nb_stolen=20"
    text = f"art-extraction(KnockoffNets, '{options}', model=mlp(hidden=8))"
    oracle = CountingOracle(_Labels(), ThreatModel(Norm.LINF, 0.1), SeedStream(1))
    build(text, "substitute").fit(oracle, DATA, Context(seed=SeedStream(5)))
    assert oracle.spent == 20


def test_an_extraction_that_ends_in_no_net_is_refused() -> None:
    with pytest.raises(BadParameter, match="It has: CopycatCNN, KnockoffNets"):
        build("art-extraction(FunctionallyEquivalentExtraction)", "substitute")
