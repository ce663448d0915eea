"""docs/submitting.md does what it says, on a toy board."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from robustnoise.leaderboard import Leaderboard
from robustnoise.submission.card import DefenseCard, read_card
from tests.submission.conftest import BOARD, cli

TEXT = (Path(__file__).parents[2] / "docs" / "submitting.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def commands(block: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in block.splitlines() if line.startswith("robustnoise ")]


def test_an_attack_in_five_minutes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BOARD").mkdir()
    (tmp_path / "BOARD" / "board.toml").write_text(BOARD.replace('"toy"', '"BOARD"'))
    (tmp_path / "darker").mkdir()
    (tmp_path / "darker" / "card.toml").write_text(blocks("toml")[0])
    write, score, check = blocks("sh")
    assert [cli(*c) for c in commands(write)] == [0]
    (code,) = blocks("python")
    exec(compile(code, "docs/submitting.md", "exec"), {})
    assert [cli(*c) for c in commands(score)] == [0, 0, 0]
    assert "4 of 4 rows published" in capsys.readouterr().out
    board = Leaderboard("BOARD")
    found = {(r.victim.victim["name"], r.attack["name"]): r.digest for r in board.rows() if r.attack}
    assert set(found) == {(v, a) for v in ("plain", "noisy") for a in ("null", "darker")}
    digest = found["noisy", "darker"]
    check = check.replace("DIGEST-PREFIX", digest[:10]).replace("DIGEST", digest)
    assert [cli(*c) for c in commands(check)] == [0, 0, 0]
    assert capsys.readouterr().out.count("The numbers hold") == 2


def test_the_card_of_a_defense_is_read(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text(blocks("toml")[1])
    assert isinstance(read_card(tmp_path), DefenseCard)


def test_every_key_of_a_card_is_explained() -> None:
    from robustnoise.submission.card import AttackCard

    keys = {f.alias or n for card in (AttackCard, DefenseCard) for n, f in card.model_fields.items()}
    table = TEXT[TEXT.index("### Card") : TEXT.index("Access and queries are *claims*")]
    assert {k for k in keys if f"`{k}`" not in table and f"`[{k}]`" not in table} == set()
