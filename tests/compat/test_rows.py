"""Rows of every released schema must still load; each keeps a file here."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustnoise.leaderboard import read_row

ROWS = sorted(Path(__file__).parent.glob("row-schema-*.json"))


@pytest.mark.parametrize("path", ROWS, ids=lambda p: p.stem)
def test_a_row_of_that_schema_loads(path: Path) -> None:
    record = read_row(path)
    assert record.n == 1000
    assert record.victim.stochastic
    assert record.victim.adversarial.draws == 10
    assert record.victim.adversarial.select is not None
    delta = record.delta()
    assert delta is not None
    assert delta.low <= delta.estimate <= delta.high


def test_there_is_a_row_of_every_schema() -> None:
    assert [p.stem for p in ROWS] == ["row-schema-1"]
