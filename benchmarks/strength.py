"""Are our attacks as strong as ART's and Foolbox's? On an adversarially trained net without noise, at equal cost.

    python -m benchmarks.strength

The victim is `at` of the board quickstart (trained at first use, then cached), the images are the first of that
board's evaluation images, in its ball (l-infinity 0.3), and every attack runs with several seeds. Printed are robust
accuracies over all images after rounding to 8 bit, and the paired difference ours - theirs with its 95 % interval over
images, the seeds averaged. A positive difference whose interval excludes 0 would mean that ours is the weaker one.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.strangers import Counter, art_hop_skip_jump, art_pgd, art_square, foolbox_hop_skip_jump, foolbox_pgd
from robustnoise import stats
from robustnoise.blocks import CHUNK, to_tensor
from robustnoise.board import find_board, load_board
from robustnoise.building import build
from robustnoise.cli.caching import open_store
from robustnoise.cli.progress import bars
from robustnoise.data import Dataset, Split
from robustnoise.harness.bench import Bench
from robustnoise.models.classifier import TorchClassifier
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Targets
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf

STEPS, STEP = 40, 0.025
Craft = Callable[[int], tuple[Tensor, float]]
"""A seed to the attack's images and the mean rows it sent for each."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="evaluation images (default 1000)")
    parser.add_argument("--slow-images", type=int, default=1000, help="for hop-skip-jump (default 1000)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of query attacks (default 3)")
    parser.add_argument("--pgd-seeds", type=int, default=20, help="seeds of PGD, which is quick (default 20)")
    parser.add_argument("--queries", type=int, default=300, help="candidates an image for Square (default 300)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    parser.add_argument("--only", default="", help="one of pgd, square, hop-skip-jump")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    victim, data = _victim()
    levels, labels = to_tensor(data.evaluation.images)[: arguments.images], to_tensor(data.evaluation.labels)
    print(f"victim: `at` of quickstart, l-infinity 0.3, {arguments.threads} threads")
    print("| attack | n | seeds | rows an image | ours | theirs | ours - theirs | time ours : theirs |")
    print("|---|---|---|---|---|---|---|---|")
    for name, n, ours, theirs in _contests(victim, levels, labels, data.attacker, arguments):
        if arguments.only in name:
            seeds = arguments.pgd_seeds if name.startswith("PGD") else arguments.seeds
            _contest(name, victim, levels[:n], labels[:n], ours, theirs, range(seeds))


def _victim() -> tuple[TorchClassifier, Dataset]:
    experiment = load_board(find_board("quickstart")).experiment()
    with bars() as progress:
        bench = Bench(experiment, open_store(), progress)
        victim = bench.classifier(next(v for v in experiment.victims if v.name == "at"))
    assert isinstance(victim, TorchClassifier)
    return victim, experiment.dataset


def _contests(
    victim: TorchClassifier, levels: Tensor, labels: Tensor, attacker: Split, arguments: argparse.Namespace
) -> list[tuple[str, int, Craft, Craft]]:
    labels = labels[: len(levels)]
    x, queries, few = levels.float() / 255, arguments.queries, min(arguments.slow_images, len(levels))
    count = Counter(victim.module)

    def white(text: str) -> Craft:
        crafter = build(text, "crafter")
        return lambda seed: (crafter.craft(victim, x, labels, Linf(0.3), SeedStream(seed)), math.nan)

    def asking(text: str, access: Access, per_image: Callable[[int], int], n: int) -> Craft:
        def craft(seed: int) -> tuple[Tensor, float]:
            attack, threat = build(text, "attack"), Linf(0.3, access)
            oracle = CountingOracle(victim, threat, SeedStream(seed), per_image=per_image(seed))
            parts = []
            for i in range(0, n, CHUNK):
                part = slice(i, min(i + CHUNK, n))
                targets = Targets(torch.arange(n)[part], x[part], labels[part])
                parts.append(attack.run(oracle, attacker, targets, threat, SeedStream(seed, (i,))).x)
            return torch.cat(parts), oracle.spent / n

        return craft

    def counted(craft: Callable[..., Tensor], n: int, **settings: Any) -> Craft:
        def run(seed: int) -> tuple[Tensor, float]:
            count.rows = 0
            out = craft(count, x[:n], labels[:n], 0.3, seed=seed, **settings)
            spent[craft, seed] = count.rows / n
            return out, count.rows / n

        return run

    spent: dict[tuple[Any, int], float] = {}

    def same_as(craft: Any) -> Callable[[int], int]:
        return lambda seed: math.ceil(spent[craft, seed])

    pgd = white(f"pgd(steps={STEPS}, relative_step={STEP / 0.3})")
    hop = {"evaluations": 5}
    return [
        ("PGD-40 against Foolbox", len(x), pgd, counted(foolbox_pgd, len(x), steps=STEPS, step=STEP)),
        ("PGD-40 against ART", len(x), pgd, counted(art_pgd, len(x), steps=STEPS, step=STEP)),
        (
            "square against ART", len(x), asking("square", Access.SCORES, same_as(art_square), len(x)),
            counted(art_square, len(x), queries=queries),
        ),
        (
            "hop-skip-jump against ART", few, asking("hop-skip-jump", Access.LABELS, same_as(art_hop_skip_jump), few),
            counted(art_hop_skip_jump, few, **hop),
        ),
        (
            "hop-skip-jump against Foolbox", few,
            asking("hop-skip-jump", Access.LABELS, same_as(foolbox_hop_skip_jump), few),
            counted(foolbox_hop_skip_jump, few, **hop),
        ),
    ]  # fmt: skip


def _contest(
    name: str, victim: TorchClassifier, levels: Tensor, labels: Tensor, ours: Craft, theirs: Craft, seeds: range
) -> None:
    right, rows, seconds = [np.zeros(len(levels), np.uint16) for _ in range(2)], [0.0, 0.0], [0.0, 0.0]
    for seed in seeds:
        for side in (1, 0):  # theirs first: ours gets as many rows
            start = time.perf_counter()
            x, sent = (ours, theirs)[side](seed)
            seconds[side] += time.perf_counter() - start
            rows[side] += sent / len(seeds)
            right[side] += _right(victim, levels, labels, x)
    draws = len(seeds)
    delta = stats.paired_delta(right[0], draws, right[1], draws, SeedStream(0).numpy(name))
    a, b = (100 * stats.single(r, draws) for r in right)
    cost = "-" if math.isnan(rows[0]) else f"{rows[0]:.0f} : {rows[1]:.0f}"
    print(
        f"| {name} | {len(levels)} | {draws} | {cost} | {a:.2f} | {b:.2f} "
        f"| {100 * delta.estimate:+.2f} [{100 * delta.low:+.2f}, {100 * delta.high:+.2f}] "
        f"| 1 : {seconds[1] / seconds[0]:.1f} |",
        flush=True,
    )


def _right(victim: TorchClassifier, levels: Tensor, labels: Tensor, x: Tensor) -> Any:
    rounded = Linf(0.3).to_levels(levels, x).float() / 255
    return (victim.predict(rounded, noise=SeedStream(0)).labels == labels).numpy().astype(np.uint16)


if __name__ == "__main__":
    main()
