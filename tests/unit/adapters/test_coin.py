"""A coin comes back as itself under attacks that take one lucky draw for the truth: scoring draws are fresh."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import robustnoise as rn
from robustnoise.building import build
from robustnoise.errors import AttackFailed
from robustnoise.testing import toy_dataset
from robustnoise.testing.toys import CoinClassifier

P, DRAWS = 0.9, 10


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("art(SquareAttack, 'max_iter=10')", 60),
        pytest.param("art(SquareAttack, 'max_iter=30')", 400, marks=pytest.mark.slow),
        pytest.param("art(HopSkipJump, 'max_iter=1, init_eval=5, max_eval=10')", 400, marks=pytest.mark.slow),
        pytest.param("art(BoundaryAttack, 'max_iter=3, num_trial=2, sample_size=3')", 400, marks=pytest.mark.slow),
        pytest.param("art(SimBA, 'max_iter=10')", 400, marks=pytest.mark.slow),
        pytest.param("foolbox(LinearSearchBlendedUniformNoiseAttack, 'steps=5')", 400, marks=pytest.mark.slow),
    ],
)
def test_a_coin_comes_back_as_itself(tmp_path: Path, text: str, n: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, (n + 60, 1, 8, 8), dtype=np.uint8)
    file = tmp_path / "zeros.npz"
    np.savez(file, x=x, y=np.zeros(len(x), np.int64), num_classes=np.int64(2))
    sizes = rn.SplitSizes(train=20, attacker=20, validation=20, evaluation=n)
    data = rn.load_dataset(file, sizes=sizes)
    record = rn.evaluate(
        CoinClassifier(P, (1, 8, 8), 2), build(text, "attack"), data=data, threat=rn.Linf(0.3, rn.Access.SCORES),
        budget=rn.Budget(per_image=40), draws=DRAWS, threads=1,
    )  # fmt: skip
    assert record.victim.adversarial is not None
    assert record.victim.queries > n
    assert abs(record.victim.adversarial.accuracy - P) < 4.5 * math.sqrt(P * (1 - P) / (n * DRAWS))


@pytest.mark.slow
def test_foolboxs_hop_skip_jump_asserts_on_noise_and_the_cell_says_so() -> None:
    data = toy_dataset(20)
    with pytest.raises(AttackFailed, match=r"Foolbox 3\..*HopSkipJumpAttack: AssertionError.* The victim is noisy"):
        rn.evaluate(
            CoinClassifier(0.6, num_classes=3), build("foolbox(HopSkipJumpAttack)", "attack"), data=data,
            threat=rn.Linf(0.3), budget=rn.Budget(per_image=500), threads=1,
        )  # fmt: skip
