"""Substitutes of several networks through store and bench."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from robustnoise.api import Context, Ensemble, Linf, build
from robustnoise.building import spec_of
from robustnoise.compose import Identity
from robustnoise.harness.bench import Bench
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.protocols import TwoStage
from robustnoise.store import Store
from robustnoise.testing import toy_dataset, toy_model
from robustnoise.threat import Budget

MANY = "independent(copies=11, training=plain-training(epochs=1), model=mlp(hidden=16))"
ASKING = "jacobian(seed_images=5, rounds=1, epochs=1, model=mlp(hidden=16))"


def experiment(attack: str, budget: Budget) -> Experiment:
    return Experiment(
        dataset=toy_dataset(),
        sizes={},
        threat=Linf(0.1),
        budget=budget,
        victims=(Victim("net", Identity(), classifier=toy_model()),),
        attacks=(Attack("attack", build(attack, "attack")),),
        draws=2,
    )


def test_more_than_ten_networks_come_back_from_the_store_in_order(tmp_path: Path) -> None:
    bench = Bench(experiment(f"transfer({MANY}, fgsm)", Budget(seed_examples=40)), Store(tmp_path))
    attack, victim = bench.experiment.attacks[0], bench.experiment.victims[0]
    source = bench._source(attack, bench.source(attack, victim))
    assert isinstance(source, Ensemble)
    assert isinstance(attack.attack, TwoStage)
    substitute = attack.attack.substitute
    seeds = bench.seeds.child("substitute", spec_of(substitute).digest(), "fit").fork()
    data = bench._seed_data()
    expected = substitute.fit(None, data, Context(seed=seeds))
    assert [m.digest for m in source.members] == [n.digest for n in expected]


def test_a_run_of_both_reports_what_was_asked_within_the_total(tmp_path: Path) -> None:
    text = f"transfer(both({MANY}, {ASKING}), fgsm)"
    records = run(experiment(text, Budget(seed_examples=40, total=7)), Store(tmp_path))
    (record,) = [r for r in records if r.attack is not None]
    assert record.attack is not None
    assert record.attack["scope"] == "per-victim"
    assert record.victim.queries == 7


@pytest.mark.parametrize("first", ["quiet", "noisy"])
def test_victims_that_answer_alike_share_a_copy_and_no_bill(tmp_path: Path, first: str) -> None:
    """The same labels make the same copy; only the noisy one is asked five times for each."""
    text = (
        "transfer(knockoff(answers=labels, queries=4, repeats=5, training=plain-training(epochs=1), model=mlp), fgsm)"
    )
    quiet = Victim("quiet", Identity(), classifier=toy_model())
    noisy = Victim("noisy", build("gaussian-input-noise(sigma=0.000001)", "defense"), classifier=toy_model())
    alone = experiment(text, Budget())
    both = replace(alone, victims=(quiet, noisy) if first == "quiet" else (noisy, quiet))
    arms = [record.victim for record in run(both, Store(tmp_path))]
    assert {arm.victim["name"]: arm.queries for arm in arms} == {"quiet": 4, "noisy": 20}
    assert len(list((tmp_path / "cells" / "craft").rglob("*.json"))) == 1
