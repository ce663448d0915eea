"""How do the nets that a board trains stand white-box attacks themselves? Prints one line a net.

    python -m tools.whitebox leaderboards/mnist-linf at3-pgd
    python -m tools.whitebox leaderboards/cifar10-linf wide-at --crafter "pgd(steps=20, relative_step=0.25)"

The net of a victim, or those that a transfer attack crafts on: so that nobody has to wonder whether an attack is weak
because its copies are. Trained as the board trains them, or found in the store where the board has run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from robustnoise.board import load_board
from robustnoise.building import build
from robustnoise.cache import store_root
from robustnoise.harness.bench import Bench
from robustnoise.models.files import classifier_from_bytes
from robustnoise.protocols import Classifier
from robustnoise.store import Store
from tools.baselines import PGD_100, measure


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board", type=Path, help="folder of the board")
    parser.add_argument("name", help="of a victim, or of a transfer attack from substitutes that ask nothing")
    parser.add_argument("--crafter", default=PGD_100, help=f"white-box attack (default {PGD_100})")
    parser.add_argument("--images", type=int, help="the first so many evaluation images (default all)")
    options = parser.parse_args()
    overrides = [] if options.images is None else [f"data.evaluation={options.images}"]
    bench = Bench(load_board(options.board, overrides).experiment(), Store(store_root()))
    crafter = build(options.crafter, "crafter")
    for name, net in nets(bench, options.name):
        clean, robust = measure(net, bench, crafter)
        n = len(bench.experiment.dataset.evaluation)
        print(f"{name}: clean {clean:.2f} %, under {options.crafter} {robust:.2f} %, n = {n:,}", flush=True)


def nets(bench: Bench, name: str) -> Iterator[tuple[str, Classifier]]:
    """The victim's, or the attack's copies."""
    for victim in bench.experiment.victims:
        if victim.name == name:
            yield name, bench.classifier(victim)
            return
    attack = next(a for a in bench.experiment.attacks if a.name == name)
    fitted = bench.source(attack, bench.experiment.victims[0])
    for output in sorted(fitted.outputs):
        yield output, classifier_from_bytes(bench.store.read(fitted, output))


if __name__ == "__main__":
    main()
