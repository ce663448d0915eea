"""Every benchmark of speed, in one process on one thread, written to docs/performance.md; some minutes.

    python -m benchmarks.performance [--only gradients] [--quick]

Every part is printed. With `--only` the page keeps its other parts, and says which were measured later; with `--quick`
it stays as it is. It takes the data sets mnist and cifar10. torchattacks is compared where it is installed beside:
`pip install --no-deps torchattacks`.
"""

from __future__ import annotations

import argparse
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import board_speed, gradient_speed, metering_speed, noise_speed, query_speed, rerun
from benchmarks.board_speed import ROBUST
from benchmarks.goals import Goal, Report, goals_table
from benchmarks.nets import case
from benchmarks.timing import machine, matrix_rate, one_thread, seconds_of
from robustnoise.blocks import BLOCK

QUERIED = (
    (ROBUST, 4 * BLOCK, (1.0, 0.5, 0.25, 0.2, 0.15, 0.1)),
    ("MNIST, small-cnn, natural", 4 * BLOCK, (1.0, 0.5, 0.2)),
    ("CIFAR-10, resnet9(width=16), adversarially trained", 4 * BLOCK, (1.0, 0.5, 0.25, 0.2, 0.15)),
)
"""Nets, images and shares of the other's rows that Square gets."""
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def gradients(quick: bool) -> Report:
    """PGD and MI-FGSM."""
    return gradient_speed.table(1, {ROBUST: (8, 8)}, 500) if quick else gradient_speed.table(6)


def square(quick: bool) -> Report:
    """Square."""
    if quick:
        return query_speed.square(case(ROBUST, 8, train=500), 1, (1.0,), 5)
    return joined(query_speed.square(case(name, n), 1, shares) for name, n, shares in QUERIED)


def hop_skip_jump(quick: bool) -> Report:
    """HopSkipJump."""
    if quick:
        return query_speed.hop_skip_jump(case(ROBUST, 4, train=500), 1, (1.0,), 1)
    return joined(query_speed.hop_skip_jump(case(name, BLOCK), 1, (1.0, 0.5)) for name, _, _ in QUERIED)


def noise(quick: bool) -> Report:
    """Noisy votes."""
    return noise_speed.table(1, 8, ("norm-cnn",)) if quick else noise_speed.table(3)


def metering(quick: bool) -> Report:
    """The oracle."""
    return metering_speed.table(1, 2, ("small-cnn",)) if quick else metering_speed.table(9)


def board(quick: bool) -> Report:
    """A whole board."""
    return board_speed.table(2, 8) if quick else board_speed.table(20, 512)


def again(quick: bool) -> Report:
    """A finished board again."""
    return rerun.table(1, 2) if quick else rerun.table(3)


def joined(reports: Iterable[Report]) -> Report:
    """One after the other, each under the name of its net, which the goal ends with."""
    found = list(zip(QUERIED, reports, strict=True))
    lines = [line for (name, n, _), report in found for line in (f"**{name}**", "", *report.lines, "")]
    return Report(lines, [goal for _, report in found for goal in report.goals])


class Part(NamedTuple):
    """A section of the page."""

    title: str
    about: str
    measure: Callable[[bool], Report]


