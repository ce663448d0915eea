"""Rows of every released schema must still load; each keeps a file here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robustnoise.records import SCHEMA, EvaluationRecord
from robustnoise.rowfiles import read_row

HERE = Path(__file__).parent
ROWS = sorted(HERE.glob("row-schema-*.json"))


def test_a_row_of_schema_1_loads() -> None:
    record = read_row(HERE / "row-schema-1.json")
    assert record.n == 1000
    assert record.victim.stochastic
    assert record.victim.adversarial is not None
    assert record.victim.adversarial.draws == 10
    assert record.victim.adversarial.select is not None
    assert record.victim.scored.mean_passes(record.victim.passes) == record.victim.passes
    delta = record.delta()
    assert delta is not None
    assert delta.low <= delta.estimate <= delta.high


def test_a_row_of_schema_1_keeps_its_digest_and_loses_nothing_but_what_was_never_used() -> None:
    old = json.loads((HERE / "row-schema-1.json").read_text())
    new = EvaluationRecord.from_json(old).to_json()
    assert new["digest"] == old["digest"]
    for arm in ("victim", "reference", "undefended"):
        if old["outcome"][arm] is not None:
            old["outcome"][arm]["clean"]["select"] = None
    assert new["outcome"] == old["outcome"]


def test_a_row_of_schema_2_loads() -> None:
    record = read_row(HERE / "row-schema-2.json")
    assert record.attack is None
    assert record.n == 150
    assert record.victim.adversarial is None
    assert record.victim.clean.draws == 3
    assert record.victim.clean.mean_passes(record.victim.passes) == pytest.approx(2 + 37 / 450)
    assert record.delta() == record.delta(on="clean")
    assert record.drop is None


def test_there_is_a_row_of_every_schema() -> None:
    assert [p.stem for p in ROWS] == [f"row-schema-{i}" for i in range(1, SCHEMA + 1)]
