"""What needs more than a victim or the threat model shows is refused before anything runs, with what fits instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import robustnoise as rn
from robustnoise.compose import Defense, Identity
from robustnoise.errors import BadParameter, MissingCapability, TargetFailed
from robustnoise.harness.experiment import Attack, Victim, check_parts
from robustnoise.protocols import AttackResult, AttackTraits, BlackBoxAttack, Classifier, Context, access_of
from robustnoise.testing.toys import CLASSES, SHAPE, toy_dataset, toy_model
from robustnoise.threat import Access, Linf, ThreatModel
from robustnoise_attacks import NullAttack
from robustnoise_defenses import AdaptiveVote, GaussianInputNoise, Vote


@dataclass(frozen=True)
class Needs(BlackBoxAttack):
    """An attack that asks for every image once."""

    access: str = "labels"
    audit: bool = False

    @property
    def traits(self) -> AttackTraits:
        return AttackTraits(access=Access.parse(self.access), queries=not self.audit, audit=self.audit)

    def run(self, oracle: Any, seed_data: Any, targets: Any, threat: Any, seeds: Any) -> AttackResult:
        oracle.query(targets.x, targets.ids)
        return AttackResult(targets.x, oracle.spent)


ASK = {
    "labels-only": Needs("labels"),
    "scores-too": Needs("scores"),
    "logits-too": Needs("logits"),
    "audit": Needs("labels", audit=True),
}


def answering(output: Any) -> Classifier:
    def function(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        logits = x.reshape(len(x), -1)[:, :CLASSES]
        return {"labels": logits.argmax(1), "probabilities": logits / logits.sum(1, keepdims=True), "logits": logits}[
            output
        ]

    return rn.models.from_callable(function, name="f", output=output, input_shape=SHAPE, num_classes=CLASSES)


def check(classifier: Classifier, access: str, *names: str, defense: Defense | None = None) -> None:
    victim = Victim("mine", defense or Identity(), classifier=classifier)
    threat = ThreatModel(Linf(0.1).norm, 0.1, Access.parse(access))
    check_parts([victim], [Attack(n, ASK[n]) for n in names], threat, None)


@pytest.mark.parametrize(
    ("output", "access", "names", "words"),
    [
        ("labels", "labels", ("labels-only", "scores-too"), "'scores-too' needs scores, .* 'mine' shows labels"),
        ("logits", "labels", ("labels-only", "scores-too"), "needs scores, .* gives labels alone.* --access scores"),
        ("logits", "scores", ("labels-only", "scores-too", "logits-too"), "fit: labels-only, scores-too"),
        ("labels", "scores", ("labels-only",), "access = scores, but victim 'mine' answers labels alone"),
        ("probabilities", "logits", ("labels-only",), "access = logits, but victim 'mine' answers scores alone"),
        ("logits", "logits", ("labels-only", "audit"), "'audit' needs the gradients .* fit: labels-only"),
        ("labels", "labels", ("scores-too",), "fit: none"),
    ],
)
def test_too_much_access_is_refused_with_what_fits(
    output: str, access: str, names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(BadParameter, match=words):
        check(answering(output), access, *names)


@pytest.mark.parametrize(
    ("output", "access", "names"),
    [
        ("labels", "labels", ("labels-only",)),
        ("probabilities", "scores", ("labels-only", "scores-too")),
        ("logits", "logits", ("labels-only", "scores-too", "logits-too")),
        ("logits", "labels", ("labels-only",)),
    ],
)
def test_what_fits_passes(output: str, access: str, names: tuple[str, ...]) -> None:
    check(answering(output), access, *names)
    check(toy_model(), access, *names, "audit")


def test_a_vote_shows_shares_of_labels_and_hides_logits() -> None:
    check(answering("labels"), "scores", "scores-too", defense=GaussianInputNoise(0.1) | Vote(3))
    check(answering("labels"), "scores", "scores-too", defense=AdaptiveVote(3))
    check(answering("logits"), "logits", "logits-too", defense=Vote(3, rule="mean-logit"))
    with pytest.raises(BadParameter, match="answers scores alone"):
        check(answering("logits"), "logits", "logits-too", defense=Vote(3))
    with pytest.raises(MissingCapability, match="needs the scores of every pass"):
        check(answering("labels"), "labels", "labels-only", defense=Vote(3, rule="mean-probability"))


def test_a_stack_that_is_applied_already_knows_what_it_shows() -> None:
    ctx = Context(seed=0)
    assert access_of(GaussianInputNoise(0.1).apply(answering("labels"), ctx)) is Access.LABELS
    assert access_of((GaussianInputNoise(0.1) | Vote(3)).apply(answering("labels"), ctx)) is Access.SCORES
    assert access_of(toy_model()) is Access.GRADIENTS
    with pytest.raises(MissingCapability, match="mean-logit"):
        Vote(3, rule="mean-logit").apply(answering("probabilities"), ctx)


def test_evaluate_refuses_before_anything_is_asked() -> None:
    asked: list[int] = []

    def count(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        asked.append(len(x))
        return np.zeros(len(x), np.int64)

    victim = rn.models.from_callable(count, name="c", output="labels", input_shape=SHAPE, num_classes=CLASSES)
    data = toy_dataset(20)
    with pytest.raises(BadParameter, match="Attacks that fit: none"):
        rn.evaluate(victim, Needs("scores"), data=data, threat=Linf(0.1))
    assert asked == []
    record = rn.evaluate(victim, Needs("labels"), data=data, threat=Linf(0.1))
    # The probe twice 4, the attack 20, clean and adversarial images 20 each: no padding, nothing else.
    assert sum(asked) == 8 + 20 + 20 + 20
    assert record.victim.queries == 20
    assert record.victim.clean.accuracy == pytest.approx(7 / 20)


def test_a_target_that_is_random_after_all_stops_the_run() -> None:
    calls = iter(range(1000))
    victim = rn.models.from_callable(
        lambda x: np.full(len(x), next(calls) % 2), name="r", output="labels", input_shape=SHAPE, num_classes=CLASSES
    )
    with pytest.raises(TargetFailed, match="declared deterministic"):
        rn.evaluate(victim, NullAttack(), data=toy_dataset(8), threat=Linf(0.1))
