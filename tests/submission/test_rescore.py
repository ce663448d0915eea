"""Fresh draws tell a true row from an edited one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnoise.errors import RobustnoiseError
from robustnoise.leaderboard import Leaderboard
from robustnoise.spec import digest_of
from robustnoise.stats import Delta
from robustnoise.submission.rescoring import Compared, Rescored
from robustnoise.tally import pack, unpack
from tests.submission.conftest import BOARD, cli, shifted


@pytest.fixture
def run(board: Leaderboard, handed_in: Path, cache: Path, tmp_path: Path) -> Path:
    """A run with rows of the submitted attack."""
    np.save(handed_in / "images.npy", shifted(board))
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "board.toml").write_text(BOARD)
    assert cli("board", "submit", str(handed_in), str(tmp_path / "board"), "--output", str(tmp_path / "out")) == 0
    return tmp_path / "out"


def path_of(run: Path, victim: str, attack: str) -> Path:
    for path in (run / "rows").glob("*.json"):
        identity = json.loads(path.read_text())["identity"]
        if (identity["victim"]["name"], identity["attack"]["name"]) == (victim, attack):
            return path
    raise AssertionError(f"no row of {victim} under {attack}")


def edited(path: Path, change: Any, part: str = "right") -> None:
    """Change the counts of the victim under attack, with digests that fit again."""
    row = json.loads(path.read_text())
    tally = row["outcome"]["victim"]["adversarial"]
    right = unpack(tally[part], row["outcome"]["n"])
    tally[part] = pack(change(right, tally["draws"]).astype(np.uint16))
    row["outcome_digest"] = digest_of(row["outcome"])
    path.write_text(json.dumps(row))


@pytest.mark.parametrize("victim", ["plain", "noisy"])
@pytest.mark.parametrize("attack", ["darker", "null"])
def test_a_true_row_holds(run: Path, victim: str, attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(run, victim, attack)
    capsys.readouterr()
    assert cli("board", "rescore", str(path), "--json") == 0
    said = capsys.readouterr()
    assert "made again" not in said.err
    found = json.loads(said.out)
    assert found["holds"]
    assert found["same_objects"]
    exact = {c["name"]: c["differing"] for c in found["comparisons"]}
    assert exact["plain"] == 0
    if victim == "noisy":
        assert exact["noisy"] is None
        clean = next(c for c in found["comparisons"] if (c["name"], c["on"]) == ("noisy", "clean"))
        assert clean["old"] != clean["fresh"]  # other draws indeed
        assert clean["delta"]["low"] <= clean["fresh"] - clean["old"] <= clean["delta"]["high"]


def test_another_scoring_seed_gives_other_draws(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, found = path_of(run, "noisy", "darker"), []
    for seed in ("1", "2", "1"):
        capsys.readouterr()
        assert cli("board", "rescore", path.name[:12], str(run), "--scoring-seed", seed, "--json") == 0
        found.append(json.loads(capsys.readouterr().out)["comparisons"])
    assert found[0] == found[2]
    assert found[0] != found[1]


def test_a_better_number_than_the_draws_give_does_not_hold(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(run, "noisy", "darker")

    def better(right: Any, draws: int) -> Any:
        return np.minimum(right + 2, draws)

    edited(path, better)
    assert Leaderboard(run).rows()  # its digests fit: only fresh draws find it
    assert cli("board", "rescore", str(path)) == 1
    assert "do NOT hold" in capsys.readouterr().out


def test_a_row_that_would_choose_another_worst_attack_does_not_hold(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = path_of(run, "noisy", "darker")
    edited(path, np.full_like, "select")
    assert cli("board", "rescore", str(path)) == 1
    assert "to choose the worst" in capsys.readouterr().out


def test_right_answers_that_were_moved_to_other_images_do_not_hold(run: Path) -> None:
    """Gathered on as few images as will hold them: the accuracy stays, a persistent attacker seems to win less."""
    path = path_of(run, "noisy", "darker")

    def gathered(right: Any, draws: int) -> Any:
        found, whole = np.zeros_like(right), int(right.sum()) // draws
        found[np.argsort(-right.astype(int), kind="stable")[:whole]] = draws
        return found

    edited(path, gathered)
    assert cli("board", "rescore", str(path)) == 1


def test_one_answer_of_a_deterministic_victim_is_enough(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(run, "plain", "darker")

    def one(right: Any, draws: int) -> Any:
        right = right.copy()
        right[7] = 1 - right[7]
        return right

    edited(path, one)
    assert cli("board", "rescore", str(path)) == 1
    assert "1 images differ" in capsys.readouterr().out


def test_what_the_store_lacks_is_said_first_and_made_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "empty"))
    path = path_of(run, "noisy", "darker")
    capsys.readouterr()
    assert cli("board", "rescore", str(path), "--plan") == 0
    said = capsys.readouterr()
    assert "made again: train noisy" in said.err
    assert "made again: craft darker" in said.err
    assert not (tmp_path / "empty" / "store").exists()
    assert cli("board", "rescore", str(path)) == 0
    assert "The numbers hold" in capsys.readouterr().out
    shutil.rmtree(run / "submissions")
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "empty again"))
    with pytest.raises(ValueError, match="--submission"):
        cli("board", "rescore", str(path))


def test_a_net_made_again_with_other_weights_tells_nothing_against_the_row(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = path_of(run, "plain", "darker")
    row = json.loads(path.read_text())
    row["identity"]["victim"]["digest"] = "0" * 64
    row["digest"] = digest_of(row["identity"])
    path.write_text(json.dumps(row))
    edited(path, lambda right, _: 1 - right)
    assert cli("board", "rescore", str(path)) == 4
    assert "can't be told" in capsys.readouterr().out


def test_rescored_rows_are_never_ranked(run: Path) -> None:
    board = Leaderboard(run)
    record = board.rows()[0]
    assert board.ranked(record)
    setting = {**record.setting, "scoring_seed": 1}
    assert not board.board.ranks(setting, record.attack, record.victim.victim)


def test_attacks_that_ask_or_fit_a_substitute_are_found_again_from_the_row(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asking = "transfer(jacobian(25, rounds=1, epochs=1, model=mlp(hidden=8)), fgsm)"
    text = BOARD.replace("per_image = 100", "per_image = 100\nseed_examples = 40")
    (tmp_path / "board.toml").write_text(f'{text}asking = "{asking}"\nwhite = "audit(fgsm)"\n')
    assert cli("run", ".", "--output", "out", "--set", "run.seed=3", "--limit", "50") == 0
    for attack in ("asking", "white", "random-noise"):
        path = path_of(tmp_path / "out", "noisy", attack)
        capsys.readouterr()
        assert cli("board", "rescore", str(path)) == 0
        said = capsys.readouterr()
        assert "made again" not in said.err
        assert "The numbers hold" in said.out


def test_a_row_without_an_attack_is_rescored_on_clean_images(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    clean = BOARD[: BOARD.index("[threat]")] + BOARD[BOARD.index("[run]") : BOARD.index("[attacks]")]
    (tmp_path / "board.toml").write_text(clean)
    assert cli("run", ".", "--output", "out") == 0
    for path in (tmp_path / "out" / "rows").glob("*.json"):
        assert cli("board", "rescore", str(path), "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {c["on"] for c in found["comparisons"]} == {"clean"}


@pytest.mark.parametrize("threads", [-1, 10**6, None])
def test_a_row_starts_no_more_threads_than_a_board(run: Path, threads: int | None) -> None:
    path = path_of(run, "noisy", "null")
    row = json.loads(path.read_text())
    row["identity"]["setting"]["threads"] = threads
    row["digest"] = digest_of(row["identity"])
    del row["seal"]
    path.write_text(json.dumps(row))
    with pytest.raises(RobustnoiseError, match="threads|not supported between"):
        cli("board", "rescore", str(path))


@pytest.mark.parametrize(("row", "board"), [("nowhere.json", None), ("", "."), ("zz", ".")])
def test_no_such_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str, board: str | None) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "board.toml").write_text(BOARD)
    with pytest.raises(ValueError, match="no such file|no row of"):
        cli("board", "rescore", row, *([board] if board else []))


def test_p_values_of_a_row_are_holms() -> None:
    def compared(p: float) -> Compared:
        return Compared("a", "clean", 0.5, 0.5, Delta(0.0, -0.1, 0.1, 1.0, 100, "m"), None, True, p)

    found = Rescored([compared(0.0008), compared(0.5)], made_again=False)
    assert found.adjusted == [0.0016, 0.5]
    assert found.holds
    assert not Rescored([compared(0.0004), compared(0.5)], made_again=False).holds
