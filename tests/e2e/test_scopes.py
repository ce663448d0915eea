"""What the harness makes of attacks that ask along a budget, of audits, and of substitutes of several networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robustnoise.api import (
    Access,
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    BudgetExceeded,
    Classifier,
    Context,
    Crafter,
    Identity,
    Modular,
    Oracle,
    SeedStream,
    Split,
    Substitute,
    Targets,
    ThreatModel,
    create,
    require_modular,
)
from robustnoise.errors import AttackFailed, BadParameter
from robustnoise.harness.bench import Bench
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.records import EvaluationRecord
from robustnoise.report.queries import query_views
from robustnoise.report.views import row_view
from robustnoise.store import Store
from robustnoise.testing import linear_toy, toy_dataset
from robustnoise.threat import Budget, Linf
from robustnoise_attacks import TransferAttack
from robustnoise_attacks.query.asking import Asker

SHAPE = (1, 6, 6)


@dataclass(frozen=True)
class Walk(BlackBoxAttack):
    """Every query goes one pixel level further along the known direction; claims what it has seen wrong."""

    @property
    def traits(self) -> AttackTraits:
        return AttackTraits(Access.LABELS)

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        assert oracle is not None
        asker, step = Asker(oracle, targets, threat, queries=100), _away(targets)
        claimed = torch.zeros(len(targets.ids), dtype=torch.bool)
        with asker.until_spent():
            for number in range(1, 21):
                x = threat.project(targets.x, targets.x + number / 255 * step)
                rows = asker.can_pay(1).nonzero()[:, 0]
                wrong = asker.wrong(x[rows], rows)
                asker.best[rows] = x[rows]
                claimed[rows] = wrong > 0.5
        return AttackResult(asker.best, asker.queries, claimed, asker.trace)


@dataclass(frozen=True)
class Ascend(Crafter):
    """One sign step along the source's gradient of the true class."""

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        leaf = x.clone().requires_grad_(True)
        logits = source.logits(leaf, noise=seeds)  # type: ignore[attr-defined]
        (gradient,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), leaf)
        return threat.project(x, x - threat.eps * gradient.sign())


@dataclass(frozen=True)
class Look(BlackBoxAttack):
    """An audit."""

    crafter: Crafter

    @property
    def traits(self) -> AttackTraits:
        return AttackTraits(Access.GRADIENTS, queries=False, audit=True)


@dataclass(frozen=True)
class Two(Substitute):
    """The second of two stored networks, which alone is any good."""

    traits = AttackTraits(queries=False)

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> tuple[Modular, ...]:
        nets = [
            create("defense", "plain-training", epochs=epochs).apply(
                _fresh(seed_data), replace(ctx, train=seed_data, checkpoint=None)
            )
            for epochs in (1, 2)
        ]
        return tuple(require_modular(net, "a net") for net in nets)

    def source(self, networks: tuple[Classifier, ...], seed_data: Split, ctx: Context) -> Classifier:  # type: ignore[override]
        assert len(networks) == 2
        return networks[1]


@dataclass(frozen=True)
class Asking(Substitute):
    """Asks once about every image."""

    traits = AttackTraits(Access.LABELS)

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> tuple[Modular, ...]:
        assert oracle is not None
        oracle.query(torch.from_numpy(seed_data.floats(0, len(seed_data))), torch.from_numpy(seed_data.ids.copy()))
        return Two().fit(None, seed_data, ctx)

    def source(self, networks: tuple[Classifier, ...], seed_data: Split, ctx: Context) -> Classifier:  # type: ignore[override]
        return networks[0]


@dataclass(frozen=True)
class Strangers(BlackBoxAttack):
    """Asks in the name of images that don't exist, whose budgets nobody has spent."""

    traits = AttackTraits(Access.LABELS)

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        assert oracle is not None
        oracle.query(targets.x, targets.ids + 1000)
        return AttackResult(targets.x, oracle.spent)


def _fresh(data: Split) -> Classifier:
    from robustnoise.api import create_model

    return create_model(create("model", "mlp", hidden=16), data.input_shape, data.num_classes, seed=SeedStream(1))


def _away(targets: Targets) -> Tensor:
    weight = linear_toy(SHAPE).module.get_parameter("1.weight")[0].view(SHAPE)
    return torch.where(targets.y == 0, -1.0, 1.0).view(-1, 1, 1, 1) * weight.sign()


def _experiment(attack: BlackBoxAttack, **changes: object) -> Experiment:
    known = {
        "dataset": toy_dataset(40, SHAPE, 2),
        "sizes": {},
        "threat": Linf(0.1),
        "budget": Budget(per_image=20, stops=(5, 10)),
        "victims": (Victim("toy", Identity(), classifier=linear_toy(SHAPE)),),
        "attacks": (Attack("it", attack),),
        "threads": 1,
    }
    return Experiment(**(known | changes))  # type: ignore[arg-type]


