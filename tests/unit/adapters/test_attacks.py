"""ART's and Foolbox's attacks through our oracle: exact books, repeatable, honest when they are cut off."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustnoise.building import build
from robustnoise.errors import AttackFailed, BadParameter
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Answer, AttackResult, Classifier, Targets
from robustnoise.seeds import SeedStream
from robustnoise.testing import linear_toy, toy_split
from robustnoise.testing.toys import CoinClassifier
from robustnoise.threat import Access, Norm, ThreatModel

ROWS = 4
QUERY_ATTACKS = [
    ("art(SquareAttack, 'max_iter=30')", "linf"),
    ("art(HopSkipJump, 'max_iter=2, init_eval=10, max_eval=20')", "l2"),
    ("art(BoundaryAttack, 'max_iter=5, num_trial=3, sample_size=5')", "l2"),
    ("art(SimBA, 'max_iter=20, epsilon=0.3')", "l2"),
    ("art(ZooAttack, 'max_iter=3')", "l2"),
    ("foolbox(BoundaryAttack, 'steps=10')", "l2"),
    ("foolbox(HopSkipJumpAttack, 'steps=2')", "linf"),
]


class Counting:
    """A victim that keeps every row it is really asked, and says whose it is by the pixel that the tests set."""

    stochastic = False
    passes = 1

    def __init__(self, inner: Classifier) -> None:
        self.inner, self.rows, self.calls = inner, 0, 0
        self.num_classes, self.input_shape, self.digest = inner.num_classes, inner.input_shape, inner.digest
        self.stochastic = inner.stochastic

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.calls += 1
        # Blocks are padded with black images, which no attack here asks about.
        self.rows += int((x.flatten(1).amax(1) > 0).sum())
        assert 0 <= float(x.min()) <= float(x.max()) <= 1
        assert x.dtype == torch.float32
        return self.inner.predict(x, noise=noise)


def images(victim: Classifier | None = None) -> Targets:
    """Random images with the labels that the linear toy gives them."""
    x = torch.from_numpy(toy_split(ROWS, num_classes=2, seed=1).floats())
    y = (victim or linear_toy()).predict(x, noise=SeedStream(0)).labels
    return Targets(torch.arange(10, 10 + ROWS), x, y)


def attack(
    text: str, norm: str, victim: Classifier, targets: Targets, eps: float | None = None, **budget: Any
) -> tuple[AttackResult, CountingOracle]:
    plugin = build(text, "attack")
    size = eps or (0.3 if norm == "linf" else 2.0)
    threat = ThreatModel(Norm(norm), size, plugin.traits.access)
    oracle = CountingOracle(victim, threat, SeedStream(1), **budget)
    return plugin.run(oracle, toy_split(8, num_classes=2), targets, threat, SeedStream(3)), oracle


def global_states() -> list[object]:
    """Of every generator that a library may draw from."""
    state: Any = np.random.get_state()  # noqa: NPY002 - what is watched
    return [torch.get_rng_state().tolist(), state[1].tolist(), state[2], random.getstate(), np.random.RandomState]


@pytest.mark.parametrize(("text", "norm"), QUERY_ATTACKS)
def test_the_books_agree_to_the_row_with_what_the_victim_answered(text: str, norm: str) -> None:
    victim = Counting(linear_toy())
    result, oracle = attack(text, norm, victim, images(), per_image=60, stops=(20,))
    assert result.queries == oracle.spent == victim.rows == sum(oracle.counts.values())
    assert set(oracle.counts) <= set(range(10, 10 + ROWS))
    assert max(oracle.counts.values()) <= 60
    assert result.trace[20].shape == result.x.shape


@pytest.mark.parametrize("total", [0, 1, 9, 41])
def test_a_total_budget_is_kept_and_shared_out(total: int) -> None:
    victim = Counting(linear_toy())
    result, oracle = attack("art(HopSkipJump)", "l2", victim, images(), total=total)
    assert victim.rows == oracle.spent == result.queries <= total
    assert len(oracle.counts) == min(total, ROWS)


@pytest.mark.parametrize(
    ("text", "norm"),
    [("art(SquareAttack)", "linf"), ("art(HopSkipJump)", "linf"), ("art(HopSkipJump)", "l2"),
     ("foolbox(HopSkipJumpAttack)", "linf"), pytest.param("foolbox(BoundaryAttack)", "l2", marks=pytest.mark.slow)],
)  # fmt: skip
def test_with_room_enough_they_solve_the_linear_toy(text: str, norm: str) -> None:
    targets = images()
    result, _ = attack(text, norm, linear_toy(), targets, per_image=300)
    wrong = linear_toy().predict(result.x, noise=SeedStream(0)).labels != targets.y
    assert int(wrong.sum()) >= ROWS - 1


def test_an_attack_that_is_cut_off_hands_in_the_best_row_that_was_asked() -> None:
    """HopSkipJump without end: after 40 rows an image has crossed the boundary, and that row must not be lost."""
    targets = images()
    result, oracle = attack("art(HopSkipJump, 'max_iter=1000')", "l2", linear_toy(), targets, eps=6.0, per_image=40)
    assert all(count <= 40 for count in oracle.counts.values())
    wrong = linear_toy().predict(result.x, noise=SeedStream(0)).labels != targets.y
    assert bool(wrong.all())
    assert not bool((result.x == targets.x).flatten(1).all(1).any())


def test_a_decision_attack_is_not_sent_from_a_wrong_answer_to_the_true_class() -> None:
    right = images()
    targets = right._replace(y=1 - right.y)  # every image is misclassified as it is
    result, _ = attack("art(HopSkipJump)", "l2", linear_toy(), targets, per_image=300)
    wrong = linear_toy().predict(result.x, noise=SeedStream(0)).labels != targets.y
    assert bool(wrong.all())


@pytest.mark.parametrize(("text", "norm"), QUERY_ATTACKS)
def test_the_same_seed_gives_the_same_bytes_and_the_global_generators_stay(text: str, norm: str) -> None:
    victim, targets = linear_toy(), images()
    first, _ = attack(text, norm, victim, targets, per_image=60)
    torch.rand(3)  # what others draw doesn't matter
    before = global_states()
    second, _ = attack(text, norm, victim, targets, per_image=60)
    assert torch.equal(first.x, second.x)
    assert global_states() == before


def test_the_draws_of_a_victim_are_not_moved_by_an_attack() -> None:
    """The same rows without the attack get the same answers: no seed of a library reaches the victim's noise."""
    asked: list[tuple[Tensor, Tensor, Tensor]] = []

    class Recording(CountingOracle):
        def query(self, x: Tensor, ids: Tensor) -> Answer:
            answer = super().query(x, ids)
            asked.append((x.clone(), ids.clone(), answer.labels.clone()))
            return answer

    coin, threat = CoinClassifier(0.7), ThreatModel(Norm.L2, 2.0, Access.LABELS)
    targets = images()._replace(y=torch.zeros(ROWS, dtype=torch.int64))
    plugin = build("art(HopSkipJump, 'max_iter=3')", "attack")
    plugin.run(Recording(coin, threat, SeedStream(1), per_image=80), None, targets, threat, SeedStream(3))
    replayed = CountingOracle(coin, threat, SeedStream(1))
    assert len(asked) > 10
    assert all(torch.equal(replayed.query(x, ids).labels, labels) for x, ids, labels in asked)
    assert len({labels.tolist()[0] for _, _, labels in asked}) > 1  # and they are draws


