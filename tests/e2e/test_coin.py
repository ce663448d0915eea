"""The input-blind coin: right with probability p whatever it is shown, so no attack can do anything to it.

A harness that filters results by one lucky draw reports p^3 to p^5. Ours must give p back, single and in the worst case
over attacks, p^m to an attacker who asks m times, and (1 - p)^R of images wrong in all R draws.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import robustnoise as rn
from robustnoise import stats
from robustnoise.building import build
from robustnoise.compose import Identity
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.report.views import summary
from robustnoise.store import Store
from robustnoise.testing.toys import CoinClassifier

PROBABILITIES = (0.95, 0.9, 0.8)
ATTACKS = {
    "null": "null",
    "random": "random-noise",
    "shared-pgd": "transfer(independent(training=plain-training(epochs=1), model=mlp(hidden=8)), pgd(steps=3))",
    "shared-fgsm": "transfer(independent(training=plain-training(epochs=1), model=mlp(hidden=8)), fgsm)",
    "asking-mi": "transfer(jacobian(seed_images=20, rounds=2, epochs=1, model=mlp(hidden=8)), mi-fgsm(steps=3))",
    "asking-pgd": "transfer(jacobian(seed_images=20, rounds=2, epochs=1, model=mlp(hidden=8)), pgd(steps=3))",
}


def records(tmp_path: Path, n: int, draws: int) -> list[rn.EvaluationRecord]:
    """Every coin under every attack, through every stage."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n + 200, 1, 4, 4), dtype=np.uint8)
    file = tmp_path / "zeros.npz"
    np.savez(file, x=x, y=np.zeros(len(x), np.int64), num_classes=np.int64(10))
    sizes = rn.SplitSizes(train=50, attacker=50, validation=50, evaluation=n)
    experiment = Experiment(
        dataset=rn.load_dataset(file, sizes=sizes),
        sizes={},
        threat=rn.Linf(0.3),
        budget=rn.Budget(total=100),
        victims=tuple(Victim(f"coin {p}", Identity(), classifier=CoinClassifier(p, (1, 4, 4))) for p in PROBABILITIES),
        attacks=tuple(Attack(name, build(text, "attack")) for name, text in ATTACKS.items()),
        draws=draws,
        threads=1,
    )
    return run(experiment, Store(tmp_path / f"store-{draws}"))


def test_a_coin_comes_back_as_itself(tmp_path: Path) -> None:
    n, draws = 500, 20
    found = records(tmp_path, n, draws)
    assert len(found) == len(PROBABILITIES) * len(ATTACKS)
    for record in found:
        p = float(record.victim.victim["name"].split()[1])
        for tally in (record.victim.clean, record.victim.adversarial):
            error = 4.5 * math.sqrt(p * (1 - p) / (n * draws))
            assert abs(tally.accuracy - p) < error
            for m in (1, 5, 20):
                # per image C(right, m) / C(R, m) is unbiased for p^m and lies in [0, 1]
                bound = 4.5 * math.sqrt(p**m * (1 - p**m) / n)
                assert abs(stats.any_fail(tally.right, draws, m) - p**m) < bound
        drop = record.drop
        assert abs(drop.estimate) < 4.5 * math.sqrt(2 * p * (1 - p) / (n * draws))


def test_the_worst_case_over_attacks_of_a_coin_is_the_coin(tmp_path: Path) -> None:
    n, draws = 500, 20
    for line in summary(records(tmp_path, n, draws)):
        p = float(line.victim.split()[1])
        for worst in (line.shared, line.per_victim):
            assert worst is not None
            assert abs(worst.value - p) < 4.5 * math.sqrt(p * (1 - p) / (n * draws))
            assert worst.low <= worst.value <= worst.high


def test_a_coin_is_always_wrong_at_the_rate_of_its_draws(tmp_path: Path) -> None:
    n, draws = 1000, 2
    for record in records(tmp_path, n, draws):
        p = float(record.victim.victim["name"].split()[1])
        expected = (1 - p) ** draws
        bound = 4.5 * math.sqrt(expected * (1 - expected) / n)
        assert stats.always_wrong(record.victim.adversarial.right) == pytest.approx(expected, abs=bound)
