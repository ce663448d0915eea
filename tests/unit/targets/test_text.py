"""Targets by name: on the command line and on boards."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from robustnoise.board import board_from
from robustnoise.cli.app import app
from robustnoise.errors import BadBoard, BadParameter, RobustnoiseError, TargetFailed
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.runner import run
from robustnoise.models import create, save_classifier
from robustnoise.models.targets.text import TargetText
from robustnoise.seeds import SeedStream
from robustnoise.store import Store
from robustnoise.threat import Access
from tests.unit.targets.server import Array, serving

FACTORY = """
from pathlib import Path
from torch import nn
Path("ran").write_text("")
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    def forward(self, x):
        return self.body(x)
def make():
    return Net()
"""
HTTP = {"name": "digits 1", "output": "labels", "max_rows": 100}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.py").write_text(FACTORY)
    save_classifier(create("mlp(hidden=8)", (1, 8, 8), 10), tmp_path / "net.safetensors")
    return tmp_path


def evaluate(*arguments: str) -> list[dict[str, Any]]:
    """The records of ``robustnoise evaluate`` on digits."""
    setting = ["--data", "digits", "--limit", "24", "--eps", "0.1", "--attack", "random-noise", "--json"]
    done = CliRunner().invoke(app, ["evaluate", *arguments, *setting])
    if done.exception is not None:
        raise done.exception
    found: list[dict[str, Any]] = json.loads(done.output.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("text", "options", "kind", "access"),
    [
        ("onnx:a/b.onnx", {}, "onnx", Access.LOGITS),
        ("onnx:m", {"output": "labels"}, "onnx", Access.LABELS),
        ("http://localhost:1/x", HTTP, "http", Access.LABELS),
        ("https://host/x", HTTP | {"output": "probabilities"}, "http", Access.SCORES),
        ("a/net.safetensors", {}, "file", Access.GRADIENTS),
        ("package.module:make", {"weights": "w"}, "factory", Access.GRADIENTS),
        ("../a/mine.py:make", {}, "factory", Access.GRADIENTS),
    ],
)
def test_the_kinds(text: str, options: dict[str, Any], kind: str, access: Access) -> None:
    target = TargetText(text, options)
    assert (target.kind, target.access) == (kind, access)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("model.onnx", {}, "of no kind: expected onnx:FILE"),
        ("onnx:", {}, "of no kind"),
        ("a.pt", {}, "of no kind"),
        ("a b:make", {}, "of no kind"),
        ("ftp://s3cret@host", {}, "^target is of no kind"),
        ("onnx:m", {"man": [1]}, "Did you mean 'mean'"),
        ("net.safetensors", {"mean": [1]}, "takes none"),
        ("onnx:m", {"output": "scores"}, "expected labels, probabilities, logits"),
        ("http://h/", {"name": "a"}, "needs the options output, max_rows"),
        ("http://u:s3cret@h/", HTTP, "expected no user"),
        ("http://h/", HTTP | {"auth_env": "Bearer s3cret"}, "not the credential itself"),
    ],
)
def test_what_is_no_target_is_refused(text: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadParameter, match=words) as raised:
        TargetText(text, options)
    assert "s3cret" not in str(raised.value)


def test_a_wrong_type_of_option_is_named() -> None:
    target = TargetText("http://h/", HTTP | {"max_rows": "many"})
    with pytest.raises(BadParameter, match="target option max_rows"):
        target.build(input_shape=(1, 8, 8), num_classes=10)


def test_code_runs_only_where_it_is_trusted(here: Path) -> None:
    with pytest.raises(RobustnoiseError, match="--trust-code"):
        evaluate("--target", "mine.py:make")
    assert not (here / "ran").exists()
    records = evaluate("--target", "mine.py:make", "--trust-code")
    assert (here / "ran").exists()
    assert {r["identity"]["victim"]["text"] for r in records} == {"mine.py:make"}


def test_a_stored_net_alone_and_behind_noise_and_a_vote() -> None:
    records = evaluate("--target", "net.safetensors", "--defense", "gaussian-input-noise(0.2) | vote(3)")
    victims = {r["identity"]["victim"]["name"]: r["identity"]["victim"] for r in records}
    assert set(victims) == {"target", "defense"}
    assert victims["defense"]["target"] == {"text": "net.safetensors", "options": {}}
    assert victims["defense"]["text"].startswith("net.safetensors | gaussian-input-noise(")
    assert victims["target"]["digest"] != victims["defense"]["digest"]
    references = {r["identity"]["victim"]["name"]: r["identity"]["reference"] for r in records}
    assert references["target"] is None
    assert references["defense"]["name"] == "target"


def test_training_stages_do_not_go_around_a_target() -> None:
    with pytest.raises(RobustnoiseError, match="inference stages only"):
        evaluate("--target", "net.safetensors", "--defense", "plain-training | vote(3)")


def test_a_target_of_other_images_is_refused(here: Path) -> None:
    save_classifier(create("mlp(hidden=8)", (1, 7, 7), 10), here / "other.safetensors")
    with pytest.raises(BadBoard, match="victims.target: other.*holds a classifier of 10 classes for images"):
        evaluate("--target", "other.safetensors")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "expected --defense, --target or both"),
        (("--defense", "plain-training", "--option", "a=1"), "belong to --target"),
        (("--defense", "plain-training", "--trust-code"), "belong to --target"),
        (("--target", "net.safetensors", "--model", "mlp"), "trained here"),
        (("--target", "net.safetensors", "--undefended", "plain-training"), "trained here"),
        (("--target", "net.safetensors", "--option", "a"), "expected key=value"),
    ],
)
def test_wrong_command_lines(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        evaluate(*arguments)


def test_an_onnx_file_is_a_target(here: Path) -> None:
    pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    weight = torch.rand(64, 10, generator=SeedStream(0).generator("w")).numpy()
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, [16, 1, 8, 8])],
        [helper.make_tensor_value_info("y", 1, [16, 10])],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (here / "m.onnx").write_bytes(made.SerializeToString())
    option = ["--option", "mean=[0.5]", "--option", "std=[2.0]", "--access", "logits"]
    records = evaluate("--target", "onnx:m.onnx", *option)
    assert records[0]["identity"]["victim"]["target"]["options"] == {"mean": [0.5], "std": [2.0]}


def labels(x: Array) -> Array:
    found: Array = (x.reshape(len(x), -1)[:, 20:30]).argmax(1)
    return found


def http_options(**more: object) -> list[str]:
    options = {"name": "digits 1", "output": "labels", "batch": 10, **more}
    return [part for key, value in options.items() for part in ("--option", f"{key}={value}")]


def test_an_endpoint_that_breaks_is_paid_once_over_two_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    monkeypatch.setattr("robustnoise.models.targets.http_target.FIRST_WAIT", 0.001)
    monkeypatch.setenv("TOKEN", "Bearer s3cret")
    with serving() as endpoint:
        endpoint.answer, endpoint.output = labels, "labels"
        arguments = ["--target", endpoint.url, *http_options(max_rows=80, auth_env="TOKEN", retries=1)]
        endpoint.script = ["ok", "ok", "ok", "ok", "drop", "stall", "status 500"]
        with pytest.raises(TargetFailed, match="the same command goes on"):
            evaluate(*arguments, "--option", "timeout=0.2")
        # 4 rows twice for the probe, the 20 clean ones that it left, and 10 under random noise that were lost twice.
        assert endpoint.rows == 8 + 20 + 20
        (journal,) = (here / "cache" / "journals").glob("*.jsonl")
        endpoint.script = []
        lost = endpoint.rows
        records = evaluate(*arguments, "--option", "timeout=5")
        assert endpoint.rows - lost == 24
        charged = sum(json.loads(line.split(" ", 1)[1]).get("sent", 0) for line in journal.read_text().splitlines())
        assert charged == endpoint.rows
        before = endpoint.rows
        shutil.rmtree(here / "cache" / "store")
        assert evaluate(*arguments)[0]["outcome"] == records[0]["outcome"]
        assert endpoint.rows == before
        text = json.dumps(records)
        assert endpoint.url in text
        everything = b"".join(p.read_bytes() for p in (here / "cache").rglob("*") if p.is_file())
        assert "s3cret" not in text
        assert b"s3cret" not in everything
        with pytest.raises(TargetFailed, match="max_rows"):
            evaluate(
                "--target",
                endpoint.url,
                *http_options(max_rows=80),
                "--seed",
                "1",
                "--defense",
                "gaussian-input-noise(0.2)",
            )
        assert endpoint.rows <= 80


def test_a_plan_sends_nothing() -> None:
    pytest.importorskip("httpx")
    with serving() as endpoint:
        CliRunner().invoke(
            app,
            ["evaluate", "--target", endpoint.url, *http_options(max_rows=5), "--data", "digits", "--attack", "null",
             "--plan"],
            catch_exceptions=False,
        )  # fmt: skip
        assert endpoint.rows == 0


BOARD = """
schema = 1
name = "mine"
[data]
name = "digits"
train = 100
evaluation = 16
[threat]
norm = "linf"
eps = 0.1
[run]
undefended = "plain"
threads = 1
[victims]
plain = {target = "net.safetensors"}
[victims.noisy]
target = "net.safetensors"
defense = "gaussian-input-noise(0.2)"
[victims.linear]
target = "mine.py:make"
[attacks]
null = "null"
"""


def test_a_board_of_targets(here: Path) -> None:
    board = board_from(tomllib.loads(BOARD), "board.toml")
    assert {v.name: v.reference for v in board.victims} == {"plain": None, "noisy": "plain", "linear": "plain"}
    with pytest.raises(BadBoard, match=r"board.toml: victims.linear: .*--trust-code"):
        board.experiment()
    experiment = board.experiment(trust_code=True)
    records = run(experiment, Store(here / "store"))
    for record in records:
        plain = record.to_json()["identity"]
        assert board.ranks(plain["setting"], plain["attack"], plain["victim"])
        plain["victim"]["target"] = {"text": "other.safetensors", "options": {}}
        assert not board.ranks(plain["setting"], plain["attack"], plain["victim"])
    parallel = run(experiment, Store(here / "two"), executor=Processes(2))
    assert [r.to_json()["outcome"] for r in parallel] == [r.to_json()["outcome"] for r in records]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ('reference = "plain"', "victims.bad.defense: give a defense, a target, or both"),
        ('target = "net.safetensors"\nmodel = "mlp"', "victims.bad.model: a target is a network already"),
        ('defense = "plain-training"\noptions = {output = "labels"}', "victims.bad.options: without a target"),
        ('target = "net.pt"', "victims.bad: target 'net.pt' is of no kind"),
        ('target = "net.safetensors"\nsecret = "x"', "victims.bad.*secret: unknown key"),
        ('target = "onnx:m.onnx"\noptions = {output = "labels"}\n[attacks]\nscores = "null"', None),
    ],
)
def test_wrong_victims_of_a_board_are_named(part: str, words: str | None) -> None:
    text = BOARD.split("[attacks]", maxsplit=1)[0] + f"[victims.bad]\n{part}\n"
    text += "" if "[attacks]" in part else '[attacks]\nnull = "null"\n'
    if words is None:
        board_from(tomllib.loads(text), "board.toml")
        with pytest.raises(BadBoard, match="access = scores, but victim 'bad' answers labels alone"):
            board_from(tomllib.loads(text.replace("eps = 0.1", 'eps = 0.1\naccess = "scores"')), "board.toml")
        return
    with pytest.raises(BadBoard, match=words):
        board_from(tomllib.loads(text), "board.toml")
