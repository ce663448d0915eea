"""An attack that draws from global generators, or seeds them, leaves them to the user as they were."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import robustnoise as rn
from robustnoise.api import AttackResult, AttackTraits, BlackBoxAttack, Oracle, SeedStream, Split, Targets, ThreatModel
from robustnoise.compose import Identity
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.store import Store
from robustnoise.testing import toy_dataset, toy_model


@dataclass(frozen=True)
class Careless(BlackBoxAttack):
    """Seeds and draws from all of them."""

    traits = AttackTraits(queries=False)

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        _ = torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        return AttackResult(targets.x, 0)


def state() -> list[object]:
    return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002


def test_an_attack_leaves_no_global_generator_moved(tmp_path: Path) -> None:
    experiment = Experiment(
        dataset=toy_dataset(8),
        sizes={},
        threat=rn.Linf(0.1),
        budget=rn.Budget(),
        victims=(Victim("net", Identity(), classifier=toy_model()),),
        attacks=(Attack("careless", Careless()),),
        threads=1,
    )
    before = state()
    run(experiment, Store(tmp_path))
    assert state() == before
