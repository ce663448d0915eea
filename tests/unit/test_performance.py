"""The benchmark of speed runs, and its page has the shape that a reader expects; how fast anything is isn't tested."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from benchmarks import board_speed, nets, performance, timing
from benchmarks.goals import Goal, goals_table
from robustnoise.testing.toys import toy_dataset

SHARES = re.compile(r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Toy images in place of MNIST's, and the threads as they were."""
    monkeypatch.setattr(nets.rn, "load_dataset", lambda *_, **__: toy_dataset(16, (1, 28, 28), 10))
    monkeypatch.setattr(performance, "matrix_rate", lambda *_: 1e9)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "part", [pytest.param(p, marks=[pytest.mark.slow] * (p in ("board", "again"))) for p in performance.PARTS]
)
def test_each_part_measures_and_tells_ratios_with_their_spread(part: str) -> None:
    text = performance.page(quick=True, only=[part])
    assert f"## {performance.PARTS[part].title}" in text
    assert [p.title for p in performance.PARTS.values() if f"## {p.title}\n" in text] == [performance.PARTS[part].title]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) >= 3
    assert part == "board" or SHARES.search(text)
    assert "nan" not in text


def test_a_part_measured_later_takes_its_place_in_the_page() -> None:
    goals = "## What is wanted\n\n| goal | wanted | measured | reached |\n|---|---|---|---|\n| {} | 1 | {} | yes |\n"
    old = "# P\n\nhead\n\n" + goals.format("a", "1.0") + "| b | 1 | 2.0 | yes |\n\n## A\n\nold\n\n## B\n\nkept\n"
    new = performance.merged(old, "# P\n\nother\n\n" + goals.format("a", "3.0") + "\n## A\n\nnew\n\n")
    assert new == old.replace("| 1.0 |", "| 3.0 |").replace("old", f"new\n\n{performance.LATER}")


def test_contestants_take_turns_and_the_first_round_counts_for_nothing() -> None:
    order: list[str] = []
    taken = timing.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert {who: len(times) for who, times in taken.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_the_median_of_the_rounds_with_least_and_largest() -> None:
    assert timing.told([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == "3.00 (2.00 to 4.00)"


@pytest.mark.parametrize("count", [1, 20, 60])
def test_the_board_has_as_many_defenses_as_asked(count: int) -> None:
    assert len(board_speed.defenses(count)) == count


def test_a_goal_is_told_as_reached_missed_or_not_measured() -> None:
    goals = [
        Goal("speed", 1.3, 1.299),
        Goal("speed", 1.3, 1.3),
        Goal("cost", 1.05, 1.051, most=True),
        Goal("cost", 1.05, 0.9, most=True),
        Goal("absent", 2, None),
    ]
    assert [goal.reached for goal in goals] == [False, True, False, True, None]
    lines = goals_table(goals)[2:]
    assert lines[0] == "| speed | at least 1.3 | 1.299 | **no** |"
    assert lines[2] == "| cost | at most 1.05 | 1.051 | **no** |"
    assert lines[3] == "| cost | at most 1.05 | 0.90 | yes |"
    assert lines[4] == "| absent | at least 2 | - | not measured |"