def test_an_attack_is_scored_along_its_budget(tmp_path: Path) -> None:
    (record,) = run(_experiment(Walk()), Store(tmp_path))
    arm = record.victim
    assert arm.queries == 20 * 40
    assert set(arm.curve) == {5, 10}
    bench = Bench(_experiment(Walk()), Store(tmp_path), compute=False)
    from robustnoise.store import unpack_arrays

    victim, attack = bench.experiment.victims[0], bench.experiment.attacks[0]
    images = unpack_arrays(bench.store.read(bench.images(attack, victim), "images"))
    clean = bench.experiment.dataset.evaluation.images.astype(int)
    for name, levels in (("x@5", 5), ("x@10", 10), ("x", 20)):
        assert np.abs(images[name].astype(int) - clean).max() == levels
    assert arm.adversarial is not None
    right = [arm.curve[5].right.sum(), arm.curve[10].right.sum(), arm.adversarial.right.sum()]
    assert right[0] > right[1] > right[2]
    assert arm.claimed is not None
    # The victim isn't random: what was seen to be wrong is wrong.
    assert (arm.claimed == (arm.adversarial.right == 0)).all()
    view = row_view(record, ranked=True)
    assert (view.claimed, view.claimed_wrong) == (int(arm.claimed.sum()), 1.0)
    again = EvaluationRecord.from_json(record.to_json())
    assert again.outcome == record.outcome
    (curve,) = query_views([record])
    assert [p.value for p in curve.lines[0].points] == [5, 10, 20]
    assert [round(p.accuracy.value * 40) for p in curve.lines[0].points] == right


def test_a_run_short_of_queries_keeps_what_it_had(tmp_path: Path) -> None:
    (record,) = run(_experiment(Walk(), budget=Budget(total=100, stops=(1, 2))), Store(tmp_path))
    assert record.victim.queries == 80  # two rounds of 40; the third would go over
    assert record.victim.adversarial is not None
    assert (record.victim.curve[2].right == record.victim.adversarial.right).all()


def test_what_a_substitute_asked_is_counted(tmp_path: Path) -> None:
    experiment = _experiment(TransferAttack(Asking(), create("crafter", "pgd", steps=2)), budget=Budget())
    (record,) = run(experiment, Store(tmp_path))
    assert record.victim.queries == len(experiment.dataset.attacker) > 0


def test_an_attack_asks_about_its_own_images_alone(tmp_path: Path) -> None:
    with pytest.raises(AttackFailed, match="is not under attack"):
        run(_experiment(Strangers(), budget=Budget(per_image=1)), Store(tmp_path))


def test_an_audit_crafts_on_each_victim_and_needs_no_access(tmp_path: Path) -> None:
    toys = (linear_toy(SHAPE), linear_toy(SHAPE, seed=1))
    victims = tuple(Victim(f"toy {i}", Identity(), classifier=toy) for i, toy in enumerate(toys))
    records = run(_experiment(Look(Ascend()), victims=victims), Store(tmp_path))
    assert [r.attack and r.attack["scope"] for r in records] == ["audit", "audit"]
    for record in records:
        assert record.victim.adversarial is not None
        assert record.victim.adversarial.accuracy < record.victim.clean.accuracy
        assert record.victim.queries == 0


def test_a_substitute_of_two_networks_is_stored_and_joined(tmp_path: Path) -> None:
    attack = TransferAttack(Two(), create("crafter", "pgd", steps=2))
    (record,) = run(_experiment(attack), Store(tmp_path))
    bench = Bench(_experiment(attack), Store(tmp_path), compute=False)
    cell = bench.source(bench.experiment.attacks[0], bench.experiment.victims[0])
    assert sorted(cell.outputs) == ["weights", "weights-1"]
    assert cell.outputs["weights"] != cell.outputs["weights-1"]
    assert record.victim.agreement is not None


@pytest.mark.parametrize("stops", [(0,), (5, 5), (7, 3), (20,), (1.5,)])
def test_stops_rise_within_the_budget(stops: tuple[int, ...]) -> None:
    with pytest.raises(BadParameter, match="stops"):
        Budget(per_image=20, stops=stops)


def test_the_oracle_says_what_is_left_for_an_image() -> None:
    from robustnoise.oracle import UNLIMITED, CountingOracle

    toy, ids = linear_toy(SHAPE), torch.tensor([7, 3, 7])
    x = torch.full((3, *SHAPE), 0.5)
    oracle = CountingOracle(toy, Linf(0.1), SeedStream(0), per_image=3)
    oracle.query(x, ids)
    assert oracle.left(torch.tensor([3, 7, 99])).tolist() == [2, 1, 3]
    with pytest.raises(BudgetExceeded, match="image 7: 2 queries refused: 2 of 3"):
        oracle.query(x, ids)
    assert oracle.counts == {3: 1, 7: 2}
    free = CountingOracle(toy, Linf(0.1), SeedStream(0))
    assert free.left(ids).tolist() == [UNLIMITED] * 3
