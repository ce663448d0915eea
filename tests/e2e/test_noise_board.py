"""A board without attacks from end to end: curves, midpoints, published figures, and pictures that repeat."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import robustnoise as rn
from robustnoise.board import board_from, load_board
from robustnoise.cli.app import app
from robustnoise.errors import MissingExtra
from robustnoise.harness.planning import plan
from robustnoise.harness.runner import run
from robustnoise.report.contents import Contents
from robustnoise.store import Store

BOARD = """
schema = 1
name = "noisy-digits"
title = "Noise on digits"
[data]
name = "digits"
train = 600
attacker = 10
validation = 60
evaluation = 150
[run]
model = "mlp(hidden=24)"
undefended = "plain"
draws = 3
threads = 1
[recipes]
plain = "plain-training(epochs=20)"
noisy = "{plain} | gaussian-input-noise(sigma=0.4)"
[victims]
plain = "{plain}"
noisy = "{noisy}"
[[curves]]
name = "sigma"
title = "Accuracy against noise"
x = "sigma (pixels)"
values = [0.1, 0.4, 3.0]
log = true
midpoint = true
[curves.lines]
"one pass" = "{plain} | gaussian-input-noise(sigma={x})"
"5 votes" = "{plain} | gaussian-input-noise(sigma={x}) | vote(5)"
[[curves]]
name = "passes"
title = "Accuracy against passes"
x = "mean forward passes"
x_is_passes = true
values = [3, 5]
lines = { votes = "{noisy} | vote({x})" }
[[published]]
victim = "noisy"
accuracy = 12.5
source = "Nobody (2020)"
"""


def command(base: Path, *arguments: str | Path) -> Result:
    """The command line, in this process, with the store of `base`."""
    return CliRunner(env={"ROBUSTNOISE_CACHE": str(base / "cache")}).invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the board, made through the command line."""
    base = tmp_path_factory.mktemp("noise")
    (base / "board").mkdir()
    (base / "board" / "board.toml").write_text(BOARD)
    done = command(base, "run", base / "board", "--output", base / "out")
    assert done.exit_code == 0, done.output
    (base / "shown.txt").write_text(done.stdout)
    return base


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_victim_has_one_row_on_clean_images(finished: Path) -> None:
    rows = rn.Leaderboard(finished / "out").rows()
    # Two listed; six points of the first curve and two of the second, less noisy and the five votes that both hold.
    assert [r.victim.victim["name"] for r in rows] == [
        "plain",
        "noisy",
        "sigma | one pass | 0.1",
        "sigma | one pass | 3",
        "sigma | 5 votes | 0.1",
        "sigma | 5 votes | 0.4",
        "sigma | 5 votes | 3",
        "passes | votes | 3",
    ]
    for row in rows:
        assert row.attack is None
        assert row.victim.adversarial is None
        assert row.victim.clean.select is None
        assert row.setting["threat"] is None
        assert row.setting["budget"] is None
        assert row.setting["data"]["classes"] == 10
    assert [r.reference is not None for r in rows] == [False, True] + [False] * 6
    assert all(r.undefended is None for r in rows[2:])


def test_a_second_run_computes_nothing_and_rewrites_the_same_bytes(finished: Path) -> None:
    experiment = load_board(finished / "board").experiment()
    assert {p.stage: (p.cached, p.missing) for p in plan(experiment, Store(finished / "cache" / "store"))} == {
        "train": (1, 0),
        "score": (8, 0),
    }
    before = files(finished / "out")
    for path in ("REPORT.md", "plots/sigma.svg", "plots/sigma-midpoint.svg", "plots/passes.svg"):
        (finished / "out" / path).unlink()
    again = command(finished, "run", finished / "board", "--output", finished / "out")
    assert again.exit_code == 0
    assert again.stderr == ""
    assert files(finished / "out") == before


