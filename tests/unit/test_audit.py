"""Audits see the victim's gradients, the whole stack's, and nothing is ranked by them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import robustnoise as rn
from robustnoise.api import (
    Access,
    Answer,
    Classifier,
    Context,
    Defense,
    DefenseTraits,
    Linf,
    MissingCapability,
    SeedStream,
    Softened,
    Split,
    Stage,
    Targets,
    TorchClassifier,
    Wrapper,
    build,
    create,
    create_model,
    fit,
    require_differentiable,
)
from robustnoise.building import describe
from robustnoise.errors import BadParameter
from robustnoise.harness.experiment import Attack, Victim, check_parts
from robustnoise.testing import CoinClassifier, check_plugin, toy_dataset
from robustnoise.training import Schedule
from robustnoise_attacks import APGD, PGD, AuditAttack
from robustnoise_defenses import AdaptiveVote, GaussianInputNoise, Vote

DATA = toy_dataset(60)
SEEDS = SeedStream(2)
CTX = Context(train=DATA.train)


def _tensors(split: Split) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(split.floats()), torch.from_numpy(split.labels.copy())


@pytest.fixture(scope="module")
def net() -> TorchClassifier:
    """A net that has learned the labels of the evaluation images by heart, so that there is something to lose."""
    return fit(
        create_model("mlp(hidden=32)", DATA.input_shape, 3), *_tensors(DATA.evaluation), Schedule(60, 0.01, 20), SEEDS
    )


def test_its_traits_keep_it_out_of_the_ranking() -> None:
    audit = build("audit(apgd(steps=5))", "attack")
    assert audit == AuditAttack(APGD(5))
    traits = audit.traits
    assert (traits.access, traits.queries, traits.audit, traits.control) == (Access.GRADIENTS, False, True, False)
    attack = Attack("worst", audit)
    assert attack.scope == "audit"
    assert attack.own


def test_without_the_victim_it_refuses() -> None:
    x, y = _tensors(DATA.evaluation)
    with pytest.raises(MissingCapability, match=r"audit: crafts on the victim itself.*robustnoise\.evaluate"):
        AuditAttack(APGD()).run(None, DATA.attacker, Targets(torch.arange(60), x, y), Linf(0.1), SEEDS)


def test_evaluate_hands_it_the_victim(net: TorchClassifier) -> None:
    audited = rn.evaluate(net, AuditAttack(PGD(10, 0.25)), data=DATA, threat=rn.Linf(0.05), threads=1)
    blind = rn.evaluate(net, create("attack", "random-noise"), data=DATA, threat=rn.Linf(0.05), threads=1)
    assert audited.victim.clean.accuracy > 0.95
    assert blind.victim.adversarial is not None
    assert audited.victim.adversarial is not None
    assert audited.victim.adversarial.accuracy < 0.3 < blind.victim.adversarial.accuracy
    assert audited.attack is not None
    assert audited.attack["scope"] == "audit"


def test_each_victim_is_crafted_on_for_itself(net: TorchClassifier) -> None:
    other = create_model("mlp(hidden=8)", DATA.input_shape, 3, seed=4)
    record = rn.evaluate(net, AuditAttack(PGD(3, 0.5)), data=DATA, threat=rn.Linf(0.05), reference=other, threads=1)
    alone = rn.evaluate(other, AuditAttack(PGD(3, 0.5)), data=DATA, threat=rn.Linf(0.05), threads=1)
    assert record.reference is not None
    assert record.reference.adversarial is not None
    assert alone.victim.adversarial is not None
    assert record.reference.adversarial.right.tolist() == alone.victim.adversarial.right.tolist()


def test_admix_has_the_attackers_images(net: TorchClassifier) -> None:
    attack = AuditAttack(create("crafter", "admix", steps=3, relative_step=0.5))
    record = rn.evaluate(net, attack, data=DATA, threat=rn.Linf(0.1), threads=1)
    assert record.victim.adversarial is not None
    assert record.victim.adversarial.accuracy < 0.5


# ------------------------------------------------------------------------------------------------------- stacks without


class _Hidden(Wrapper):
    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return Answer(self.inner.predict(x, noise=noise).labels)


@dataclass(frozen=True)
class LabelsAlone(Defense):
    """Hides everything but the label."""

    traits = DefenseTraits(Stage.INFERENCE, differentiable=False)

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return _Hidden(model, self, stochastic=False)


def test_a_stack_without_gradients_is_refused_before_anything_runs() -> None:
    audit = Attack("worst", AuditAttack(APGD()))
    model = create("model", "mlp")

    def check(*stages: Defense, classifier: Classifier | None = None) -> None:
        defense = create("defense", "plain-training")
        for stage in stages:
            defense = defense | stage
        victim = Victim("v", create("defense", "identity") if classifier else defense, model, classifier=classifier)
        check_parts([victim], [audit], Linf(0.1), None)

    check(GaussianInputNoise(0.1), Vote(3))
    check(AdaptiveVote(8))
    with pytest.raises(BadParameter, match=r"'worst' needs the gradients of victim 'v', and none pass through Coin"):
        check(classifier=CoinClassifier(0.5))
    with pytest.raises(BadParameter, match="none pass through .*LabelsAlone"):
        check(Vote(3), LabelsAlone())


# ---------------------------------------------------------------------------------------------------------------- votes


@pytest.mark.parametrize("rule", ["majority", "mean-probability", "mean-logit"])
def test_a_vote_is_climbed_by_the_mean_of_its_passes(net: TorchClassifier, rule: str) -> None:
    noisy = GaussianInputNoise(0.2).apply(net, CTX)
    vote = Vote(5, rule=rule).apply(noisy, CTX)  # type: ignore[arg-type]
    assert isinstance(vote, Softened)
    x = _tensors(DATA.evaluation)[0]
    soft = require_differentiable(vote, "a test")
    passes = torch.stack([noisy.logits(x, noise=SEEDS.child("pass", t)) for t in range(5)])  # type: ignore[attr-defined]
    logits = soft.logits(x, noise=SEEDS)
    if rule == "mean-logit":
        assert torch.allclose(logits, passes.mean(0), atol=1e-6)
    else:
        assert torch.allclose(logits, passes.softmax(2).mean(0).log(), atol=1e-5)
    said = vote.predict(x, noise=SEEDS)
    agrees = (logits.argmax(1) == said.labels).float().mean()
    assert agrees == 1 if rule != "majority" else agrees > 0.9
    assert torch.equal(soft.predict(x, noise=SEEDS).labels, said.labels)
    assert (soft.stochastic, soft.digest, soft.passes) == (True, vote.digest, vote.passes)


NOISE = GaussianInputNoise(0.1)


@pytest.mark.parametrize("defense", [NOISE | Vote(9), NOISE | AdaptiveVote(30), Vote(3) | NOISE], ids=describe)
def test_an_audit_goes_through_noise_and_vote(net: TorchClassifier, defense: Defense) -> None:
    victim = defense.apply(net, CTX)
    x, y = _tensors(DATA.evaluation)
    adv = APGD(10, eot=2).craft(victim, x, y, Linf(0.08), SEEDS)
    before, after = ((victim.predict(i, noise=SEEDS).labels == y).float().mean().item() for i in (x, adv))
    assert before > 0.8
    assert after < before / 2


def test_a_vote_over_labels_alone_stays_closed() -> None:
    vote = Vote(3).apply(CoinClassifier(0.5, num_classes=3), CTX)
    with pytest.raises(MissingCapability, match="CoinClassifier has none"):
        PGD(2).craft(vote, *_tensors(DATA.evaluation), Linf(0.1), SEEDS)


def test_a_stand_in_of_many_passes_averages_the_first(net: TorchClassifier) -> None:
    noisy = GaussianInputNoise(0.2).apply(net, CTX)
    x = _tensors(DATA.evaluation)[0][:5]
    many, few = (Vote(n, rule="mean-logit").apply(noisy, CTX) for n in (1000, 16))
    assert torch.equal(*(require_differentiable(v, "a test").logits(x, noise=SEEDS) for v in (many, few)))


def test_the_contracts_know_audits() -> None:
    check_plugin(AuditAttack(PGD(5, 0.25)))

    class Runs(AuditAttack):
        def run(self, *args: object) -> None:  # type: ignore[override]
            return None

    with pytest.raises(AssertionError, match="contract 'audit': it runs without the victim"):
        check_plugin(Runs(PGD(5, 0.25)))


def test_the_loss_of_a_stand_in_is_finite_where_passes_are_sure(net: TorchClassifier) -> None:
    sure = create_model("mlp(hidden=4)", DATA.input_shape, 3)
    with torch.no_grad():
        for parameter in sure.module.parameters():
            parameter.mul_(50)
    soft = require_differentiable(Vote(2).apply(sure, CTX), "a test")
    logits = soft.logits(_tensors(DATA.evaluation)[0], noise=SEEDS)
    loss = functional.cross_entropy(logits, torch.zeros(60, dtype=torch.int64))
    assert math.isfinite(loss.item())