def test_an_image_is_attacked_alike_wherever_it_stands() -> None:
    targets = images()
    text = "art(SquareAttack, 'max_iter=30')"
    together, _ = attack(text, "linf", linear_toy(), targets, per_image=60)
    alone, _ = attack(text, "linf", linear_toy(), Targets(*(part[2:3] for part in targets)), per_image=60)
    assert torch.equal(together.x[2:3], alone.x)


def test_a_score_attack_asks_for_scores_and_a_decision_attack_for_labels() -> None:
    assert build("art(SquareAttack)", "attack").traits.access is Access.SCORES
    assert build("art(HopSkipJump)", "attack").traits.access is Access.LABELS
    assert build("foolbox(BoundaryAttack)", "attack").traits.access is Access.LABELS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("art(SquarAttack)", "Did you mean 'SquareAttack'"),
        ("art(SquareAttack, 'max_itr=3')", "Did you mean 'max_iter'"),
        ("art(SquareAttack, 'max_iter=many')", "expected a value like its default, 100"),
        ("art(SquareAttack, 'targeted=true')", "the adapter's to give|unknown option"),
        ("art(HopSkipJump, 'targeted=true')", "the adapter's to give"),
        ("art(ProjectedGradientDescent)", r"transfer\(independent, art-crafter\(ProjectedGradientDescent\)\)"),
        ("art(SquareAttack, release='0.1')", "installed is ART"),
        ("foolbox(LinfPGD)", "needs gradients"),
        ("foolbox(BoundaryAtack)", "Did you mean 'BoundaryAttack'"),
        ("foolbox(BoundaryAttack, 'tensorboard=none')", "the adapter's to give"),
        ("foolbox(SpatialAttack)", "no such attack"),
        ("art(SquareAttack, 'max_iter=3) | pgd(steps=3')", "expected"),
        ("art(SquareAttack, 'max_iter=pgd(steps=3)')", "not a plugin"),
        ("art(SquareAttack, '30')", "key=value"),
    ],
)
def test_what_is_wrong_is_said_when_the_plugin_is_built(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(text, "attack")


def test_another_norm_than_foolbox_measures_is_refused() -> None:
    with pytest.raises(BadParameter, match="measures perturbations in l2, the threat model in linf"):
        attack("foolbox(BoundaryAttack)", "linf", linear_toy(), images())


def test_a_crash_names_library_version_attack_and_what_to_do() -> None:
    with pytest.raises(
        AttackFailed, match=r"ART 1\.\d+\.\d+: GeoDA: AttributeError: .*np\.mat.* NumPy 1: take another"
    ):
        attack("art(GeoDA)", "l2", linear_toy(), images())


def test_nonsense_pixels_are_a_crash_and_no_query() -> None:
    """ART's Square divides by zero in l2 on images this small."""
    victim = Counting(linear_toy())
    with pytest.raises(AttackFailed, match=r"SquareAttack: ValueError: it asks about \(1, 1, 8, 8\), finite: False"):
        attack("art(SquareAttack)", "l2", victim, images())


def test_an_abstention_is_shown_as_wrong() -> None:
    class Silent(Counting):
        def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
            return Answer(torch.full((len(x),), -1))

    result, oracle = attack("art(SquareAttack)", "linf", Silent(linear_toy()), images(), per_image=60)
    assert oracle.spent <= 2 * ROWS  # there is nothing left to do
    assert torch.equal(result.x, images().x)
