"""What strangers write is harmless where it is shown, and verify names what it can't check."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from robustnoise.errors import RowError
from robustnoise.leaderboard import Leaderboard
from robustnoise.records import EvaluationRecord, check_written, row_bytes
from robustnoise.report.parts import board_parts
from robustnoise.report.terminal import print_parts
from robustnoise.rowfiles import read_row
from robustnoise.spec import digest_of
from robustnoise.store import Store
from tests.submission.conftest import BOARD, CARD, cli, shifted

NASTY = "[red]x[/red] <script>alert(1)</script> ![i](http://a/b) [l](javascript:x) `c` | =1+1"


@pytest.fixture
def out(board: Leaderboard, handed_in: Path, cache: Path, tmp_path: Path) -> Path:
    """A run of an attack with a hostile card."""
    (handed_in / "card.toml").write_text(CARD.replace("A. Author", NASTY).replace('"none"', f'"{NASTY}"', 1))
    np.save(handed_in / "images.npy", shifted(board))
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "board.toml").write_text(BOARD)
    assert cli("board", "submit", str(handed_in), str(tmp_path / "board"), "--output", str(tmp_path / "out")) == 0
    return tmp_path / "out"


def change(path: Path, edit: Any) -> None:
    """Edit a row, with digests that fit again."""
    row = json.loads(path.read_text())
    edit(row)
    del row["seal"]
    row["digest"], row["outcome_digest"] = digest_of(row["identity"]), digest_of(row["outcome"])
    path.write_bytes(row_bytes(row | {"seal": digest_of(row)}))


def submitted_row(out: Path) -> Path:
    return next(p for p in sorted((out / "rows").glob("*.json")) if '"submitted"' in p.read_text())


def test_markdown_has_no_tag_link_or_picture_of_a_card(out: Path) -> None:
    text = (out / "REPORT.md").read_text()
    assert "## Submitted" in text
    line = next(line for line in text.splitlines() if line.startswith("| darker | attack |"))
    assert "<script" not in text
    assert "](http" not in line
    assert "](javascript" not in line
    assert line.replace("\\|", "").count("|") == 8  # seven cells
    assert "`" not in line.replace("\\`", "")


def test_the_terminal_shows_markup_as_text(out: Path) -> None:
    console = Console(width=400, file=io.StringIO(), record=True)
    print_parts(console, board_parts("t", Leaderboard(out).contents()))
    assert "[red]x[/red]" in console.export_text()


@pytest.mark.parametrize("text", ["\x1b[2J", "\x07", "a\u202eb", "a\nb"])
def test_a_row_with_invisible_characters_is_refused(out: Path, text: str) -> None:
    path = submitted_row(out)
    change(path, lambda row: row["identity"]["attack"].update(name=text))
    with pytest.raises(RowError, match=r"invisible character U\+") as caught:
        Leaderboard(out).rows()
    assert text not in str(caught.value)


@pytest.mark.parametrize("submitted", [None, [], {"card": None}, {"card": {"authors": 3, "queries": []}, "files": 1}])
def test_a_row_with_another_card_than_ours_is_shown_and_not_ranked(out: Path, submitted: Any) -> None:
    path = submitted_row(out)
    change(path, lambda row: row["identity"]["attack"].update(submitted=submitted))
    board = Leaderboard(out)
    board.write_report()
    row = json.loads(path.read_text())
    assert not board.ranked(EvaluationRecord.from_json(row))


def test_a_code_span_ends_where_it_should() -> None:
    from robustnoise.report.markdown import _code

    assert _code("a") == "`a`"
    assert _code("a ``b` c") == "``` a ``b` c ```"


# ------------------------------------------------------------------------------------------------------------- verify


def test_every_byte_of_a_row_counts(out: Path) -> None:
    path = submitted_row(out)
    whole = path.read_bytes()
    check_written(whole)
    read_row(path)
    missed = []
    for place in range(len(whole)):
        for flip in (1, 32):
            changed = bytearray(whole)
            changed[place] ^= flip
            try:
                EvaluationRecord.from_json(json.loads(changed))
                check_written(bytes(changed))
            except (RowError, ValueError):
                continue
            missed.append((place, flip))
    assert missed == []


CHANGES = (
    (b'"right": "e', b'"right": "f'),
    (b'"seed": 0', b'"seed": 1'),
    (b'"machine": "L', b'"machine": "M'),
    (b'"schema": 2', b'"schema": 1'),
    (b'"seal"', b'"seam"'),
    (b'"schema": 2', b'"schema":\t2'),
)


def test_verify_names_a_changed_row(out: Path) -> None:
    path = submitted_row(out)
    whole = path.read_bytes()
    for text, other in CHANGES:
        assert text in whole
        path.write_bytes(whole.replace(text, other, 1))
        problems = Leaderboard(out).verify()
        assert problems
        assert path.name in problems[0]
    path.write_bytes(whole.replace(b'"schema": 2', b'"schema": 3'))
    assert "schema 3; this version reads 1 to 2. Upgrade" in Leaderboard(out).verify()[0]
    path.write_bytes(whole)
    assert Leaderboard(out).verify() == []


def test_artifacts_are_rehashed_and_absent_ones_listed(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cli("board", "verify", str(out)) == 0
    said = capsys.readouterr().out
    assert "4 rows verified." in said
    assert "not here" not in said
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "empty"))
    assert cli("board", "verify", str(out)) == 0
    said = capsys.readouterr().out
    assert "1 artifacts" in said  # what was handed in
    for line in ("weights: plain, noisy", "scores: plain, plain under null", "adversarial images: plain under null"):
        assert f"not here, so not checked: {line}" in said
    (out / "submissions" / "darker" / "images.npy").unlink()
    assert cli("board", "verify", str(out)) == 0
    assert "files handed in: submissions/darker/images.npy" in capsys.readouterr().out


def test_a_damaged_artifact_is_named(
    out: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    images = out / "submissions" / "darker" / "images.npy"
    images.write_bytes(images.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    assert cli("board", "verify", str(out)) == 1
    assert "images.npy: sha256 is" in capsys.readouterr().out
    shutil.copytree(cache, tmp_path / "copy")
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "copy"))
    store = Store(tmp_path / "copy" / "store")
    cells = [store.read_cell(p) for p in store.cells() if p.parent.name == "train"]
    for cell in cells:  # other tests of the session may have trained with other seeds
        store.object_path(cell.outputs["weights"]).write_bytes(b"other")
    capsys.readouterr()
    assert cli("board", "verify", str(out)) == 1
    assert "its content doesn't match its hash" in capsys.readouterr().out


def test_counts_that_the_store_does_not_have_are_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from robustnoise.tally import pack, unpack

    def better(row: Any) -> None:
        clean = row["outcome"]["victim"]["clean"]
        clean["right"] = pack(np.full_like(unpack(clean["right"], 60), clean["draws"]))

    for path in (out / "rows").glob("*.json"):
        if json.loads(path.read_text())["identity"]["victim"]["name"] == "plain":
            change(path, better)
    Leaderboard(out).write_report()
    capsys.readouterr()
    assert cli("board", "verify", str(out)) == 1
    assert "the store has other counts for plain" in capsys.readouterr().out


def test_the_images_to_attack_are_written(board: Leaderboard, tmp_path: Path) -> None:
    assert cli("board", "images", str(board.path), str(tmp_path / "images.npz")) == 0
    with np.load(tmp_path / "images.npz") as found:
        assert found["x"].shape == (60, 1, 8, 8)
        assert found["x"].dtype == np.uint8
        assert len(found["ids"]) == len(found["y"]) == 60
