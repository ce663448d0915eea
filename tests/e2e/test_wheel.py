"""The wheel holds exactly the three packages and the quickstart board, and works outside of a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_runs_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {n.split("/")[0] for n in names if ".dist-info" not in n.split("/")[0]}
    assert tops == {"robustnoise", "robustnoise_attacks", "robustnoise_defenses"}
    assert "robustnoise/boards/quickstart/board.toml" in names
    assert "robustnoise_attacks/recipes/crafters.toml" in names
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", "site", str(wheel)], check=True, cwd=tmp_path, capture_output=True)
    code = "import robustnoise; print(robustnoise.__file__); from robustnoise.cli import main; main()"

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert str(tmp_path) in done.stdout
        return done.stdout

    assert "18 rows verified" in run("board", "verify", "quickstart")
    run("board", "page", "quickstart", "--output", "page.html")
    assert "<script" in (tmp_path / "page.html").read_text(encoding="utf-8")
    stack = ("baseline(mnist-pgd)", "baseline(mnist-pgd) | layer-noise(20)")
    assert "n = 100" in run("compare", *stack, "--attack", "random-noise", "--limit", "100", "--seed", "0")