def test_the_plan_lists_the_points(finished: Path, tmp_path: Path) -> None:
    done = command(tmp_path, "run", finished / "board", "--plan")
    cells = {
        line.split()[0]: line.split()[1:3] for line in done.stdout.splitlines() if line.startswith(("train", "score"))
    }
    assert cells == {"train": ["0", "1"], "score": ["0", "8"]}


def test_the_report_has_tables_and_pictures(finished: Path) -> None:
    report = (finished / "out" / "REPORT.md").read_text()
    assert "Protocol: digits, clean images, no attack, 3 scoring draws" in report
    assert "![Accuracy against sigma (pixels)](plots/sigma.svg)" in report
    assert "![Midpoints: sigma (pixels)](plots/sigma-midpoint.svg)" in report
    listed = report.split("## Clean images")[1].split("##")[0]
    assert "| noisy | 150 | 3 |" in listed
    assert "sigma \\|" not in listed
    assert "| noisy | 12.5 |" in report.split("## Published beside ours")[1]
    # Noise of three times the range of a pixel leaves little of an accuracy that small noise hardly touches.
    frame = rn.Leaderboard(finished / "out").curves_to_frame()
    one = frame[frame.line == "one pass"].set_index("value").accuracy
    assert one[0.1] > 0.6
    assert one[3.0] < 0.4
    midpoints = [line.midpoint for line in rn.Leaderboard(finished / "out").curves()[0].lines]
    assert all(m is not None and m.at is not None and 0.1 < m.at < 3 for m in midpoints)
    assert frame[frame.curve == "passes"].x.tolist() == [3.0, 5.0]


def test_the_terminal_shows_accuracy(finished: Path) -> None:
    shown = (finished / "shown.txt").read_text()
    assert shown == command(finished, "run", finished / "board", "--output", finished / "out").stdout
    for text in ("accuracy", "Published beside ours", "Accuracy against noise: midpoints", "noisy (against plain)"):
        assert text in shown
    done = command(finished, "board", "show", finished / "out")
    assert done.exit_code == 0
    assert "Accuracy against passes" in done.stdout


def test_a_changed_protocol_is_shown_but_not_reported(finished: Path, tmp_path: Path) -> None:
    done = command(finished, "run", finished / "board", "--output", tmp_path / "limited", "--limit", "40")
    assert done.exit_code == 0, done.output
    assert "Accuracy against noise: midpoints" in done.stdout
    assert "n = 40" in done.stdout
    report = (tmp_path / "limited" / "REPORT.md").read_text()
    assert "No point has a row yet that follows the board's protocol." in report
    assert not (tmp_path / "limited" / "plots").exists()
    assert rn.Leaderboard(tmp_path / "limited").verify() == []


def test_json_and_frames_hold_clean_rows(finished: Path) -> None:
    done = command(finished, "board", "show", finished / "out", "--json")
    rows = {row["victim"]: row for row in json.loads(done.stdout)["rows"]}
    assert len(rows) == 8
    assert rows["noisy"]["robust"] is None
    assert rows["noisy"]["delta"] == rows["noisy"]["delta_clean"]
    assert rows["sigma | 5 votes | 3"]["passes"] == 5
    assert rows["sigma | 5 votes | 3"]["delta"] is None
    assert rn.Leaderboard(finished / "out").to_frame()["ranked"].all()


def test_verify_finds_absent_stale_and_foreign_pictures(finished: Path, tmp_path: Path) -> None:
    assert rn.Leaderboard(finished / "out").verify() == []
    copy = shutil.copytree(finished / "out", tmp_path / "copy")
    plots = copy / "plots"
    (plots / "sigma.svg").unlink()
    shutil.copy(plots / "sigma-midpoint.svg", plots / "passes.svg")
    (plots / "old.svg").write_text("<svg/>")
    problems = rn.Leaderboard(copy).verify()
    assert len(problems) == 3
    assert "sigma.svg: absent" in problems[0]
    assert "passes.svg: doesn't show the numbers of the rows" in problems[1]
    assert "old.svg: belongs to no curve" in problems[2]


