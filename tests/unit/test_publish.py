"""Publishing is all or nothing: what is in the way is named at once, and no file changes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from robustnoise.cli.looking import publish
from robustnoise.errors import RowError
from robustnoise.leaderboard import Leaderboard

QUICKSTART = Path(__file__).parents[2] / "leaderboards" / "quickstart"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_all_conflicts_are_told_at_once_and_nothing_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Leaderboard, "write_report", lambda _: None)
    shutil.copytree(QUICKSTART / "rows", tmp_path / "run" / "rows")
    for name in ("run", "board"):
        (tmp_path / name).mkdir(exist_ok=True)
        shutil.copy(QUICKSTART / "board.toml", tmp_path / name)
    board = Leaderboard(tmp_path / "board")
    first, second, third, *_ = Leaderboard(tmp_path / "run").rows()
    others = [replace(r, victim=replace(r.victim, queries=r.victim.queries + 1)) for r in (second, third)]
    known = set(board.add(*others))
    known.add(board.rows_folder / f"{first.digest}.json")
    (board.rows_folder / f"{first.digest}.json").write_text("{")
    before = _files(board.path)

    with pytest.raises(RowError, match="remove these files and give the command again") as refused:
        publish(tmp_path / "run", str(board.path))
    assert {path for path in known if str(path) in str(refused.value)} == known
    assert len(str(refused.value).splitlines()) == 2 + len(known)
    assert second.victim.victim["name"] in str(refused.value)
    assert _files(board.path) == before

    for path in known:
        path.unlink()
    publish(tmp_path / "run", str(board.path))
    assert _files(board.rows_folder) == _files(tmp_path / "run" / "rows")


def test_two_outcomes_of_one_row_at_once_are_refused(tmp_path: Path) -> None:
    shutil.copy(QUICKSTART / "board.toml", tmp_path)
    board, record = Leaderboard(tmp_path), Leaderboard(QUICKSTART).rows()[0]
    other = replace(record, victim=replace(record.victim, queries=record.victim.queries + 1))
    with pytest.raises(RowError, match="holds another outcome"):
        board.add(record, other)
    assert not board.rows()
    assert board.add(record, record) == board.add(record) * 2
