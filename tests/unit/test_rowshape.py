"""Rows whose digests fit and whose parts don't: each is refused by name, none ends a command with a traceback."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnoise.errors import RowError
from robustnoise.leaderboard import Leaderboard
from robustnoise.records import EvaluationRecord
from robustnoise.rowfiles import read_row
from robustnoise.spec import digest_of
from robustnoise.store import Store
from robustnoise.submission.artifacts import check_artifacts
from robustnoise.tally import Tally, pack
from tests.unit.toy_rows import BOARD, arm, row, tally

ABSENT = object()


def plain() -> dict[str, Any]:
    net = arm("plain", tally([1, 1, 0, 1]), tally([1, 0, 0, 1]))
    return json.loads(json.dumps(row("other", "transfer", tally([1, 0, 1, 1]), reference=net).to_json()))  # type: ignore[no-any-return]


def changed(path: str, value: object) -> dict[str, Any]:
    """A row with another value at `path`, its digests made anew."""
    found = plain()
    place: Any = found
    *parents, last = path.split(".")
    for parent in parents:
        place = place[parent]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = copy.deepcopy(value)
    found["digest"], found["outcome_digest"] = digest_of(found["identity"]), digest_of(found["outcome"])
    del found["seal"]
    return found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("identity.setting.budget", 5),
        ("identity.setting.threat", {"norm": "l7", "eps": 0.1, "access": "labels"}),
        ("outcome.victim.passes", 10**400),
        ("outcome.victim.clean.passes", 10**400),
        ("identity.setting.threat", 5),
        ("identity.setting.threat", {"norm": "linf", "access": "labels"}),
        ("identity.setting.data", None),
        ("identity.setting.seed", []),
        ("identity.setting.draws", True),
        ("identity.attack.name", []),
        ("identity.attack.scope", "other"),
        ("identity.attack.spec", None),
        ("identity.attack.spec.children", ABSENT),
        ("identity.victim.defense", ABSENT),
        ("identity.victim.model", 5),
        ("identity.reference.defense.children", []),
        ("identity.victim", None),
        ("outcome.outside", "x"),
        ("outcome.victim.agreement", "x"),
        ("outcome.victim.passes", None),
        ("outcome.victim.queries", -1),
        ("outcome.victim.stochastic", "yes"),
        ("outcome.victim.clean.draws", 1.5),
        ("outcome.reference.clean.draws", None),
        ("provenance.versions", 5),
    ],
)
def test_parts_of_another_type_are_named(path: str, value: object) -> None:
    with pytest.raises(RowError, match=path.rpartition(".")[2]):
        EvaluationRecord.from_json(changed(path, value))


def test_whatever_a_row_holds_its_board_can_be_verified_and_shown(tmp_path: Path) -> None:
    board = tmp_path / "board.toml"
    board.write_text(BOARD)
    (tmp_path / "rows").mkdir()
    leaves = [p for p in _paths(plain()) if p.partition(".")[0] in ("identity", "outcome", "provenance") and "." in p]
    assert len(leaves) > 60
    for number, leaf in enumerate(leaves):
        odd = (None, 5, "x", [], {}, -1, True)[number % 7]
        found = changed(leaf, odd)
        path = tmp_path / "rows" / f"{found['digest']}.json"
        path.write_text(json.dumps(found))
        place = Leaderboard(tmp_path)
        place.verify()
        try:
            place.report()
            check_artifacts(place.rows(), Store(tmp_path / "store"), tmp_path)
        except RowError as error:
            assert path.name in str(error)
        path.unlink()


def _paths(value: Any, path: str = "") -> list[str]:
    own = [path] if path else []
    if not isinstance(value, dict):
        return own
    return own + [p for k, v in value.items() for p in _paths(v, f"{path}.{k}" if path else k)]


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e999"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "row.json"
    path.write_text(json.dumps(plain()).replace('"provenance": {}', f'"provenance": {{"seconds": {number}}}'))
    with pytest.raises(RowError, match="no finite number"):
        read_row(path)


def test_right_and_abstained_answers_are_summed_beyond_16_bits() -> None:
    counts = np.full(3, 40_000, np.uint16)
    damaged = {"draws": 50_000, "right": pack(counts), "abstained": pack(counts), "select": None}
    with pytest.raises(RowError, match="go up to 80000"):
        Tally.from_json(damaged, 3)
