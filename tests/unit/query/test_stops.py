"""An attack that shows nothing at the board's stops is named, before the rest of it is paid for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest

import robustnoise as rn
from robustnoise.api import AttackResult, AttackTraits, BlackBoxAttack, Oracle, SeedStream, Split, Targets, ThreatModel
from robustnoise.compose import Identity
from robustnoise.errors import AttackFailed
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.store import Store
from robustnoise.testing import toy_dataset, toy_model


@dataclass(frozen=True)
class Asks(BlackBoxAttack):
    """Asks once, and keeps what it had at the first `traced` stops."""

    traced: int = 0
    queries: bool = True

    @property
    def traits(self) -> AttackTraits:
        return AttackTraits(queries=self.queries)

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        if oracle is None:
            return AttackResult(targets.x, 0)
        oracle.query(targets.x, targets.ids)
        trace = dict.fromkeys(oracle.stops[: self.traced], targets.x)
        return AttackResult(targets.x, oracle.spent, trace=MappingProxyType(trace))


def experiment(attack: BlackBoxAttack) -> Experiment:
    return Experiment(
        dataset=toy_dataset(8),
        sizes={},
        threat=rn.Linf(0.1),
        budget=rn.Budget(per_image=9, stops=(3, 5)),
        victims=(Victim("net", Identity(), classifier=toy_model()),),
        attacks=(Attack("asks", attack),),
        threads=1,
    )


@pytest.mark.parametrize(("traced", "missing"), [(0, r"\[3, 5\], but at \[\]"), (1, r"\[5\], but at \[3\]")])
def test_an_attack_without_images_at_a_stop_is_named(tmp_path: Path, traced: int, missing: str) -> None:
    with pytest.raises(AttackFailed, match=f"attack 'asks' handed in no images at the stops {missing}"):
        run(experiment(Asks(traced)), Store(tmp_path))


def test_it_may_leave_them_out_where_there_are_none_or_it_asks_nothing(tmp_path: Path) -> None:
    whole = experiment(Asks(2))
    assert len(run(whole, Store(tmp_path))[0].victim.curve) == 2
    assert run(replace(whole, budget=rn.Budget(per_image=9), attacks=(Attack("asks", Asks(0)),)), Store(tmp_path))
    assert run(experiment(Asks(0, queries=False)), Store(tmp_path))[0].victim.curve == {}
