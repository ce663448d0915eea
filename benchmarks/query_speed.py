"""Square here against Square of ART and of torchattacks, on the same robust net and images, in one process.

    python benchmarks/query_speed.py [--net robust.safetensors]

Prints CPU seconds on one thread, rows that the net answered and robust accuracy: at the same number of candidates an
image (ART asks three times for each), and at the same number of queries an image; and, to compare at equal strength,
ours with three quarters of the queries. Without `--net` it first trains a
small net adversarially on MNIST, about a minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import robustnoise as rn
from robustnoise.allocator import keep_memory
from robustnoise.data import Split
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.files import load_classifier
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Context, Targets
from robustnoise.registry import build
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf
from robustnoise_attacks import Square

EPS = 0.3
ROWS_PER_ITERATION = 3
"""What ART's Square asks for each candidate: the answer, the loss before, the loss after."""


class Counted(nn.Module):
    """Counts the rows of a net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.rows = net, 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        self.rows += len(x)
        out: Tensor = self.net(x)
        return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", help="a stored robust MNIST classifier (safetensors); trained here without it")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--queries", type=int, default=300, help="per image (default 300)")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each, one seed a round (default 3)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    data = rn.load_dataset("mnist")
    model = _robust_net(arguments.net, data)
    split = data.evaluation.take(arguments.images)
    print(
        f"Square, l-infinity {EPS}, {arguments.images} images, {arguments.queries} queries each, one thread, CPU time"
    )
    print(f"{'':34} {'seconds':>8} {'rows':>9} {'robust accuracy':>16}   times ours")
    fewer = 3 * arguments.queries // 4
    candidates, same = arguments.queries - 2, arguments.queries // ROWS_PER_ITERATION - 1
    contestants: dict[str, Callable[[int], tuple[Tensor, int, float]]] = {
        "robustnoise": lambda seed: ours(model, split, arguments.queries, seed),
        f"robustnoise, {fewer} queries": lambda seed: ours(model, split, fewer, seed),
        f"ART, as many candidates ({candidates})": lambda seed: arts(model, split, candidates, seed),
        f"ART, as many queries ({same} candidates)": lambda seed: arts(model, split, same, seed),
    }
    if importlib.util.find_spec("torchattacks"):
        contestants["torchattacks"] = lambda seed: torchattacks(model, split, arguments.queries, seed)
    found: dict[str, list[tuple[float, int, float]]] = {name: [] for name in contestants}
    for seed in range(arguments.rounds):
        for name, run in contestants.items():
            x, rows, seconds = run(seed)
            found[name].append((seconds, rows, _accuracy(model, x, split)))
    base, accuracy = statistics.median(s for s, _, _ in found["robustnoise"]), _mean(found["robustnoise"])
    for name, runs in found.items():
        seconds = statistics.median(s for s, _, _ in runs)
        rows = statistics.median(r for _, r, _ in runs)
        ratio = statistics.median(s / o for (s, _, _), (o, _, _) in zip(runs, found["robustnoise"], strict=True))
        print(f"{name:34} {seconds:8.2f} {rows:9.0f} {_mean(runs):16.3f}   {ratio:.2f}")
    spread = 1.96 * math.sqrt(2 * accuracy * (1 - accuracy) / arguments.images)
    for name, runs in found.items():
        gap = accuracy - _mean(runs)
        verdict = "as strong" if abs(gap) <= spread else "ours is stronger" if gap < 0 else "ours is WEAKER"
        if name not in ("robustnoise", f"robustnoise, {fewer} queries"):
            print(f"{name}: {verdict} (ours less theirs {gap:+.3f}, 95 % interval of a difference +-{spread:.3f})")
    if "torchattacks" not in contestants:
        print("torchattacks isn't installed: skipped.")
    row = base / statistics.median(r for _, r, _ in found["robustnoise"]) * 1e6
    print(f"{row:.1f} us per row of ours; {_bare(model, split):.1f} us of them are the bare net's.")


def _robust_net(path: str | None, data: rn.data.Dataset) -> TorchClassifier:
    if path is not None:
        return load_classifier(path)
    fresh = rn.models.create("small-cnn", data.input_shape)
    trained = build("fast-training(epochs=4)", "defense").apply(fresh, Context(train=data.train, seed=0))
    assert isinstance(trained, TorchClassifier)
    return trained


def _tensors(split: Split) -> Targets:
    return Targets(
        torch.from_numpy(split.ids.copy()), torch.from_numpy(split.floats()), torch.from_numpy(split.labels.copy())
    )


def _accuracy(model: TorchClassifier, x: Tensor, split: Split) -> float:
    return (model.predict(x, noise=SeedStream(0)).labels == _tensors(split).y).float().mean().item()


def _mean(runs: list[tuple[float, int, float]]) -> float:
    return statistics.fmean(accuracy for _, _, accuracy in runs)


def ours(model: TorchClassifier, split: Split, queries: int, seed: int) -> tuple[Tensor, int, float]:
    """Images, rows, CPU seconds."""
    threat = Linf(EPS, Access.SCORES)
    oracle = CountingOracle(model, threat, SeedStream(seed), per_image=queries)
    start = time.process_time()
    result = Square(queries=queries).run(oracle, split, _tensors(split), threat, SeedStream(seed, ("attack",)))
    return result.x, oracle.spent, time.process_time() - start


def arts(model: TorchClassifier, split: Split, iterations: int, seed: int) -> tuple[Tensor, int, float]:
    """The same for ART, the whole set as one batch."""
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import PyTorchClassifier

    net, (_, x, y) = Counted(model.module), _tensors(split)
    shape = tuple(x.shape[1:])
    classifier = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), shape, model.num_classes, clip_values=(0, 1), device_type="cpu"
    )
    attack = SquareAttack(classifier, eps=EPS, max_iter=iterations, batch_size=len(x), p_init=0.8, verbose=False)
    np.random.seed(seed)  # noqa: NPY002 - ART draws from the global generator
    start = time.process_time()
    found = torch.from_numpy(attack.generate(x.numpy(), y.numpy()))
    return found, net.rows, time.process_time() - start


def torchattacks(model: TorchClassifier, split: Split, queries: int, seed: int) -> tuple[Tensor, int, float]:
    """The same for torchattacks."""
    from torchattacks import Square as Theirs

    net, (_, x, y) = Counted(model.module), _tensors(split)
    start = time.process_time()
    found = Theirs(net, eps=EPS, n_queries=queries, p_init=0.8, seed=seed)(x, y)
    return found, net.rows, time.process_time() - start


def _bare(model: TorchClassifier, split: Split) -> float:
    """Microseconds that the net itself takes for a row: the bound on any attack's speed."""
    x = _tensors(split).x[:128]
    start = time.process_time()
    for _ in range(100):
        model.predict(x, noise=SeedStream(0))
    return (time.process_time() - start) / 100 / len(x) * 1e6


if __name__ == "__main__":
    main()
