"""HopSkipJump here against ART's, at the rows that ART sends, on the same robust net and images, in one process.

    python -m benchmarks.decision_speed [--net robust.safetensors]

Prints CPU seconds on one thread, rows and robust accuracy (after rounding to 8 bit), and the median ratio of the times.
Says WEAKER where our robust accuracy is above ART's by more than the 95 % interval. Without `--net` it first trains a
small net adversarially on MNIST, about a minute.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

import robustnoise as rn
from benchmarks.query_speed import _accuracy, _robust_net, _tensors
from benchmarks.strangers import Counter, art_hop_skip_jump
from robustnoise.allocator import keep_memory
from robustnoise.blocks import to_tensor
from robustnoise.data import Split
from robustnoise.models.classifier import TorchClassifier
from robustnoise.oracle import CountingOracle
from robustnoise.seeds import SeedStream
from robustnoise.threat import Linf
from robustnoise_attacks import HopSkipJump

EPS = 0.3


class Run(NamedTuple):
    """One attack on all the images."""

    seconds: float
    rows: float
    accuracy: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", help="a stored robust MNIST classifier (safetensors); trained here without it")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=6, help="of ART's attack (default 6, about 1,200 rows)")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each, one seed a round (default 3)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    keep_memory()
    data = rn.load_dataset("mnist")
    model = _robust_net(arguments.net, data)
    split = data.evaluation.take(arguments.images)
    print(f"HopSkipJump, l-infinity {EPS}, {arguments.images} images, one thread, CPU time")
    print(f"{'':12} {'seconds':>8} {'rows an image':>14} {'us a row':>9} {'robust accuracy':>16}")
    ours, theirs = [], []
    for seed in range(arguments.rounds):
        theirs.append(run_art(model, split, arguments.iterations, seed))
        ours.append(run_ours(model, split, data.attacker, int(theirs[-1].rows), seed))
    for name, runs in (("robustnoise", ours), ("ART", theirs)):
        seconds, rows, accuracy = (statistics.median(column) for column in zip(*runs, strict=True))
        row = seconds / rows / len(split) * 1e6
        print(f"{name:12} {seconds:8.2f} {rows:14.0f} {row:9.1f} {accuracy:16.3f}")
    ratio = statistics.median(t.seconds / o.seconds for o, t in zip(ours, theirs, strict=True))
    per_row = statistics.median(t.seconds * o.rows / o.seconds / t.rows for o, t in zip(ours, theirs, strict=True))
    print(f"ART takes {ratio:.2f} times as long with the same budget, {per_row:.2f} times as long for a row it asks.")
    gap = statistics.fmean(o.accuracy - t.accuracy for o, t in zip(ours, theirs, strict=True))
    level = statistics.fmean(t.accuracy for t in theirs)
    spread = 1.96 * math.sqrt(2 * level * (1 - level) / len(split))
    verdict = "ours is WEAKER" if gap > spread else "ours is stronger" if gap < -spread else "as strong"
    print(f"{verdict} (ours less theirs {gap:+.3f}, 95 % interval of a difference +-{spread:.3f})")


def run_art(model: TorchClassifier, split: Split, iterations: int, seed: int) -> Run:
    """ART's attack, the images projected and rounded as ours are."""
    net, (_, x, y) = Counter(model.module), _tensors(split)
    start = time.process_time()
    found = art_hop_skip_jump(net, x, y, EPS, seed=seed, evaluations=iterations)
    seconds = time.process_time() - start
    return Run(seconds, net.rows / len(x), _scored(model, split, found))


def run_ours(model: TorchClassifier, split: Split, attacker: Split, queries: int, seed: int) -> Run:
    """Ours with `queries` an image at most."""
    oracle = CountingOracle(model, Linf(EPS), SeedStream(seed), per_image=queries)
    start = time.process_time()
    result = HopSkipJump(queries=queries).run(
        oracle, attacker, _tensors(split), Linf(EPS), SeedStream(seed, ("attack",))
    )
    return Run(time.process_time() - start, oracle.spent / len(split), _scored(model, split, result.x))


def _scored(model: TorchClassifier, split: Split, x: Tensor) -> float:
    return _accuracy(model, Linf(EPS).to_levels(to_tensor(split.images), x).float() / 255, split)


if __name__ == "__main__":
    main()
