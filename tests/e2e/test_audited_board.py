"""Audits of a board, and the command: records beside the rows, flags on rows, exit codes, JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import robustnoise as rn
from robustnoise.audits import AuditRecord
from robustnoise.cli.app import app
from robustnoise.cli.places import Place
from robustnoise.cli.running import run_board
from robustnoise.errors import BadBoard, BadParameter, RowError
from robustnoise.harness import auditing
from robustnoise.registry import Registry, registry
from robustnoise.rowfiles import read_audit

BOARD = """
schema = 1
name = "audited"
[data]
name = "digits"
train = 600
attacker = 200
validation = 50
evaluation = 128
[threat]
norm = "linf"
eps = 0.2
[run]
model = "mlp(hidden=32)"
undefended = "plain"
draws = 5
threads = 1
headline = ["plain", "noisy"]
baseline = "at"
[victims]
plain = "plain-training(epochs=15, batch_size=50)"
at = "pgd-training(eps=0.2, epochs=15, batch_size=50, inner=pgd(steps=2, relative_step=0.7))"
noisy = "plain-training(epochs=15, batch_size=50) | gaussian-input-noise(sigma=0.3)"
[attacks]
null = "null"
random-noise = "random-noise"
shared = "transfer(independent(plain-training(epochs=30), mlp(hidden=32)), pgd(steps=10, relative_step=0.2))"
"""


@pytest.fixture(scope="module", autouse=True)
def little_effort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing, "STEPS", 10)
        patch.setattr(auditing, "DRAWS", 2)
        patch.setattr(auditing, "QUERIES", 60)
        transfer = "transfer(independent(plain-training(epochs=15), mlp(hidden=32)), pgd(5, relative_step=0.4))"
        ladder = [replace(r, attack=transfer) if r.rung == "transfer" else r for r in registry().ladder()]
        patch.setattr(Registry, "ladder", lambda _: ladder)
        # The command runs with two threads, which wait for each other where other tests run beside it.
        patch.setattr(torch, "set_num_threads", lambda _: None)
        patch.setenv("ROBUSTNOISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with its audits."""
    base = tmp_path_factory.mktemp("audited")
    (base / "board").mkdir()
    (base / "board" / "board.toml").write_text(BOARD)
    options = {"device": "cpu", "place": Place(), "data_dir": None, "plugins": [], "plan": False}
    run_board(str(base / "board"), base / "out", [], audits=True, **options)  # type: ignore[arg-type]
    return base / "out"


def test_an_audit_is_made_of_every_headline_victim(ran: Path) -> None:
    audits = rn.Leaderboard(ran).audits()
    assert sorted(a.victim["name"] for a in audits) == ["noisy", "plain"]
    assert {path.stem for path in (ran / "audits").glob("*.json")} == {a.digest for a in audits}
    (noisy,) = [a for a in audits if a.victim["name"] == "noisy"]
    assert noisy.baseline is not None
    assert noisy.baseline["name"] == "at"
    assert noisy.n == 128


def test_its_flags_stand_on_all_rows_of_the_victim_and_block_them(ran: Path) -> None:
    board = rn.Leaderboard(ran)
    frame = board.to_frame()
    noisy = frame[frame.victim == "noisy"]
    assert noisy["flags"].str.startswith("NOISE_OFF_BELOW_BASELINE").all()
    assert not noisy.ranked.any()
    assert frame[frame.victim != "noisy"].ranked.all()
    assert all(map(board.ranked, board.rows()))  # they follow the protocol all the same
    # Its listed net isn't audited by name, and has no flag.
    assert {s.victim for s in board.contents().summary if s.rank_shared} == {"plain", "at"}
    report = (ran / "REPORT.md").read_text()
    assert report.count("no: NOISE_OFF_BELOW_BASELINE") == 4  # three rows and the place in the ranking


