"""Submitted defenses meet the board's attacks; nothing of theirs runs, writes or reads where it shouldn't."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from robustnoise.api import BadData, BadParameter, Context
from robustnoise.building import create as create_plugin
from robustnoise.errors import BadSubmission
from robustnoise.leaderboard import Leaderboard
from robustnoise.models.files import load_classifier, save_classifier
from robustnoise.models.fresh import create
from robustnoise.submission import defense
from robustnoise.submission.submit import prepare
from tests.submission.conftest import BOARD, CARD, cli, rows, shifted

DEFENSE = """
schema = 1
kind = "defense"
name = "guarded"
authors = ["A. Author"]
data = "600 digits"
target = "weights.safetensors"
defense = "gaussian-input-noise(sigma=0.1) | vote(2)"
"""
FACTORY = """
from pathlib import Path
import torch
Path({ran!r}).touch()
def make():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A defense with weights."""
    place = tmp_path / "defense"
    place.mkdir()
    (place / "card.toml").write_text(DEFENSE)
    save_classifier(create("mlp(hidden=8)", (1, 8, 8), 10, seed=3), place / "weights.safetensors")
    return place


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The toy board, to be written to."""
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "board.toml").write_text(BOARD)
    return tmp_path / "board"


def card(folder: Path, *changes: tuple[str, str]) -> None:
    text = DEFENSE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "card.toml").write_text(text)


def refused(folder: Path, board: Leaderboard, **options: Any) -> str:
    with pytest.raises(BadSubmission) as caught:
        prepare(folder, board, **options)
    return str(caught.value)


def test_weights_are_scored_under_every_attack_and_published(
    folder: Path, toy: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli("board", "submit", str(folder), str(toy), "--output", str(out)) == 0
    views = {(v.victim, v.attack): v for v in Leaderboard(out).contents().rows}
    names = ("guarded", "guarded less inference", "plain")
    assert set(views) == {(v, a) for v in names for a in ("null", "random-noise")}
    assert all(v.ranked for v in views.values())
    assert views["guarded", "null"].against == "guarded less inference"
    assert views["guarded", "null"].delta_undefended is not None
    submitted = next(r["identity"]["victim"] for r in rows(out) if r["identity"]["victim"]["name"] == "guarded")
    weights = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    assert submitted["submitted"]["files"] == {"weights.safetensors": weights}
    assert "trusted_code" not in submitted["submitted"]
    assert submitted["target"]["text"] == "weights.safetensors"  # no path of the machine that scored it
    assert str(tmp_path) not in json.dumps(rows(out))
    assert cli("board", "publish", str(out), str(toy)) == 0
    assert "6 of 6 rows published" in capsys.readouterr().out
    path = next(
        p for p in (out / "rows").glob("*.json") if json.loads(p.read_text())["identity"]["victim"] == submitted
    )
    assert cli("board", "rescore", str(path)) == 0
    shutil.rmtree(out / "submissions")
    with pytest.raises(BadSubmission, match="--submission"):
        cli("board", "rescore", str(path))
    assert cli("board", "rescore", str(path), "--submission", str(folder)) == 0


def test_a_name_of_the_board_or_of_its_rows_is_refused(folder: Path, toy: Path, cache: Path, tmp_path: Path) -> None:
    card(folder, ('"guarded"', '"noisy"'))
    assert "has a victim 'noisy' already" in refused(folder, Leaderboard(toy))
    card(folder)
    assert cli("board", "submit", str(folder), str(toy), "--output", str(tmp_path / "out")) == 0
    prepare(folder, Leaderboard(tmp_path / "out"))  # the same again
    card(folder, ("sigma=0.1", "sigma=0.2"))
    assert "rows of something else called 'guarded'" in refused(folder, Leaderboard(tmp_path / "out"))


def test_code_runs_under_trust_alone_and_its_row_says_so(folder: Path, toy: Path, cache: Path, tmp_path: Path) -> None:
    card(folder, ("weights.safetensors", "theirs.py:make"))
    (folder / "theirs.py").write_text(FACTORY.replace("{ran!r}", repr(str(folder.parent / "ran"))))
    assert "pass --trust-code" in refused(folder, Leaderboard(toy))
    assert not (folder.parent / "ran").exists()
    found = prepare(folder, Leaderboard(toy), trust_code=True).experiment.victims[0]
    assert (folder.parent / "ran").exists()
    again = prepare(folder, Leaderboard(toy), trust_code=True).experiment.victims[0]
    assert found.classifier is not None
    assert again.classifier is not None
    assert found.classifier.digest == again.classifier.digest  # its random weights don't depend on where it ran
    identity = found.identity("d")
    assert identity["submitted"]["trusted_code"] is True
    assert identity["target"]["text"] == "theirs.py:make"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../weights.safetensors", "no path"),
        ("/etc/weights.safetensors", "no path"),
        ("onnx:../net.onnx", "no path"),
        ("../theirs.py:make", "no path"),
        (".hidden.safetensors", "no leading dot"),
        ("weights.bin", "is of no kind"),
        ("http://user:pass@host/x", "is of no kind|no user"),
        ("file:///etc/passwd", "is of no kind"),
    ],
)
def test_targets_outside_the_folder_are_refused(folder: Path, board: Leaderboard, target: str, message: str) -> None:
    import re

    card(folder, ("weights.safetensors", target))
    options = 'options = { name = "x", output = "labels" }'
    if target.startswith("http"):
        card(folder, ('target = "weights.safetensors"', f'target = "{target}"\n{options}'))
    assert re.search(message, refused(folder, board, trust_code=True))