def test_publishing_draws_the_pictures_again(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "board", tmp_path / "target")
    done = command(finished, "board", "publish", finished / "out", tmp_path / "target")
    assert done.stdout.startswith("8 of 8 rows published")
    assert files(tmp_path / "target") == files(finished / "out")


def test_publishing_without_matplotlib_writes_no_row(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished / "board", tmp_path / "target")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = command(finished, "board", "publish", finished / "out", tmp_path / "target")
    assert isinstance(done.exception, MissingExtra)
    assert list(files(tmp_path / "target")) == ["board.toml"]


def test_a_run_computes_what_it_shows_once(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    contents = rn.Leaderboard.contents

    def counted(board: rn.Leaderboard, *arguments: Any, **options: Any) -> Contents:
        asked.append(arguments)
        return contents(board, *arguments, **options)

    monkeypatch.setattr(rn.Leaderboard, "contents", counted)
    command(finished, "run", finished / "board", "--output", finished / "out")
    assert len(asked) == 1


def test_rows_of_a_renamed_curve_are_named_and_not_ranked(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished / "out", tmp_path / "copy")
    (copy / "board.toml").write_text(BOARD.replace('name = "sigma"', 'name = "noise"'))
    board = rn.Leaderboard(copy)
    strays = {r.victim.victim["name"] for r in board.rows() if not board.ranked(r)}
    assert strays == {
        f"sigma | {line}"
        for line in ("one pass | 0.1", "one pass | 3", "5 votes | 0.1", "5 votes | 0.4", "5 votes | 3")
    }
    named = [p for p in board.verify() if "is no victim and no point of the board" in p]
    assert len(named) == 5
    assert all(name in "".join(named) for name in strays)


def test_two_rows_of_one_measurement_are_named_and_the_usual_one_is_shown(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished / "out", tmp_path / "copy")
    board = rn.Leaderboard(copy)
    expected = board.contents()
    row = next(r for r in board.rows() if r.victim.victim["name"] == "noisy")
    nothing_right = replace(row.victim.clean, right=np.zeros_like(row.victim.clean.right))
    for changes in ({"threads": 2}, {"threads": 3}, {"device": "cuda"}):
        board.add(replace(row, setting={**row.setting, **changes}, victim=replace(row.victim, clean=nothing_right)))
    found = board.contents()
    assert found.curves == expected.curves
    assert found.published == expected.published
    named = [p for p in board.verify() if "same victim, attack and seed" in p]
    assert len(named) == 3
    assert "threads" in "".join(named)


def test_on_a_board_with_attacks_points_are_not_attacked(finished: Path) -> None:
    import tomllib

    content = tomllib.loads(BOARD)
    attacks = {"null": "null", "random-noise": "random-noise"}
    content |= {"threat": {"norm": "linf", "eps": 0.1}, "attacks": attacks}
    board = board_from(content, "board.toml")
    records = run(board.experiment(), Store(finished / "cache" / "store"))
    assert len(records) == 2 * 2 + 6
    assert all(board.ranks(r.setting, r.attack, r.victim.victim) for r in records)
    assert [r.attack is None for r in records] == [False] * 4 + [True] * 6
    # A point's row has no attacker in it, so it is the same row on the board without attacks.
    free = {r.digest for r in rn.Leaderboard(finished / "out").rows()}
    assert {r.digest for r in records[4:]} <= free
    without_attacks = load_board(finished / "board")
    assert not any(without_attacks.ranks(r.setting, r.attack, r.victim.victim) for r in records[:4])
    listed_alone = next(r for r in rn.Leaderboard(finished / "out").rows() if r.victim.victim["name"] == "noisy")
    assert not board.ranks(listed_alone.setting, listed_alone.attack, listed_alone.victim.victim)
