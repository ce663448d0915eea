"""Boards, cards, rows, audits, cells, journals and answers from strangers: TOML and JSON cut, changed and made up."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.small_board import BOARD
from robustnoise.board import load_board
from robustnoise.errors import BadBoard, BadParameter, BadSubmission, CorruptArtifact, RowError, TargetFailed
from robustnoise.models.targets.codecs import CODECS
from robustnoise.models.targets.journal import Journal, _digest
from robustnoise.rowfiles import read_audit, read_row
from robustnoise.spec import digest_of
from robustnoise.store import Store
from robustnoise.submission.card import read_card
from tests.hostile.bounds import bounded
from tests.hostile.mutations import JSON_TEXTS, TOML_VALUES, as_json, damaged, examples, nasty, rewritten
from tests.submission.conftest import CARD

ROOT = Path(__file__).parents[2] / "leaderboards"
ROW = json.loads(min((ROOT / "quickstart" / "rows").glob("*.json")).read_text())
AUDIT = json.loads(min((ROOT / "mnist-linf" / "audits").glob("*.json")).read_text())
CELL = {
    "schema": 1,
    "stage": "score",
    "key": "a" * 64,
    "inputs": {"seed": 1},
    "outputs": {"a": "0" * 64},
    "facts": {"n": 1},
}
ANSWER = {"logits": [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]}


def _resealed(tree: Any) -> Any:
    """With digests that fit, as whoever means harm would write them."""
    if not isinstance(tree, dict):
        return tree
    for part, name in (("identity", "digest"), ("outcome", "outcome_digest")):
        try:
            tree = tree | {name: digest_of(tree[part])}
        except (KeyError, ValueError, RecursionError):
            continue
    return {k: v for k, v in tree.items() if k != "seal"}


def _board(path: Path) -> None:
    try:
        load_board(path.parent)
    except BadBoard as error:
        assert str(path) in str(error)
        assert len(str(error)) < 50_000


def _card(path: Path) -> None:
    try:
        read_card(path.parent)
    except BadSubmission as error:
        assert path.name in str(error)


def _row(path: Path) -> None:
    try:
        read_row(path)
    except RowError as error:
        assert str(path) in str(error)


def _audit(path: Path) -> None:
    try:
        read_audit(path)
    except RowError as error:
        assert str(path) in str(error)


def _cell(path: Path) -> None:
    try:
        Store(path.parents[2]).read_cell(path)
    except CorruptArtifact as error:
        assert str(path) in str(error)


def _journal(path: Path) -> None:
    try:
        Journal(path, "t").refresh()
    except (CorruptArtifact, BadParameter) as error:
        assert str(path) in str(error)


def _answer(path: Path) -> None:
    with contextlib.suppress(TargetFailed):
        CODECS["json"].decode(path.read_bytes(), "logits")


def _line(tree: Any) -> bytes:
    body = json.dumps(tree).encode()
    return _digest(body) + b" " + body + b"\n"


HEAD = _line({"format": "robustnoise-journal-1", "target": "t"})
TEXTS: dict[str, tuple[str, Callable[[Path], None], st.SearchStrategy[bytes]]] = {
    "board": ("board.toml", _board, st.one_of(rewritten(BOARD), damaged(BOARD.encode()))),
    "card": ("card.toml", _card, st.one_of(rewritten(CARD), damaged(CARD.encode()))),
    "row": ("row.json", _row, st.one_of(nasty(ROW).map(_resealed).map(as_json), damaged(as_json(ROW)))),
    "audit": ("audit.json", _audit, st.one_of(nasty(AUDIT).map(_resealed).map(as_json), damaged(as_json(AUDIT)))),
    "cell": (f"cells/score/{'a' * 64}.json", _cell, st.one_of(nasty(CELL).map(as_json), damaged(as_json(CELL)))),
    "journal": ("x.jsonl", _journal, nasty({"sent": 3, "answers": {"k": "QQ=="}}).map(lambda tree: HEAD + _line(tree))),
    "answer": ("answer.json", _answer, st.one_of(nasty(ANSWER).map(as_json), damaged(as_json(ANSWER)))),
}


def _place(factory: pytest.TempPathFactory, name: str) -> Path:
    path = factory.getbasetemp() / f"hostile-{name}" / TEXTS[name][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _read(path: Path, name: str, content: bytes) -> None:
    path.write_bytes(content)
    if name == "journal":
        TEXTS[name][1](path)  # a journal is locked and mended as it is read, so it is written to
        return
    with bounded():
        TEXTS[name][1](path)


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
@examples(50)
def test_strange_texts_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    _read(_place(tmp_path_factory, name), name, data.draw(TEXTS[name][2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
@examples(2000)
def test_more_strange_texts_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    _read(_place(tmp_path_factory, name), name, data.draw(TEXTS[name][2]))


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_made_up_are_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = _place(tmp_path_factory, name)
    for content in (*JSON_TEXTS, *(f"x = {value}".encode() for value in TOML_VALUES)):
        _read(path, name, content)


def test_a_board_s_override_may_hold_anything(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(BOARD)
    assert tomllib.loads(BOARD)
    with pytest.raises(BadBoard, match="epochs"):
        load_board(tmp_path, [f"victims.plain=plain-training(epochs={'9' * 5000})"])
    for key in ("run.draws", "victims.plain", "threat.eps", "a.b.c", "data", "run"):
        for value in TOML_VALUES:
            with bounded():
                try:
                    load_board(tmp_path, [f"{key}={value}"])
                except BadBoard as error:
                    assert len(str(error)) < 50_000
