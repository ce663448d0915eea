"""Tables leave out what says nothing, on a terminal and in REPORT.md alike."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from robustnoise.records import Arm, EvaluationRecord
from robustnoise.report.contents import Contents
from robustnoise.report.markdown import report
from robustnoise.report.parts import board_parts
from robustnoise.report.tables import row_tables
from robustnoise.report.terminal import print_parts
from robustnoise.report.views import RowView, row_view
from robustnoise.tally import Tally

PROTOCOL: dict[str, Any] = {"data": {"name": "digits"}, "threat": None, "draws": 3}


def row(draws: int) -> RowView:
    """A row on ten clean images, all right."""
    tally = Tally(np.full(10, draws, np.uint16), np.zeros(10, np.uint16), None, draws)
    arm = Arm({"name": "net", "text": "net", "digest": "d"}, True, 1, tally, None, 0, None)
    return row_view(EvaluationRecord({"seed": 0}, None, arm, None, None, None, {}), ranked=True)


def markdown(rows: list[RowView]) -> str:
    return report(title="t", about="", protocol=PROTOCOL, contents=Contents(rows))


def test_columns_without_an_entry_are_left_out() -> None:
    (table,) = row_tables([row(3)])
    assert table.head == ("victim", "n", "draws", "accuracy", "ranked")
    assert table.lines == [("net", "10", "3", "100.0 [72.2, 100.0]", "yes")]


@pytest.mark.parametrize(("draws", "shown"), [(4, False), (5, True)])
def test_five_draws_are_spoken_of_where_there_are_five(draws: int, shown: bool) -> None:
    text = markdown([row(draws)])
    assert ("| any_fail_5 |" in text) == shown
    assert ("*any_fail_5* is" in text) == shown


def test_the_terminal_has_the_columns_of_the_report() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    print_parts(console, board_parts("t", Contents([row(3)])))
    (table,) = row_tables([row(3)])
    head = next(line for line in console.export_text().splitlines() if "victim" in line)
    assert [cell.strip() for cell in head.strip("┃ ").split("┃")] == list(table.head)
