"""Train, measure and write the nets that ship with robustnoise: ``python -m tools.baselines [NAME ...]``.

Each is a victim of a published board, trained as the board trains it, or found in the store where the board has run.
It is measured on all evaluation images. Minutes of training for each net that the store does not hold.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

from robustnoise.blocks import block_ranges, predict_blocks, to_tensor
from robustnoise.board import load_board
from robustnoise.building import build, describe
from robustnoise.cache import store_root
from robustnoise.compose import split_stages
from robustnoise.harness.bench import Bench
from robustnoise.protocols import Classifier, Crafter
from robustnoise.seeds import SeedStream
from robustnoise.store import Store, atomic_write
from robustnoise.threat import Linf
from robustnoise_defenses.baselines import HERE, Card, cards

ROOT = Path(__file__).parent.parent
PGD_100 = "pgd(steps=100, relative_step=0.0333333)"
"""Steps of 0.01 at eps 0.3: the MNIST challenge's."""
PGD_20 = "pgd(steps=20, relative_step=0.25)"
"""Steps of 2/255 at eps 8/255: the CIFAR-10 challenge's."""


class Source(NamedTuple):
    """Where a shipped net comes from."""

    board: str
    victim: str
    attack: str = PGD_100


SOURCES = {
    "mnist-pgd": Source("mnist-linf", "at"),
    "mnist-fast": Source("mnist-linf", "fast"),
    "mnist-trades": Source("mnist-linf", "trades"),
    "cifar10-fast": Source("cifar10-linf", "at", PGD_20),
}


def main() -> None:
    """Write the files and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(SOURCES)}; all without one")
    names = parser.parse_args().names or list(SOURCES)
    known = dict(cards())
    for name in names:
        known[name] = ship(name, SOURCES[name])
        print(f"{name}: clean {known[name].clean:.2f} %, under PGD {known[name].robust:.2f} %", flush=True)
        atomic_write(HERE / "table.toml", _toml({n: known[n] for n in SOURCES if n in known}).encode())


def ship(name: str, source: Source) -> Card:
    """Train a net, or find it, measure it and write its file."""
    experiment = load_board(ROOT / "leaderboards" / source.board).experiment()
    bench = Bench(experiment, Store(store_root()))
    victim = next(v for v in experiment.victims if v.name == source.victim)
    assert victim.model is not None
    assert experiment.threat is not None
    content = bench.store.read(bench.weights(victim), "weights")
    file = HERE / f"{name}.safetensors"
    atomic_write(file, content)
    crafter = build(source.attack, "crafter")
    clean, robust = measure(bench.classifier(victim), bench, crafter)
    return Card(
        file=file.name,
        sha256=hashlib.sha256(content).hexdigest(),
        model=describe(victim.model),
        training=describe(split_stages(victim.defense)[0]),
        data=experiment.dataset.name,
        train=len(experiment.dataset.train),
        seed=experiment.seed if victim.seed is None else victim.seed,
        eps=experiment.threat.eps,
        n=len(experiment.dataset.evaluation),
        clean=round(clean, 2),
        attack=describe(crafter),
        robust=round(robust, 2),
    )


def measure(model: Classifier, bench: Bench, crafter: Crafter) -> tuple[float, float]:
    """Accuracy on the board's clean images and under `crafter` at the board's radius, white-box, per cent."""
    split, threat = bench.experiment.dataset.evaluation, bench.experiment.threat
    assert threat is not None
    seeds = SeedStream(0, ("baselines",))
    x, y = to_tensor(split.floats(0, len(split))), to_tensor(split.labels)

    def accuracy(images: torch.Tensor) -> float:
        return 100 * float((predict_blocks(model, images, seeds.child("answers")).labels == y).double().mean())

    with bench.arithmetic():
        parts = [
            crafter.craft(model, x[start:stop], y[start:stop], Linf(threat.eps), seeds.child(number))
            for number, start, stop in block_ranges(len(split))
        ]
        return accuracy(x), accuracy(torch.cat(parts))


def document() -> str:
    """The table of docs/defenses.md."""
    head = (
        "| net | network | training | radius | clean | white-box attack | under it |\n|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| `{name}` | {card.model} | `{card.training}` | {card.eps:g} | {card.clean:.2f} | "
        f"`{card.attack}` | {card.robust:.2f} |"
        for name, card in ((name, cards()[name]) for name in SOURCES if name in cards())
    )


def _toml(table: dict[str, Card]) -> str:
    def value(content: Any) -> str:
        return f'"{content}"' if isinstance(content, str) else f"{content!r}"

    parts = ["# Written by python -m tools.baselines."]
    for name, card in table.items():
        parts.append("\n".join([f"[{name}]", *(f"{k} = {value(v)}" for k, v in card.model_dump().items())]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
