"""Square and HopSkipJump here against ART's and torchattacks', on the same robust net and images, in one process.

    python -m benchmarks.query_speed [--net robust.safetensors]

CPU seconds on one thread, rows that the net answered, and robust accuracy after projection and rounding to 8 bit. Ours
runs with all the rows that the other may send for an image, and with ever fewer of them; the ratio *at equal strength*
is that of the least of these budgets at which our robust accuracy isn't above the other's. Without `--net` it first
trains a small net adversarially on MNIST, about a minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

import robustnoise as rn
from benchmarks.strangers import Counter, art_hop_skip_jump, art_square, torchattacks_square
from robustnoise.allocator import keep_memory
from robustnoise.blocks import to_tensor
from robustnoise.building import build
from robustnoise.data import Dataset, Split
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.files import load_classifier
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import BlackBoxAttack, Context, Targets
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf

EPS = 0.3
SHARES = (1.0, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2)
"""Of the rows that the other may send for an image."""


class Run(NamedTuple):
    """One attack on all the images."""

    seconds: float
    rows: float
    accuracy: float


Theirs = Callable[..., Tensor]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", help="a stored robust MNIST classifier (safetensors); trained here without it")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3, help="timings of each, one seed a round (default 3)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    keep_memory()
    data = rn.load_dataset("mnist")
    bench = Bench(_robust_net(arguments.net, data), data, arguments.images, arguments.rounds)
    print(f"l-infinity {EPS}, {arguments.images} images, {arguments.rounds} seeds, one thread, CPU time")
    bench.contest("Square", "square", Access.SCORES, "ART, 300 candidates", partial(art_square, queries=300), 900)
    if importlib.util.find_spec("torchattacks"):
        theirs = partial(torchattacks_square, queries=300)
        bench.contest("Square", "square", Access.SCORES, "torchattacks, 300 candidates", theirs, 300)
    else:
        print("torchattacks isn't installed: skipped.")
    theirs = partial(art_hop_skip_jump, evaluations=6)
    bench.contest("HopSkipJump", "hop-skip-jump", Access.LABELS, "ART, 6 iterations", theirs)


class Bench:
    """A net and images that all contestants share."""

    def __init__(self, model: TorchClassifier, data: Dataset, images: int, rounds: int) -> None:
        self._model, self._attacker, self._rounds = model, data.attacker, rounds
        self._split = data.evaluation.take(images)

    def contest(
        self,
        name: str,
        attack: str,
        access: Access,
        other: str,
        theirs: Theirs,
        most: int | None = None,
    ) -> None:
        """Print a table of ours beside theirs; `most` rows are what theirs sends for an image, None is its mean."""
        columns = f"{'seconds':>8} {'rows an image':>14} {'us a row':>9} {'robust accuracy':>16}"
        print(f"\n{name:32} {columns}  theirs : it")
        base: list[Run] = []
        ours: dict[float, list[Run]] = {share: [] for share in SHARES}
        for seed in range(self._rounds):
            base.append(self._theirs(theirs, seed))
            for share in SHARES:
                queries = math.floor((most or base[-1].rows) * share)
                ours[share].append(self._ours(build(f"{attack}(queries={queries})", "attack"), access, queries, seed))
        self._line(other, base, base)
        equal = None
        for share, runs in ours.items():
            self._line(f"robustnoise, {100 * share:.0f} % of the rows", runs, base)
            if _mean(runs) <= _mean(base):
                equal = share, _ratio(runs, base)
        if equal is None:
            print("ours is WEAKER at equal rows: no ratio at equal strength.")
        else:
            print(f"at equal strength ({100 * equal[0]:.0f} % of the rows) theirs takes {equal[1]:.2f} times as long")

    def _line(self, label: str, runs: Sequence[Run], base: Sequence[Run]) -> None:
        seconds, rows = (statistics.median(column) for column in (list(zip(*runs, strict=True))[:2]))
        row = seconds / rows / len(self._split) * 1e6
        print(
            f"{label:32} {seconds:8.2f} {rows:14.0f} {row:9.1f} {_mean(runs):16.3f}  {_ratio(runs, base):.2f}",
            flush=True,
        )

    def _theirs(self, attack: Theirs, seed: int) -> Run:
        net, (_, x, y) = Counter(self._model.module), _targets(self._split)
        start = time.process_time()
        found = attack(net, x, y, EPS, seed=seed)
        return Run(time.process_time() - start, net.rows / len(x), self._accuracy(found))

    def _ours(self, attack: BlackBoxAttack, access: Access, queries: int, seed: int) -> Run:
        threat = Linf(EPS, access)
        oracle = CountingOracle(self._model, threat, SeedStream(seed), per_image=queries)
        start = time.process_time()
        result = attack.run(oracle, self._attacker, _targets(self._split), threat, SeedStream(seed, ("attack",)))
        return Run(time.process_time() - start, oracle.spent / len(self._split), self._accuracy(result.x))

    def _accuracy(self, x: Tensor) -> float:
        rounded = Linf(EPS).to_levels(to_tensor(self._split.images), x).float() / 255
        right = self._model.predict(rounded, noise=SeedStream(0)).labels == _targets(self._split).y
        return right.float().mean().item()


def _robust_net(path: str | None, data: Dataset) -> TorchClassifier:
    if path is not None:
        return load_classifier(path)
    fresh = rn.models.create("small-cnn", data.input_shape)
    trained = build("fast-training(epochs=4)", "defense").apply(fresh, Context(train=data.train, seed=0))
    assert isinstance(trained, TorchClassifier)
    return trained


def _targets(split: Split) -> Targets:
    return Targets(
        torch.from_numpy(split.ids.copy()), torch.from_numpy(split.floats()), torch.from_numpy(split.labels.copy())
    )


def _mean(runs: Sequence[Run]) -> float:
    return statistics.fmean(r.accuracy for r in runs)


def _ratio(runs: Sequence[Run], base: Sequence[Run]) -> float:
    return statistics.median(b.seconds / r.seconds for r, b in zip(runs, base, strict=True))


if __name__ == "__main__":
    main()
