"""What each training costs beside plain training, and what it buys on a small problem.

    python -m benchmarks.trainings

Cost: CPU time of ten steps of 100 images of 28 x 28 on small-cnn, over that of plain training. Accuracy: digits of
8 x 8, a small perceptron, eps 0.1, mean over seeds, on clean images and under PGD-40 on the network itself.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from robustnoise.api import Classifier, Context, Linf, SeedStream, build, create, create_model
from robustnoise.data import SplitSizes, load_dataset
from robustnoise.testing import toy_split

LONG = "epochs=30"
QUICK = "training=plain-training(epochs=10), model=mlp(hidden=64)"
STACKS = {
    "plain-training": "plain-training({0})",
    "plain-training, gaussian-augmentation": "plain-training({0}) | gaussian-augmentation(0.1)",
    "fast-training": "fast-training({0}, eps={1})",
    "free-training": "free-training({0}, eps={1})",
    "ensemble-training": "ensemble-training({0}, eps={1}, {2})",
    "pgd-training": "pgd-training({0}, eps={1})",
    "mart-training": "mart-training({0}, eps={1})",
    "trades-training": "trades-training({0}, eps={1})",
    "pgd-training, weight-perturbation": "pgd-training({0}, eps={1}) | weight-perturbation",
    "trades-training, weight-perturbation": "trades-training({0}, eps={1}) | weight-perturbation(0.005)",
    "pgd-training, hold_out=200": "pgd-training({0}, eps={1}, hold_out=200)",
}
EPS = 0.1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds on digits (default 3)")
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    sizes = SplitSizes(train=1000, attacker=250, validation=100, evaluation=256)
    digits = load_dataset("digits", sizes=sizes)
    images, labels = torch.from_numpy(digits.evaluation.floats()), torch.from_numpy(digits.evaluation.labels.copy())
    base = 0.0
    print("| training | cost of a step | clean % | PGD-40 % |")
    print("|---|---|---|---|")
    for name, text in STACKS.items():
        spent = _seconds(text.format("epochs=1", 0.3, "training=plain-training(epochs=1), model=mlp(hidden=4)"))
        base = base or spent
        right: list[list[float]] = []
        for seed in range(seeds):
            fresh = create_model("mlp(hidden=64)", digits.input_shape, digits.num_classes, seed=seed)
            stack = build(text.format(LONG, EPS, QUICK), "defense")
            net = stack.apply(fresh, Context(train=digits.train, seed=seed))
            noise = SeedStream(seed, ("score",))
            adversarial = create("crafter", "pgd").craft(net, images, labels, Linf(EPS), noise)
            right.append([_accuracy(net, x, labels, noise) for x in (images, adversarial)])
        clean, robust = (100 * sum(column) / seeds for column in zip(*right, strict=True))
        print(f"| {name} | {spent / base:.1f} | {clean:.1f} | {robust:.1f} |", flush=True)


def _accuracy(net: Classifier, x: Tensor, labels: Tensor, noise: SeedStream) -> float:
    return (net.predict(x, noise=noise).labels == labels).float().mean().item()


def _seconds(text: str) -> float:
    """CPU time of a training, the shorter of two runs."""
    data = toy_split(1000, (1, 28, 28), 10)
    found = []
    for _ in range(2):
        fresh = create_model("small-cnn", (1, 28, 28), 10)
        stack = build(text, "defense")
        started = time.process_time()
        stack.apply(fresh, Context(train=data))
        found.append(time.process_time() - started)
    return min(found)


if __name__ == "__main__":
    main()
