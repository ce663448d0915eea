"""A substitute that would get no answer is refused: a network with its first weights is no attack."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustnoise.api import Context, Linf, SeedStream, Substitute, build
from robustnoise.compose import Identity
from robustnoise.errors import BudgetExceeded, RobustnoiseError
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.oracle import CountingOracle
from robustnoise.store import Store
from robustnoise.testing import CoinClassifier, toy_dataset, toy_model, toy_split
from robustnoise.threat import Access, Budget

ART = pytest.param("art-extraction(CopycatCNN, 'nb_epochs=1', model=mlp(hidden=8))", marks=pytest.mark.adapter)
ASKING = [
    "jacobian(seed_images=5, rounds=1, epochs=1, model=mlp(hidden=8))",
    "knockoff(model=mlp(hidden=8))",
    "copycat(model=mlp(hidden=8))",
    ART,
]


def fit(text: str, total: int, victim: object = None) -> CountingOracle:
    plugin: Substitute = build(text, "substitute")
    threat = Linf(0.1, Access.SCORES)
    oracle = CountingOracle(victim or toy_model(), threat, SeedStream(7), total=total)  # type: ignore[arg-type]
    plugin.fit(oracle, toy_split(10), Context(seed=SeedStream(5)))
    return oracle


@pytest.mark.parametrize("text", ASKING)
def test_a_total_of_nothing_is_refused_by_name(text: str) -> None:
    name = text.split("(", maxsplit=1)[0].replace("copycat", "knockoff")
    with pytest.raises(BudgetExceeded, match=f"{name}: 0 queries are left of budget total, and one label costs 1"):
        fit(text, 0)
    assert fit(text, 1).spent == 1


@pytest.mark.parametrize("name", ["jacobian", "copycat"])
def test_less_than_one_label_of_a_noisy_victim_is_refused(name: str) -> None:
    coin = CoinClassifier(0.7, num_classes=3)
    with pytest.raises(BudgetExceeded, match="2 queries are left of budget total, and one label costs 3"):
        fit(f"{name}(model=mlp(hidden=8), repeats=3)", 2, coin)
    assert fit(f"{name}(model=mlp(hidden=8), repeats=3)", 3, coin).spent == 3


def test_the_second_of_both_is_refused_where_the_first_spends_all() -> None:
    with pytest.raises(BudgetExceeded, match="knockoff: 0 queries"):
        fit(f"both({ASKING[0]}, {ASKING[2]})", 5)


def test_a_run_says_so_and_makes_no_row(tmp_path: Path) -> None:
    whole = Experiment(
        dataset=toy_dataset(8),
        sizes={},
        threat=Linf(0.1),
        budget=Budget(total=0),
        victims=(Victim("net", Identity(), classifier=toy_model()),),
        attacks=(Attack("attack", build(f"transfer({ASKING[0]}, fgsm)", "attack")),),
        threads=1,
    )
    with pytest.raises(RobustnoiseError, match="Raise total, or take a substitute that asks nothing"):
        run(whole, Store(tmp_path))