@pytest.mark.parametrize("option", ["journal", "auth_env", "auth_header", "max_rows", "timeout", "retries"])
def test_a_card_names_no_secret_no_place_to_write_and_no_limit(folder: Path, board: Leaderboard, option: str) -> None:
    options = f'options = {{ name = "x", output = "labels", {option} = "HOME" }}'
    card(folder, ('target = "weights.safetensors"', f'target = "http://localhost:1/x"\n{options}'))
    assert f"options.{option}: is for whoever scores it" in refused(folder, board)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("gaussian-input-noise(sigma=0.1) | vote(2)", "plain-training"), "trains"),
        (("gaussian-input-noise(sigma=0.1) | vote(2)", "pretrained('/dev/zero')"), "defense: pretrained trains"),
        (("gaussian-input-noise(sigma=0.1) | vote(2)", "gaussian-noise"), "no defense 'gaussian-noise'"),
        (("gaussian-input-noise(sigma=0.1) | vote(2)", "vote(" * 30), "can't read"),
        (("weights.safetensors", "other.safetensors"), "No such file"),
    ],
)
def test_bad_defenses(folder: Path, board: Leaderboard, change: tuple[str, str], message: str) -> None:
    card(folder, change)
    assert message in refused(folder, board)


def test_damaged_or_foreign_weights_and_wrong_hashes(folder: Path, board: Leaderboard, tmp_path: Path) -> None:
    path = folder / "weights.safetensors"
    content = path.read_bytes()
    for bad in (content[:-1], b"", content[:8] + b"[" * 5000, b"\xff" * 64):
        path.write_bytes(bad)
        assert "weights.safetensors" in refused(folder, board)
    path.write_bytes(save({"0.weight": torch.ones(2)}))
    assert "--target FILE.py:FUNCTION --option weights=FILE" in refused(folder, board)
    save_classifier(create("mlp(hidden=8)", (1, 4, 4), 10, seed=3), path)
    assert "the data has 10 classes and images (1, 8, 8)" in refused(folder, board)
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(content)
    path.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in refused(folder, board)
    path.unlink()
    path.write_bytes(content)
    (folder / "card.toml").write_text(DEFENSE + f'[sha256]\n"weights.safetensors" = "{"0" * 64}"\n')
    assert "the card says 000" in refused(folder, board)


