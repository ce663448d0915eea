"""How long the command takes on a board of 500 cells that is finished, and whether it changes a byte.

    python -m benchmarks.rerun

A board of 62 victims under four attacks on digits is made once in a temporary folder (a minute), then run again in new
processes: as it is, where nothing has changed since, and without the memo of what was shown, so that every cell and
row is read anew and all statistics are computed. By turns with that, what can't be less then: loading torch, and
loading all libraries that the command asks for. Medians of wall clock and processor time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.goals import Goal, Report
from robustnoise.store import Store

VICTIMS = 62
HEAD = """
schema = 1
name = "many"
[data]
name = "digits"
train = 200
attacker = 60
validation = 40
evaluation = 60
[threat]
norm = "linf"
eps = 0.2
[budget]
total = 200
[run]
model = "mlp(hidden=8)"
undefended = "plain"
draws = 3
threads = 1
[attacks]
null = "null"
random-noise = "random-noise"
shared = "transfer(independent(plain-training(epochs=2), mlp(hidden=8)), fgsm)"
asking = "transfer(jacobian(10, rounds=2, epochs=2, model=mlp(hidden=8)), fgsm)"
[victims]
plain = "plain-training(epochs=2)"
"""
COMMAND = [sys.executable, "-c", "from robustnoise.cli import main; main()", "run", "board"]
AGAIN, ANEW = "the finished board again", "the same, read anew"
TORCH = [sys.executable, "-c", "import torch"]
LOADING = [sys.executable, "-c", "import torch, scipy.special, safetensors.torch, pydantic, typer, rich.table"]


def table(times: int, victims: int = VICTIMS) -> Report:
    """Lines of Markdown; the goal is about the wall clock of the finished board again.

    Args:
        times: how often each is run.
        victims: of the board.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "board").mkdir()
        noisy = (f'noisy-{i} = "plain-training(epochs=2) | gaussian-input-noise(sigma={i / 200})"\n'
                 for i in range(1, victims))  # fmt: skip
        (folder / "board" / "board.toml").write_text(HEAD + "".join(noisy))
        _timed(COMMAND, folder)
        cells = len(list(Store(folder / "cache" / "store").cells()))
        memos, before = folder / "cache" / "store" / "again", _bytes(folder)
        lines = ["| | wall clock, s | processor, s |", "|---|---|---|"]
        commands = {"torch alone": TORCH, "libraries alone": LOADING, ANEW: COMMAND, AGAIN: COMMAND}
        taken: dict[str, list[tuple[float, float]]] = {what: [] for what in commands}
        for _ in range(times):
            for what, command in commands.items():
                if what == ANEW:
                    shutil.rmtree(memos, ignore_errors=True)
                taken[what].append(_timed(command, folder))
        wall = {}
        for what, each in taken.items():
            wall[what], processor = map(statistics.median, zip(*each, strict=True))
            lines.append(f"| {what} | {wall[what]:.2f} | {processor:.2f} |")
        after = _bytes(folder)
        changed = sorted(str(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        rows = sum(1 for _ in folder.rglob("rows/*.json"))
    said = "no byte changed." if not changed else f"**changed**: {', '.join(changed)}."
    goal = Goal(f"a finished board of {cells} cells again, seconds", 2, wall[AGAIN], most=True)
    return Report([*lines, "", f"{cells} cells, {rows} rows; {said}"], [goal])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="how often each is run (default 3)")
    print("\n".join(table(parser.parse_args().times).lines))


def _timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall clock and processor time of a command, seconds."""
    environment = {**os.environ, "ROBUSTNOISE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    started, before = time.monotonic(), os.times()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - started, spent


def _bytes(folder: Path) -> dict[Path, bytes]:
    """Of everything but the memos, which hold times."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name != "again"}


if __name__ == "__main__":
    main()
