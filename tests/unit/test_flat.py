"""Boards as CSV and JSON, for spreadsheets and programs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import robustnoise as rn
from robustnoise.cli.looking import show_board
from robustnoise.errors import BadParameter
from robustnoise.records import EvaluationRecord
from robustnoise.report.flat import csv_text, flat_rows, harmless
from robustnoise.report.views import row_view, summary
from tests.unit.stats_helpers import generator
from tests.unit.toy_rows import BOARD, arm, row, tally

HOSTILE = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://example.org","x")')


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_a_spreadsheet_would_run_is_made_harmless(text: str) -> None:
    record = row(text, "one", tally(np.ones(20)))
    (line,) = csv.DictReader(io.StringIO(csv_text(flat_rows([row_view(record, ranked=False)], [])), newline=""))
    assert line["victim"] == line["defense"] == f"'{text}"


def test_numbers_stay_numbers_and_none_is_empty() -> None:
    assert [harmless(v) for v in (-0.5, -3, None, True, "plain", "1-2")] == [-0.5, -3, None, True, "plain", "1-2"]
    reference = arm("net", tally(np.ones(20)), tally(np.ones(20)))
    record = row("v", "one", tally(np.zeros(20)), reference=reference)
    frame = pd.read_csv(io.StringIO(csv_text(flat_rows([row_view(record, ranked=True)], []))))
    assert frame.loc[0, "delta"] == -1
    assert frame.loc[0, "success"] == 1
    assert np.isnan(frame.loc[0, "agreement"])


def test_columns_stand_in_the_order_of_a_row_whichever_line_has_them_first() -> None:
    rng = generator(1)
    records = [row("a", "one", tally(np.ones(50))), row("b", "one", tally(rng.binomial(20, 0.9, 50), 20))]
    head = (
        csv_text(flat_rows([row_view(r, ranked=True) for r in records], [])).splitlines()[0].replace('"', "").split(",")
    )
    assert (
        head.index("clean_any_fail_20")
        < head.index("robust")
        < head.index("robust_any_fail_20")
        < head.index("success")
    )
    assert head[-2:] == ["rank", "rank_shared_by"]


def test_a_row_has_the_rank_of_its_victim_among_the_attacks_of_its_scope() -> None:
    records = [row(n, "one", tally(np.arange(100) < k)) for n, k in (("a", 80), ("b", 80), ("c", 20))]
    records += [row("a", "null", tally(np.ones(100)), scope="control")]
    lines = flat_rows([row_view(r, ranked=True) for r in records], summary(records))
    assert [(line["rank"], line["rank_shared_by"]) for line in lines] == [(1, 2), (1, 2), (3, 1), (None, None)]
    unranked = flat_rows([row_view(records[0], ranked=False)], summary(records))
    assert unranked[0]["rank"] is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A board with rows that nobody would rank, one of a hostile name."""
    (tmp_path / "board.toml").write_text(BOARD)
    board = rn.Leaderboard(tmp_path)
    board.add(*rows())
    return tmp_path


def rows() -> list[EvaluationRecord]:
    rng = generator(2)
    noisy = tally(rng.binomial(20, 0.9, 60), 20, rng.binomial(20, 0.9, 60))
    return [row("=cmd", "one", tally(np.ones(60))), row("noisy", "one", noisy), row("noisy", None, tally(np.ones(60)))]


def test_json_holds_rows_with_verdicts_flags_and_rank_and_what_else_a_report_holds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_board(str(folder), json=True, csv=False)
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"rows", "summary", "contrasts", "variance"}
    noisy = next(r for r in found["rows"] if r["victim"] == "noisy" and r["attack"])
    assert noisy["flags"] == "RANDOMISED"
    assert noisy["rank"] is None
    for m in (1, 5, 20):
        assert noisy[f"clean_any_fail_{m}"] >= noisy[f"robust_any_fail_{m}"]
    assert "robust_any_fail_100" not in noisy
    assert next(r for r in found["rows"] if r["victim"] == "=cmd")["ranked"] is False


def test_csv_and_frame_hold_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_board(str(folder), json=False, csv=True)
    text = capsys.readouterr().out
    assert "'=cmd" in text
    frame, read = rn.Leaderboard(folder).to_frame(), pd.read_csv(io.StringIO(text))
    assert list(read) == list(frame)
    for column in frame.select_dtypes("number"):
        assert read[column].to_numpy(float) == pytest.approx(frame[column].to_numpy(float), nan_ok=True)


def test_one_of_json_and_csv(folder: Path) -> None:
    with pytest.raises(BadParameter, match="one of the two"):
        show_board(str(folder), json=True, csv=True)
