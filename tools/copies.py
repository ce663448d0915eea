"""How do the nets that an attack crafts on stand white-box attacks themselves? Prints one line a net.

    python -m tools.copies leaderboards/mnist-linf at3-pgd

So that nobody has to wonder whether a transfer attack is weak because its copies are. Trained as the board trains them,
or found in the store where the board has run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from robustnoise.board import load_board
from robustnoise.building import build
from robustnoise.data.locate import cache_root
from robustnoise.harness.bench import Bench
from robustnoise.models.files import classifier_from_bytes
from robustnoise.store import Store
from tools.baselines import PGD_100, measure


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board", type=Path, help="folder of the board")
    parser.add_argument("attack", help="name of a transfer attack from substitutes that ask nothing")
    parser.add_argument("--crafter", default=PGD_100, help=f"white-box attack (default {PGD_100})")
    options = parser.parse_args()
    experiment = load_board(options.board).experiment()
    bench = Bench(experiment, Store(cache_root() / "store"))
    attack = next(a for a in experiment.attacks if a.name == options.attack)
    crafter = build(options.crafter, "crafter")
    fitted = bench.source(attack, experiment.victims[0])
    for name in sorted(fitted.outputs):
        clean, robust = measure(classifier_from_bytes(bench.store.read(fitted, name)), bench, crafter)
        print(f"{name}: clean {clean:.2f} %, under {options.crafter} {robust:.2f} %", flush=True)


if __name__ == "__main__":
    main()
