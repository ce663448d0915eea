"""docs/reading-a-row.md explains every column that anything shows."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

from robustnoise.board.file import BoardFile
from robustnoise.records import EvaluationRecord
from robustnoise.report.contrasts import Contrast, contrast_views
from robustnoise.report.flat import columns, flat_rows
from robustnoise.report.published import Published, published_views
from robustnoise.report.shown import Table
from robustnoise.report.statistics import contrast_table, variance_table, verdict_tables
from robustnoise.report.tables import ATTACK_HEAD, CLEAN_HEAD, published_table, row_tables, summary_table
from robustnoise.report.variance import variance_views
from robustnoise.report.views import RowView, row_view, summary
from tests.unit.stats_helpers import generator
from tests.unit.toy_rows import arm, row, tally

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "reading-a-row.md").read_text()
EXPLAINED = set(
    re.findall(r"`([^`]+)`", "\n".join(line.split(" | ")[0] for line in TEXT.splitlines() if line[:2] == "| "))
)


def records() -> list[EvaluationRecord]:
    """Rows of 100 draws that have everything a row can have, of two seeds and every scope."""
    rng, found = generator(1), []
    for seed, digest in ((0, "w0"), (1, "w1")):
        for attack, scope in (("null", "control"), ("one", "shared"), ("asks", "per-victim"), (None, "clean")):
            counts = [tally(rng.binomial(100, p, 30), 100, rng.binomial(100, p, 30)) for p in (0.9, 0.8, 0.95)]
            reference = arm("net", counts[0], None if attack is None else counts[2])
            record = row("a", attack, counts[1], scope=scope, seed=seed, digest=digest, reference=reference)
            found.append(record)
    return found


@cache
def views() -> list[RowView]:
    return [row_view(r, ranked=True) for r in records()]


def tables() -> list[Table]:
    rows = records()
    other = [row("b", "one", tally(np.ones(30)))]
    contrasts = [Contrast("a", "b", "one", ("one",))]
    return [
        summary_table(summary(rows)),
        *row_tables(views()),
        *verdict_tables(views()),
        contrast_table(contrast_views(contrasts, [*rows, *other], 0)),
        variance_table(variance_views(rows)),
        published_table(published_views([Published("a", 0.9, "a paper")], rows)),
    ]


def test_every_column_of_a_row_is_explained() -> None:
    lines = flat_rows(views(), summary(records()))
    found = {re.sub(r"_any_fail_\d+$", "_any_fail_m", c) for c in columns(lines)}
    assert {"robust_any_fail_m", "success_low", "delta_undefended", "smallest", "rank"} <= found
    assert found - EXPLAINED == set()


def test_every_explained_column_of_a_row_is_there() -> None:
    section = TEXT.partition("## Columns of a row")[2].partition("### ")[0]
    named = set(
        re.findall(r"`([a-z_]+)`", "\n".join(ln.split(" | ")[0] for ln in section.splitlines() if ln[:3] == "| `"))
    )
    found = {re.sub(r"_any_fail_\d+$", "_any_fail_m", c) for c in columns(flat_rows(views(), summary(records())))}
    # The toys have no undefended net, so no interval of a difference to it.
    assert {c for c in named - found if not c.startswith("delta_undefended_")} == set()


def test_every_column_of_a_table_is_explained() -> None:
    found = {table.heading: set(table.head) - EXPLAINED for table in tables()}
    assert len(found) == 9
    assert {heading: missing for heading, missing in found.items() if missing} == {}


def test_columns_that_a_toy_leaves_out_are_explained_too() -> None:
    assert {*CLEAN_HEAD, *ATTACK_HEAD, "mean passes", "n", "seed", "line", "value"} - EXPLAINED == set()


def test_the_example_is_a_line_of_the_board() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("| at-noise-vote |")]
    report = (DOCS.parent / "leaderboards" / "quickstart" / "REPORT.md").read_text()
    assert len(lines) == 1
    assert lines[0] in report.split("## Shared attacks (n = 1000)")[1]


def test_every_part_of_a_board_file_is_in_the_table_of_keys() -> None:
    text = (DOCS / "boards.md").read_text()
    names = {f.alias or name for name, f in BoardFile.model_fields.items()} - {"schema", "name", "title", "about"}
    assert {name for name in names if f"[{name}]" not in text} == set()
