"""A board of every stage that is made in half a second, for runs that are disturbed."""

from __future__ import annotations

import json
from pathlib import Path

from robustnoise.board import load_board
from robustnoise.harness.examples import examples
from robustnoise.harness.experiment import Experiment
from robustnoise.harness.runner import run
from robustnoise.leaderboard import Leaderboard
from robustnoise.records import row_bytes
from robustnoise.store import Store

BOARD = """
schema = 1
name = "small"
[data]
name = "digits"
train = 400
attacker = 40
validation = 20
evaluation = 40
[threat]
norm = "linf"
eps = 0.2
[budget]
per_image = 20
[run]
model = "mlp(hidden=8)"
undefended = "plain"
draws = 2
threads = 1
[victims]
plain = "plain-training(epochs=8)"
noisy = "plain-training(epochs=8) | gaussian-input-noise(sigma=0.2) | vote(2)"
[attacks]
null = "null"
random-noise = "random-noise"
shared = "transfer(independent(plain-training(epochs=2), mlp(hidden=8)), pgd(steps=2, relative_step=0.5))"
asking = "transfer(jacobian(10, rounds=1, epochs=1, model=mlp(hidden=8)), fgsm)"
"""


def make_board(folder: Path, text: str = BOARD) -> Path:
    """A folder with the board."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "board.toml").write_text(text)
    return folder


def experiment(folder: Path) -> Experiment:
    """What the board in `folder` measures."""
    return load_board(folder).experiment()


def finish(folder: Path, store: Store) -> dict[str, bytes]:
    """Run the board in `folder`, write rows and examples into the same folder, and return `outcomes`."""
    board, measured = Leaderboard(folder), experiment(folder)
    records = run(measured, store)
    board.add(*records)
    board.add_examples(examples(measured, store, records, board.board.shown))
    return outcomes(folder)


def outcomes(folder: Path) -> dict[str, bytes]:
    """By name of its file, the bytes of every row less its provenance, which says when and how long it was made."""
    found = {}
    for path in sorted((folder / "rows").glob("*.json")):
        plain = json.loads(path.read_bytes())
        found[path.name] = row_bytes({k: plain[k] for k in ("schema", "digest", "identity", "outcome")})
    return found
