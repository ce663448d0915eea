"""A network of one's own on the command line, as the README has it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from robustnoise.cli.app import app
from robustnoise.errors import BadParameter
from robustnoise.flags import Raised
from robustnoise.report.text import sentence
from robustnoise.report.views import Figure

README = Path(__file__).parents[2] / "README.md"
CODE = """
import torch
def make():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""


def told(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_of_the_readme_names_its_attacks_and_says_what_noise_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = re.findall(r"\nrobustnoise (evaluate --target mynet.*?)\n```", README.read_text(), re.DOTALL)
    arguments = shlex.split(command.replace("\\\n", ""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    Path("mynet.py").write_text(CODE)
    save_file(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict(), "mynet.safetensors")
    # Cheaper attacks and fewer images, all else as it stands there.
    arguments[arguments.index("--attack") + 1] = "random-noise"
    said = told(*arguments, "--attack", "transfer(independent(model=mlp(hidden=8)), fgsm)", "--limit", "60")
    assert "\nattack 1: random-noise\nattack 2: transfer(independent(model=mlp(hidden=8)), fgsm)\n" in said
    assert "rank " not in said
    assert re.search(r"defense \(against target\) changed .* n = 60: ", said.splitlines()[-1])


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (["compare", "mynet.py:make", "mynet.py:make | vote(8)"], "evaluate --target mynet.py:make --defense"),
        (["audit", "onnx:net.onnx"], "audit --target onnx:net.onnx"),
    ],
)
def test_a_target_in_the_place_of_a_stack_is_called_one(command: list[str], advice: str) -> None:
    with pytest.raises(BadParameter, match="is a target and no stack") as caught:
        CliRunner().invoke(app, command, catch_exceptions=False, standalone_mode=False)
    assert advice in str(caught.value)


def test_a_sentence_has_the_decimals_of_its_images() -> None:
    figure = Figure(0.00153, 0.00031, 0.00284)
    assert "by +0.15 points [+0.03, +0.28], n = 10,000" in sentence("a vote", "accuracy", figure, 10_000)
    assert "by +0.2 points [0.0, +0.3], n = 9,999" in sentence("a vote", "accuracy", figure, 9_999)


def test_a_sentence_names_the_flags_that_doubt_its_number_alone() -> None:
    figure = Figure(0.48, 0.26, 0.69)
    calm = (Raised("RANDOMISED", "in 10 draws."), Raised("TRUSTED_CODE", "mynet.py."))
    assert sentence("noise", "accuracy", figure, 20, calm).endswith("n = 20: a gain.")
    doubted = (*calm, Raised("TOO_FEW_IMAGES", "few."), Raised("NULL_CONTROL_DROPS", "drops."))
    said = sentence("noise", "accuracy", figure, 20, doubted)
    assert said.endswith("n = 20: a gain, but flagged TOO_FEW_IMAGES, NULL_CONTROL_DROPS.")
