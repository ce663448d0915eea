"""What the command line says of itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.text import Text

from robustnoise.cli import main
from robustnoise.cli.app import app


def _helps(command: Any, name: str = "robustnoise") -> Iterator[tuple[str, str]]:
    """Where each help text of a command and of those below it stands, and the text."""
    yield name, command.help or ""
    for parameter in command.params:
        yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""
    for below in getattr(command, "commands", {}).values():
        yield from _helps(below, f"{name} {below.name}")


def test_no_help_text_is_lost_as_markup() -> None:
    helps = dict(_helps(typer.main.get_command(app)))
    assert "Default: runs/BOARD" in helps["robustnoise run output"]
    assert {where: text for where, text in helps.items() if Text.from_markup(text).plain != text} == {}


def _said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["robustnoise", *arguments])
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # `python -m pytest` isn't what is asked
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("board",), ("cache",)])
def test_a_command_alone_shows_its_help_and_no_error(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _said(monkeypatch, capsys, *arguments) == ""


def test_a_usage_error_is_one_sentence_and_says_where_to_read_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _said(monkeypatch, capsys, "evalute")
    assert said == "Usage: No such command 'evalute'. Did you mean 'evaluate'? 'robustnoise --help' explains.\n"
    assert _said(monkeypatch, capsys, "run") == "Usage: Missing argument 'board'. 'robustnoise run --help' explains.\n"


@pytest.mark.parametrize("name", ["audit", "certify"])
def test_a_missing_victim_is_asked_for_by_example(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"'robustnoise {name} \"plain-training" in _said(monkeypatch, capsys, name)


def test_a_digest_that_no_row_has_says_where_digests_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "'robustnoise board show quickstart --csv'" in _said(
        monkeypatch, capsys, "board", "rescore", "zz", "quickstart"
    )