PARTS = {
    "gradients": Part(
        "Gradient attacks",
        """\
Same nets, images, steps and step size, in one batch (128 images of MNIST, 64 of CIFAR-10). Ratios: CPU time over that
of robustnoise, the median of the rounds (least to largest). The last column: how much of the rate of matrix products
our ascent reaches, by the products that torch's own way takes. Nets that don't ship are trained briefly.

On the way back through a strided convolution and a ReLU before max pooling, ours does less than torch, where the bits
stay the same (`attacks/robustnoise_attacks/gradient`: quicker.py, backward.py). Convolutions with fewer additions would
change the last bits of a gradient, and with them images that are published.""",
        gradients,
    ),
    "square": Part(
        "Square",
        """\
512 images, one seed; ART asks three rows for each of 300 candidates. Nets here see blocks of 128 images, filled up
where fewer are left, and what fills costs as much as an image. On a board an attack that asks gets 1,024 images at a
time, so that at most one block in eight is filled up; 512 are what two other libraries can be waited for.""",
        square,
    ),
    "hop-skip-jump": Part("HopSkipJump", "The same nets, 128 images, one seed.", hop_skip_jump),
    "noise": Part(
        "Noisy votes",
        """\
16 passes over 128 images with noise of 0 dB at every layer, beside 16 without noise. Speeds are shares of the
noise-free one: 1 would be noise for nothing. One column has noise-free passes beside which the same random numbers are
drawn and thrown away: with torch's generator noise can't cost less. The naive loop adds `randn_like` in a hook.""",
        noise,
    ),
    "metering": Part("Metering", "An oracle that counts and cuts, beside the bare net on the same blocks.", metering),
    "board": Part(
        "A whole board",
        """\
Inference-time defenses around one shipped net, attacked by transfer from two others. The script does the same with
ART; what it leaves out (rounding, agreement, separate draws, intervals, records) is ours to pay.""",
        board,
    ),
    "again": Part(
        "A finished board again",
        """\
The whole command in new processes, medians of three: as it is, and read anew without the memo of what was shown. By
turns with that, what can't be less then: loading torch, and loading all libraries that the command asks for.""",
        again,
    ),
}


def page(quick: bool = False, only: Sequence[str] = ()) -> str:
    """The page; `only` keeps those parts."""
    one_thread()
    load = os.getloadavg()[0]
    parts: list[str] = []
    goals: list[Goal] = []

    def measure() -> None:
        for key, part in PARTS.items():
            if not only or key in only:
                report = part.measure(quick)
                goals.extend(report.goals)
                parts.append("\n".join([f"## {part.title}", "", part.about, "", *report.lines, ""]))
                print(parts[-1], flush=True)

    took = seconds_of(measure)
    rates = f"{matrix_rate() / 1e9:.0f} GFLOP/s in float32"
    if gradient_speed.has_bfloat16():
        rates += f", {matrix_rate(torch.bfloat16) / 1e9:.0f} in bfloat16"
    busy = f" Other work ran beside it (load {load:.1f} at the start)." if load > 1.5 else ""
    head = f"""\
# Performance

Written by `make bench`; not to be edited. Ratios are of CPU times taken in turns in one process, so other work on the
machine touches both sides alike; milliseconds are of this machine alone.
The finished board's seconds are wall clock.

Measured on {machine()}
Matrix products of 1,024 x 1,024: {rates}. The run took {took:.0f} s of CPU time.{busy}

"""
    wanted = ["## What is wanted", "", *goals_table(goals), "", ""] if goals else []
    return head + "\n".join(wanted) + "\n".join(parts)


WANTED = "## What is wanted"
LATER = "Measured later than the rest."


def merged(page: str, later: str) -> str:
    """`page` with the parts, and the lines of the first table, that `later` has."""
    old, new = ({text.split("\n")[0]: text for text in re.split(r"(?m)^(?=## )", whole)} for whole in (page, later))
    lines = {line.split(" | ")[0]: line for line in new.pop(WANTED, "").splitlines()}
    new = {title: f"{text.rstrip()}\n\n{LATER}\n\n" for title, text in new.items() if title.startswith("## ")}
    wanted = [lines.get(line.split(" | ")[0], line) for line in old.get(WANTED, "").split("\n")]
    return "".join((old | {WANTED: "\n".join(wanted)} | new).values()).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then write or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=[], help="these parts alone, into the page")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether everything runs, no figures")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    text = page(options.quick, options.only)
    if not options.quick:
        PAGE.write_text(merged(PAGE.read_text(encoding="utf-8"), text) if options.only else text, encoding="utf-8")
        print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
