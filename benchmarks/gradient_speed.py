"""PGD-20 and MI-FGSM-10 beside torchattacks, Foolbox and ART: the same nets, images, steps, in one process.

    python -m benchmarks.gradient_speed

Theirs get the network as a person has it, its parameters requiring gradients; ours freezes a copy, as every classifier
here is. Ours runs in float32 and in bfloat16. torchattacks pins old packages and is no dependency of this project:
install it beside with `pip install --no-deps torchattacks`; without it, its column is left out.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.goals import Goal, Report
from benchmarks.nets import SIZES, TRAIN, Case, case
from benchmarks.strangers import (
    Counter,
    art_mi_fgsm,
    art_pgd,
    foolbox_mi_fgsm,
    foolbox_pgd,
    has_torchattacks,
    torchattacks_mi_fgsm,
    torchattacks_pgd,
)  # fmt: skip
from benchmarks.timing import Seconds, in_turns, matrix_rate, milliseconds, one_thread, ratio, told
from robustnoise.blocks import block_ranges
from robustnoise.building import build
from robustnoise.errors import BadParameter
from robustnoise.harness.crafting import SAME, agrees, same_way
from robustnoise.models.lowered import lowered
from robustnoise.protocols import Classifier
from robustnoise.seeds import SeedStream
from robustnoise.threat import Linf
from robustnoise.training import need_bfloat16

OURS, FAST = "robustnoise", "robustnoise, bfloat16"
Attack = Callable[..., Tensor]
ATTACKS: dict[str, tuple[str, int, dict[str, Attack]]] = {
    "PGD-20": (
        "pgd(steps=20, relative_step=0.125)", 20,
        {"torchattacks": torchattacks_pgd, "Foolbox": foolbox_pgd, "ART": art_pgd},
    ),
    "MI-FGSM-10": (
        "mi-fgsm(steps=10, relative_step=0.125)", 10,
        {"torchattacks": torchattacks_mi_fgsm, "Foolbox": foolbox_mi_fgsm, "ART": art_mi_fgsm},
    ),
}  # fmt: skip
"""Ours as a text, its steps of an eighth of the radius, and theirs."""
OFTEN, MANY = 2, 1000
"""How many times the rounds where images have fewer values than that."""
WANTED = {"torchattacks": 1.3, "Foolbox": 1.6, "ART": 2.0}
"""Their time to ours, in bfloat16 where that agrees."""


@dataclass(frozen=True)
class Outcome:
    """What one attack took and left on one net."""

    seconds: Seconds
    accuracy: dict[str, float]
    share: float
    """Of the machine's rate of matrix products, in float32; what our ascent needs for products alone."""

    def cells(self, who: str) -> tuple[str, ...]:
        """Time, its ratio to ours in float32 and in bfloat16, accuracy."""
        times = self.seconds[who]
        to_fast = told(times, self.seconds[FAST]) if FAST in self.seconds else "-"
        return milliseconds(times), told(times, self.seconds[OURS]), to_fast, f"{100 * self.accuracy[who]:.1f}"


def compare(name: str, on: Case, rounds: int) -> Outcome:
    """Time an attack of `ATTACKS`, ours and theirs in turns, on all images of a case in one batch."""
    text, steps, others = ATTACKS[name]
    crafter, threat, step = build(text, "crafter"), Linf(on.eps), on.eps / 8
    images: dict[str, Tensor] = {}
    contestants: dict[str, Callable[[], object]] = {}

    def ours(who: str, source: Classifier) -> None:
        def run() -> None:
            images[who] = crafter.craft(source, on.x, on.y, threat, SeedStream(0))

        contestants[who] = run

    def theirs(who: str, attack: Attack) -> None:
        net = Counter(copy.deepcopy(on.model.module).requires_grad_(True).eval())

        def run() -> None:
            images[who] = attack(net, on.x, on.y, on.eps, seed=0, steps=steps, step=step)

        contestants[who] = run

    ours(OURS, on.model)
    if has_bfloat16():
        ours(FAST, lowered(on.model, "cpu"))
    for who, attack in others.items():
        if who != "torchattacks" or has_torchattacks():
            theirs(who, attack)
    # Short runs vary most beside other work.
    seconds = in_turns(contestants, rounds * (OFTEN if on.x[0].numel() < MANY else 1))
    with FlopCounterMode(display=False) as counter:
        on.model.module(on.x.clone().requires_grad_(True)).sum().backward()  # its parameters are frozen
    needed = steps * counter.get_total_flops()
    share = needed / statistics.median(seconds[OURS]) / matrix_rate()
    return Outcome(seconds, {who: on.accuracy(x) for who, x in images.items()}, share)


