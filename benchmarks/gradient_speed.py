"""PGD-20 beside Foolbox, ART and torchattacks: the same network, images, steps and float32, in one process.

    python -m benchmarks.gradient_speed

Theirs get the network as a person has it, its parameters requiring gradients; ours freezes a copy, as every classifier
here is. Printed are median times, their ratio to ours, and the mean loss that each attack reaches, which must agree.
torchattacks pins old packages and is no dependency of this project: install it beside with
`pip install --no-deps torchattacks`; without it, its column is left out.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

import robustnoise as rn
from benchmarks.strangers import Counter, art_pgd, foolbox_pgd
from robustnoise.allocator import keep_memory
from robustnoise.building import build
from robustnoise.seeds import SeedStream

NETS = {
    "small-cnn": (1, 28, 28),
    "madry-mnist": (1, 28, 28),
    "resnet9(width=16)": (3, 32, 32),
}
EPS, STEPS, STEP = 0.1, 20, 0.0125


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timings of each; their median counts (default 5)")
    parser.add_argument("--images", type=int, default=128, help="in one batch (default 128)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    keep_memory()
    print(f"PGD-{STEPS}, l-infinity {EPS}, {arguments.images} images, float32, {arguments.threads} threads")
    for name, shape in NETS.items():
        seconds, losses = compare(name, shape, arguments.images, arguments.rounds)
        assert max(losses.values()) - min(losses.values()) < 0.02 * max(losses.values()), losses
        ratios = ", ".join(f"{who} {seconds[who] / seconds['ours']:.2f}" for who in seconds if who != "ours")
        print(f"{name:18} ours {seconds['ours'] * 1000:7.1f} ms; times ours: {ratios}")


def compare(
    name: str, shape: tuple[int, int, int], images: int, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds and mean loss reached, by attack; timed in turns."""
    model = rn.models.create(name, shape)
    theirs = copy.deepcopy(model.module).requires_grad_(True).eval()
    x = torch.rand(images, *shape, generator=torch.Generator().manual_seed(0))
    y = torch.arange(images) % 10
    crafter, threat = build(f"pgd(steps={STEPS}, relative_step={STEP / EPS})", "crafter"), rn.Linf(EPS)
    counter = Counter(theirs)
    contestants: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: crafter.craft(model, x, y, threat, SeedStream(0)),
        "Foolbox": lambda: foolbox_pgd(counter, x, y, EPS, seed=0, steps=STEPS, step=STEP),
        "ART": lambda: art_pgd(counter, x, y, EPS, seed=0, steps=STEPS, step=STEP),
    }
    if torchattacks := _torchattacks(theirs):
        contestants["torchattacks"] = lambda: torchattacks(x, y)
    times: dict[str, list[float]] = {who: [] for who in contestants}
    losses: dict[str, float] = {}
    for _ in range(rounds + 1):
        for who, run in contestants.items():
            start = time.perf_counter()
            out = run()
            times[who].append(time.perf_counter() - start)
            with torch.no_grad():
                losses[who] = functional.cross_entropy(model.module(out), y).item()
    return {who: statistics.median(taken[1:]) for who, taken in times.items()}, losses  # the first round warms up


def _torchattacks(net: nn.Module) -> Callable[[Tensor, Tensor], Tensor] | None:
    try:
        import torchattacks  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    attack: Callable[[Tensor, Tensor], Tensor] = torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=STEPS)
    return attack


if __name__ == "__main__":
    main()
