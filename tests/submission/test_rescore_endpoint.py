"""A row of an endpoint is scored again as whoever scores it says, whatever stands in the row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustnoise.errors import BadBoard, BadParameter, RowError
from robustnoise.spec import digest_of
from tests.hostile.test_secrets import BOARD, logits
from tests.submission.conftest import cli
from tests.unit.targets.server import Endpoint, serving

pytest.importorskip("httpx")


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A model that was measured: its run is in the folder ``out``, and the store and journal of the run are gone."""
    monkeypatch.setenv("ROBUSTNOISE_AUTH_THEIRS", "Bearer abc")
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "theirs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "board").mkdir()
    with serving() as found:
        found.answer = logits
        (tmp_path / "board" / "board.toml").write_text(BOARD.format(url=found.url, rows=1000))
        assert cli("run", "board", "--output", "out") == 0
        monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "mine"))
        found.requests.clear()
        yield found


def a_row(folder: str = "out") -> Path:
    return next(Path(folder, "rows").glob("*.json"))


def test_a_row_is_scored_again_as_its_board_asks(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli("board", "rescore", str(a_row()), "--json") == 0
    assert json.loads(capsys.readouterr().out)["holds"]
    assert endpoint.requests


def test_a_row_of_no_victim_of_the_board_needs_a_limit_from_whoever_scores_it(endpoint: Endpoint) -> None:
    board = Path("out/board.toml")
    board.write_text(board.read_text().replace("theirs 1", "theirs 2"))
    with pytest.raises(BadParameter, match="max_rows"):
        cli("board", "rescore", str(a_row()))
    assert not endpoint.requests
    assert cli("board", "rescore", str(a_row()), "--option", "max_rows=1000") == 0
    assert "Bearer abc" not in str(endpoint.requests)


@pytest.mark.parametrize("option", [{"auth_env": "HOME"}, {"max_rows": 10**9}, {"journal": "here.jsonl"}])
def test_a_row_names_no_secret_no_place_to_write_and_no_limit(endpoint: Endpoint, option: dict[str, object]) -> None:
    row = json.loads(a_row().read_text())
    row["identity"]["victim"]["target"]["options"] |= {"max_rows": 1000, **option}
    row["digest"] = digest_of(row["identity"])
    del row["seal"]
    a_row().write_text(json.dumps(row))
    with pytest.raises(RowError, match="is for whoever scores it"):
        cli("board", "rescore", str(a_row()))
    assert not endpoint.requests
    assert not Path("here.jsonl").exists()


@pytest.mark.parametrize(
    ("option", "why"), [('auth_env = "HOME"', "auth_env"), ('journal = "here.jsonl"', "no place to write")]
)
def test_a_board_names_no_secret_and_no_place_to_write(endpoint: Endpoint, option: str, why: str) -> None:
    board = Path("board/board.toml")
    board.write_text(board.read_text().replace('auth_env = "ROBUSTNOISE_AUTH_THEIRS"', option))
    with pytest.raises(BadBoard, match=why):
        cli("run", "board", "--output", "again")
    assert not endpoint.requests
    assert not Path("here.jsonl").exists()
