"""A whole board in seconds: digits, a small perceptron, one attack of each scope."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from robustnoise.cli import main
from tests.contracts.made import registered_for_now

BOARD = """
schema = 1
name = "tiny"
[data]
name = "digits"
train = 400
attacker = 150
validation = 60
evaluation = 150
[threat]
norm = "linf"
eps = 0.2
[budget]
total = 200
[run]
model = "mlp(hidden=24)"
undefended = "plain"
draws = 5
threads = 1
[victims]
plain = "plain-training(epochs=4)"
noisy = "pgd-training(eps=0.2, epochs=4, inner=pgd(steps=2, relative_step=0.6)) | layer-noise(snr_db=10) | vote(3)"
[attacks]
null = "null"
random-noise = "random-noise"
shared = "transfer(independent(plain-training(epochs=30), mlp(hidden=24)), pgd(steps=3, relative_step=0.5))"
asking = "transfer(jacobian(25, rounds=3, epochs=3, model=mlp(hidden=24)), mi-fgsm(steps=3, relative_step=0.4))"
"""


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The folder of the tiny board."""
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "board.toml").write_text(BOARD)
    return folder


def command(*arguments: str) -> list[str]:
    """The command line of robustnoise in this interpreter."""
    return [sys.executable, "-c", "from robustnoise.cli import main; main()", *arguments]


def environment(cache: Path) -> dict[str, str]:
    """The environment with a store of its own."""
    return {**os.environ, "ROBUSTNOISE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def robustnoise(cache: Path, arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in this process: a new one would spend seconds on imports."""
    out, err = io.StringIO(), io.StringIO()
    with (
        registered_for_now(),
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setenv("ROBUSTNOISE_CACHE", str(cache))
        patch.setattr(sys, "argv", ["robustnoise", *arguments])
        main()
    return subprocess.CompletedProcess(list(arguments), int(ended.value.code or 0), out.getvalue(), err.getvalue())


def rows_of(folder: Path) -> dict[str, tuple[object, object]]:
    """Identity and outcome of every row, by file name."""
    import json

    found = {}
    for path in sorted((folder / "rows").glob("*.json")):
        row = json.loads(path.read_text())
        found[path.name] = (row["identity"], row["outcome"])
    return found