def test_a_pipe_in_a_card_or_a_row_is_never_waited_for(folder: Path, board: Leaderboard, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    card(folder, ("gaussian-input-noise(sigma=0.1) | vote(2)", f"vote(2) | pretrained(path='{pipe}')"))
    assert "pretrained trains" in refused(folder, board)
    with pytest.raises(BadData, match="expected a regular file"):
        create_plugin("defense", "pretrained", path=str(pipe))
    # A row names the hash: its file is touched when the weights are asked for, and not before.
    row = create_plugin("defense", "pretrained", path=str(pipe), sha256="0" * 64)
    with pytest.raises(BadData, match="expected a regular file"):
        row.apply(create("mlp(hidden=8)", (1, 8, 8), 10), Context())
    with pytest.raises(BadParameter, match="64 hexadecimal digits"):
        create_plugin("defense", "pretrained", path=str(pipe), sha256="anything")


def test_what_is_hashed_is_what_is_scored(
    folder: Path, board: Leaderboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "weights.safetensors"
    wanted = load_classifier(path).digest
    check = defense.check_hashes

    def swapped(*given: Any) -> list[str]:
        save_classifier(create("mlp(hidden=8)", (1, 8, 8), 10, seed=4), path)
        return check(*given)

    monkeypatch.setattr(defense, "check_hashes", swapped)
    victims = prepare(folder, board).experiment.victims
    bare = next(v.classifier for v in victims if v.name == "guarded less inference")
    assert bare is not None
    assert load_classifier(path).digest != wanted == bare.digest


class _Endpoint(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        images = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["images"]
        labels = (np.asarray(images).sum((1, 2, 3)) % 10).astype(int).tolist()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"labels": labels}).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The address of a model that answers labels."""
    server = HTTPServer(("127.0.0.1", 0), _Endpoint)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/x"
    server.shutdown()
    server.server_close()


def test_an_endpoint_is_scored_and_an_audit_that_it_can_not_answer_is_left_out(
    folder: Path, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "board.toml").write_text(BOARD + 'white = "audit(fgsm)"\n')
    options = 'options = { name = "theirs 1", output = "labels" }'
    card(folder, ('target = "weights.safetensors"', f'target = "{endpoint}"\n{options}'), ('defense = "g', '# "g'))
    submit: Callable[..., int] = lambda *more: cli(  # noqa: E731
        "board", "submit", str(folder), str(tmp_path / "board"), "--output", str(tmp_path / "out"), *more
    )
    with pytest.raises(BadSubmission, match="max_rows"):
        submit()
    assert submit("--option", "max_rows=1000") == 0
    said = capsys.readouterr().out
    assert f"images are sent to {endpoint}" in said
    assert "white needs gradients" in said
    found = {(r["identity"]["victim"]["name"], r["identity"]["attack"]["name"]) for r in rows(tmp_path / "out")}
    assert found == {(v, a) for v in ("guarded", "plain") for a in ("null", "random-noise")}


def test_a_header_that_promises_a_huge_net_takes_no_memory(folder: Path, board: Leaderboard) -> None:
    path = folder / "weights.safetensors"
    content = path.read_bytes()
    assert content.count(b'\\"hidden\\": 8') == 1
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(b'\\"hidden\\": 8', b'\\"hidden\\": 65536')
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    assert "weights.safetensors: its weights don't fit its architecture" in refused(folder, board)


def test_a_new_defense_meets_the_attacks_that_were_handed_in_before(
    folder: Path, toy: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attack = tmp_path / "attack"
    attack.mkdir()
    (attack / "card.toml").write_text(CARD)
    np.save(attack / "images.npy", shifted(Leaderboard(toy)))
    assert cli("board", "submit", str(attack), str(toy), "--output", str(tmp_path / "first")) == 0
    assert cli("board", "publish", str(tmp_path / "first"), str(toy)) == 0
    assert cli("board", "submit", str(folder), str(toy), "--output", str(tmp_path / "second")) == 0
    views = {(v.victim, v.attack): v for v in Leaderboard(tmp_path / "second").contents().rows}
    second = Leaderboard(tmp_path / "second")
    assert all(second.ranked(r) for r in second.rows() if r.attack and r.attack["name"] == "darker")
    assert views["guarded", "darker"].delta is not None
    # Both folders beside the rows: a row of the submitted defense under the submitted attack is scored again.
    shutil.copytree(tmp_path / "first" / "submissions" / "darker", tmp_path / "second" / "submissions" / "darker")
    named = {
        (r["identity"]["victim"]["name"], r["identity"]["attack"]["name"]): r["digest"]
        for r in rows(tmp_path / "second")
    }
    path = str(tmp_path / "second" / "rows" / f"{named['guarded', 'darker']}.json")
    assert cli("board", "rescore", path) == 0
    assert cli("board", "rescore", path, "--submission", str(folder)) == 0
    card(folder, ('"guarded"', '"other"'))
    with pytest.raises(BadParameter, match=r"is 'other'; the row scored darker, guarded\."):
        cli("board", "rescore", path, "--submission", str(folder))
    card(folder)
    capsys.readouterr()
    without = prepare(folder, Leaderboard(toy))  # no store, no folder beside the rows
    assert [a.name for a in without.experiment.attacks] == ["null", "random-noise"]
    assert "'darker' are neither beside" in without.notes[0]
    shutil.copytree(tmp_path / "first" / "submissions", toy / "submissions")
    assert [a.name for a in prepare(folder, Leaderboard(toy)).experiment.attacks][-1] == "darker"


def test_the_folder_of_another_board_is_left_alone(folder: Path, toy: Path, cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "board.toml").write_text(BOARD.replace('"toy"', '"another"'))
    for command in (["board", "submit", str(folder), str(toy)], ["run", str(toy)]):
        with pytest.raises(BadParameter, match="is the folder of board 'another'"):
            cli(*command, "--output", str(other))
    assert "another" in (other / "board.toml").read_text()
    assert not (other / "rows").exists()


def test_a_folder_that_is_not_there_is_named(board: Leaderboard, tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere", board).startswith(f"{tmp_path / 'nowhere'}: no such folder")
