"""The command plugins: traits by kind, in a terminal of 100 columns and in a pipe."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from robustnoise.cli.listing import KINDS, print_rows, show_plugins
from robustnoise.registry import registry
from tests.contracts.made import registered_for_now

Rows = dict[str, dict[str, Any]]


def _rows(kind: str | None, capsys: pytest.CaptureFixture[str]) -> Rows:
    show_plugins(kind, [], json=True)
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def _drawn(rows: Rows, *, columns: int | None) -> list[str]:
    """The lines of a terminal with so many columns, or of a pipe."""
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=columns is not None, width=columns, color_system=None)
    print_rows(list(rows.values()), terminal)
    return file.getvalue().splitlines()


def test_defenses_show_stage_traits_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    rows = _rows("defenses", capsys)
    columns = ("stage", "stochastic", "differentiable", "passes")
    shown = {name: tuple(rows[name][c] for c in columns) for name in rows}
    assert shown["plain-training"] == ("training", False, True, None)
    assert shown["gaussian-input-noise"] == ("inference", True, True, 1)
    assert shown["vote"] == ("inference", False, "stand-in", 16)
    assert shown["adaptive-vote"] == ("inference", False, "stand-in", "up to 64")
    assert shown["pretrained"] == ("training", False, True, None)  # can't be built without its file
    assert {row["kind"] for row in rows.values()} == {"defense"}


def test_attacks_show_access_and_whether_they_ask(capsys: pytest.CaptureFixture[str]) -> None:
    rows = _rows("attacks", capsys)
    shown = {name: (row["access"], row["asks"], row["role"]) for name, row in rows.items()}
    assert shown["null"] == ("labels", False, "control")
    assert shown["rays"] == ("labels", True, "ranked")
    assert shown["square"] == ("scores", True, "ranked")
    assert shown["audit"] == ("gradients", False, "audit")
    assert shown["transfer"] == ("by substitute", None, None)


def test_substitutes_crafters_and_models(capsys: pytest.CaptureFixture[str]) -> None:
    substitutes, crafters, models = (_rows(kind, capsys) for kind in ("substitutes", "crafters", "models"))
    assert (substitutes["independent"]["asks"], substitutes["independent"]["networks"]) == (False, 1)
    assert (substitutes["copycat"]["access"], substitutes["copycat"]["asks"]) == ("labels", True)
    assert crafters["pgd"]["what"].startswith("gradient(steps=40")
    # Two hidden layers of 200 on 784 pixels: 784 * 200 + 200 + 200 * 200 + 200 + 200 * 10 + 10.
    hidden = registry().find("mlp")().hidden  # type: ignore[attr-defined]
    assert models["mlp"]["weights"] == 784 * hidden + hidden + hidden * hidden + hidden + hidden * 10 + 10


@pytest.mark.parametrize("kind", KINDS)
def test_singular_and_plural_are_one_and_hold_what_is_registered(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _rows(kind, capsys)
    assert rows == _rows(f"{kind}s", capsys)
    assert set(rows) == {name for name, row in _rows(None, capsys).items() if row["kind"] == kind}


def test_everything_fits_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (None, *KINDS):
        rows = _rows(kind, capsys)
        lines = _drawn(rows, columns=100)
        assert max(map(len, lines)) <= 100
        # No name is broken, and what a plugin does has room.
        assert set(rows) <= {word for line in lines for word in line.split()}
        assert lines[0].index("what it does") <= 75


def test_a_pipe_gets_one_line_a_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    rows = _rows(None, capsys)
    head, *lines = _drawn(rows, columns=None)
    assert head.split() == ["kind", "name", "what", "it", "does"]
    assert [line.split()[:2] for line in lines] == [[row["kind"], name] for name, row in rows.items()]
    assert all(line.endswith(row["what"]) for line, row in zip(lines, rows.values(), strict=True))


def test_one_that_fails_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "failing.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from robustnoise.api import Defense, DefenseTraits, Stage\n"
        "@dataclass(frozen=True)\n"
        "class Fails(Defense):\n"
        "    traits = DefenseTraits(Stage.INFERENCE)\n"
        "    def apply(self, model, ctx):\n"
        "        raise KeyError('mine')\n"
        "PLUGINS = {'fails': 'Fails', 'absent': 'Absent'}\n"
    )
    with registered_for_now():
        show_plugins("defenses", [path], json=True)
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert rows["failing/fails"]["passes"] is None
        assert rows["vote"]["passes"] == 16
        assert "failing/absent" not in rows
        assert _rows(None, capsys)["failing/absent"]["kind"] == "broken"


def test_one_plugin_is_shown_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    show_plugins("vote", [], json=False)
    out = capsys.readouterr().out
    assert out.startswith("vote (defense, version 1)\n")
    assert "  passes: a whole number, at least 1, at most 100000 [default: 16]" in out