def test_an_audit_in_another_ball_says_nothing_of_the_rows(ran: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(ran, tmp_path / "copy")
    board = rn.Leaderboard(copy)
    for path in (copy / "audits").glob("*.json"):
        audit = read_audit(path)
        path.unlink()
        threat = {**audit.setting["threat"], "eps": 0.1}
        board.add(replace(audit, setting={**audit.setting, "threat": threat}))
    assert not any("NOISE_OFF" in raised.flag for view in board.contents().rows for raised in view.flags)


def test_the_page_shows_accuracy_against_the_radius(ran: Path) -> None:
    curves = {c["x"]: c for c in rn.Leaderboard(ran).page_data()["curves"]}
    lines = curves["linf eps (pixels)"]["lines"]
    assert sorted(line["label"].split()[0] for line in lines) == ["noisy", "plain"]
    assert all([p[0] for p in line["points"]] == [0.0, 0.1, 0.2, 0.4, 1.0] for line in lines)


def test_verify_checks_audits(ran: Path, tmp_path: Path) -> None:
    assert rn.Leaderboard(ran).verify() == []
    copy = shutil.copytree(ran, tmp_path / "copy")
    path = min((copy / "audits").glob("*.json"))
    plain = json.loads(path.read_text())
    plain["outcome"]["passes"] += 1
    path.write_text(json.dumps(plain))
    (problem,) = rn.Leaderboard(copy).verify()
    assert path.name in problem
    assert "outcome was changed after it was written" in problem
    with pytest.raises(RowError, match=path.name):
        rn.Leaderboard(copy).contents()


def test_verify_names_audits_that_do_not_belong(ran: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(ran, tmp_path / "copy")
    (copy / "audits" / "note.txt").write_text("hello")
    text = (copy / "board.toml").read_text()
    (copy / "board.toml").write_text(text.replace("sigma=0.3", "sigma=0.4"))
    problems = [p for p in rn.Leaderboard(copy).verify() if "/audits/" in p]
    assert sorted(p.split(": ", 1)[1] for p in problems) == [
        "audits no victim of the board on its data in its ball; remove it.",
        "not an audit.",
    ]


def test_publishing_copies_audits_of_the_board(ran: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    board.mkdir()
    (board / "board.toml").write_text(BOARD)
    done = CliRunner().invoke(app, ["board", "publish", str(ran), str(board)])
    assert done.exit_code == 0, done.output
    # plain, at, noisy: three attacks each
    assert "9 of 9 rows and 2 audits published" in done.output
    assert rn.Leaderboard(board).verify() == []
    again = rn.Leaderboard(board).audits()[0]
    assert [path.stem for path in rn.Leaderboard(board).add(again)] == [again.digest]
    other = BOARD.replace("eps = 0.2\n[run]", "eps = 0.1\n[run]")
    (board / "board.toml").write_text(other)
    assert not rn.Leaderboard(board).board.audits(again.setting, again.victim)


def test_another_outcome_of_an_audit_is_refused(ran: Path, tmp_path: Path) -> None:
    board = rn.Leaderboard(shutil.copytree(ran, tmp_path / "copy"))
    plain = board.audits()[0].to_json()
    plain["outcome"]["passes"] = 7
    changed = AuditRecord.from_json(plain | {"outcome_digest": rn_digest(plain["outcome"])})
    with pytest.raises(RowError, match="holds another outcome"):
        board.add(changed)


def rn_digest(value: object) -> str:
    from robustnoise.spec import digest_of

    return digest_of(value)


def test_a_baseline_must_be_a_victim_and_an_audit_needs_a_ball(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(BOARD.replace('baseline = "at"', 'baseline = "att"'))
    with pytest.raises(BadBoard, match=r"run\.baseline: 'att' is none of the listed victims\. Did you mean 'at'"):
        rn.Leaderboard(tmp_path)
    clean = BOARD[: BOARD.index("[attacks]")].replace('[threat]\nnorm = "linf"\neps = 0.2\n', "")
    (tmp_path / "board.toml").write_text(clean)
    options = {"device": "cpu", "place": Place(), "data_dir": None, "plugins": [], "plan": False}
    with pytest.raises(BadParameter, match="--audit: audited has no threat model"):
        run_board(str(tmp_path), None, [], audits=True, **options)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- command

OPTIONS = ["--data", "digits", "--eps", "0.2", "--model", "mlp(hidden=32)", "--draws", "3", "--images", "32"]


def test_the_command_prints_a_verdict_and_exits_with_0() -> None:
    done = CliRunner().invoke(app, ["audit", "plain-training(epochs=15)", *OPTIONS])
    assert done.exit_code == 0, done.output
    assert "Audit of plain-training(epochs=15) with robustnoise" in done.output
    assert "No check raised a flag that speaks against these numbers." in done.output
    assert "Also raised: TOO_FEW_IMAGES." in done.output


def test_a_blocking_flag_exits_with_1_and_json_says_why() -> None:
    victim = "plain-training(epochs=15, batch_size=50) | gaussian-input-noise(sigma=0.3)"
    baseline = "pgd-training(eps=0.2, epochs=15, batch_size=50, inner=pgd(steps=2, relative_step=0.7))"
    arguments = ["audit", victim, "--baseline", baseline, *OPTIONS, "--images", "192", "--json"]
    done = CliRunner().invoke(app, arguments)
    found = json.loads(done.stdout)
    assert (done.exit_code, found["blocked"]) == (1, True)
    record = AuditRecord.from_json(found["record"])
    assert record.baseline is not None
    assert [c["flag"] for c in found["checks"] if c["state"] == "raised" and c["blocks"]] == [
        "NOISE_OFF_BELOW_BASELINE"
    ]


def test_somebodys_factory_needs_trust_and_is_told(tmp_path: Path) -> None:
    factory = tmp_path / "theirs.py"
    factory.write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    arguments = ["audit", "--target", f"{factory}:build", *OPTIONS]
    assert isinstance(CliRunner().invoke(app, arguments).exception, BadBoard)
    done = CliRunner().invoke(app, [*arguments, "--trust-code", "--json"])
    found = json.loads(done.stdout)
    assert next(c["state"] for c in found["checks"] if c["flag"] == "TRUSTED_CODE") == "raised"


def test_an_onnx_file_is_audited_as_far_as_it_goes(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weight = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    done = CliRunner().invoke(app, ["audit", "--target", f"onnx:{tmp_path / 'net.onnx'}", *OPTIONS, "--json"])
    found = json.loads(done.stdout)
    undone = {c["flag"]: c["text"] for c in found["checks"] if c["state"] == "not possible"}
    assert set(undone) == {"ZERO_GRADIENT", "STEPS_NOT_CONVERGED", "BLACKBOX_BEATS_WHITEBOX"}
    assert all("OnnxTarget has none" in text for text in undone.values())
    assert found["accuracy"]["white_box"] is None
    assert found["accuracy"]["black_box"] is not None


def test_a_victim_must_be_given() -> None:
    assert "expected a victim" in str(CliRunner().invoke(app, ["audit"]).exception)
    done = CliRunner().invoke(app, ["audit", "plain-training", "--trust-code"])
    assert "belong to --target" in str(done.exception)


def test_a_file_that_is_no_audit_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(RowError, match=r"x\.json: can't be read as JSON"):
        read_audit(tmp_path / "x.json")