def has_bfloat16() -> bool:
    """Whether this processor has instructions for it."""
    try:
        need_bfloat16(torch.device("cpu"))
    except BadParameter:
        return False
    return True


def agreement(name: str, on: Case) -> tuple[float, float, float]:
    """Robust accuracy after our attack in float32 and bfloat16, block by block as a board crafts, and `same_way`."""
    crafter, threat = build(ATTACKS[name][0], "crafter"), Linf(on.eps)

    def made(source: Classifier) -> Tensor:
        blocks = [
            crafter.craft(source, on.x[a:b], on.y[a:b], threat, SeedStream(0, (number,)))
            for number, a, b in block_ranges(len(on.x))
        ]
        return torch.cat(blocks)

    exact, fast = made(on.model), made(lowered(on.model, "cpu"))
    origin = (on.x * 255).round().to(torch.uint8)
    same = same_way(origin, threat.to_levels(origin, exact), threat.to_levels(origin, fast))
    return on.accuracy(exact), on.accuracy(fast), same


def table(rounds: int, sizes: Mapping[str, tuple[int, int]] = SIZES, train: int = TRAIN) -> Report:
    """Lines of Markdown; the goals are about PGD-20.

    Args:
        rounds: timings of each, `OFTEN` times as many on small images.
        sizes: by net, images of the timed batch, and images on which bfloat16 is held against float32.
        train: images of a training.
    """
    lines = [
        "| attack | net | by | CPU time | to ours, float32 | bfloat16 | robust accuracy % | of the product rate % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    checks = [
        "| attack | net | images | float32 % | bfloat16 % | same way % | agrees |",
        "|---|---|---|---|---|---|---|",
    ]
    goals = []
    for net, (images, compared) in sizes.items():
        whole = case(net, max(images, compared), train=train)
        for name in ATTACKS:
            outcome = compare(name, whole.first(images), rounds)
            for who in outcome.seconds:
                share = f"{100 * outcome.share:.0f}" if who == OURS else ""
                lines.append(f"| {name} | {net} | {' | '.join((who, *outcome.cells(who)))} | {share} |")
            taken = OURS
            if FAST in outcome.seconds:
                exact, fast, same = agreement(name, whole.first(compared))
                taken = FAST if agrees(exact, fast) and same >= SAME else OURS
                verdict = "yes" if taken == FAST else "no: a board takes float32"
                shown = " | ".join(f"{100 * accuracy:.2f}" for accuracy in (exact, fast, same))
                checks.append(f"| {name} | {net} | {compared} | {shown} | {verdict} |")
            if name == "PGD-20":
                ours, took = outcome.seconds, "bfloat16, which agrees" if taken == FAST else "float32"
                text = f"PGD-20 of {{}}, time to ours in {{}}; {net}"
                for who, wanted in WANTED.items():
                    if who not in ours:
                        continue
                    if who == "torchattacks":
                        goals.append(Goal(text.format(who, "float32"), 1, ratio(ours[who], ours[OURS])))
                    goals.append(Goal(text.format(who, took), wanted, ratio(ours[who], ours[taken])))
    return Report([*lines, "", "Whether bfloat16 agrees, as a board checks it (docs/boards.md):", "", *checks], goals)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=6, help="timings (default 6; on MNIST twice as many); the median counts"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    one_thread()
    print("\n".join(table(arguments.rounds).lines))


if __name__ == "__main__":
    main()
