"""What it costs that an oracle counts: the same blocks answered by an oracle with a budget, and by the net itself.

python -m benchmarks.metering_speed
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

import robustnoise as rn
from benchmarks.goals import Goal, Report
from benchmarks.timing import Seconds, milliseconds, one_thread, ratio, seconds_of, told
from robustnoise.blocks import BLOCK, predict_blocks
from robustnoise.oracle import CountingOracle
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf

NETS = {"small-cnn": (1, 28, 28), "madry-mnist": (1, 28, 28), "resnet9(width=16)": (3, 32, 32)}


def compare(name: str, calls: int, rounds: int) -> Seconds:
    """CPU seconds of `calls` whole blocks, metered and not.

    They take turns call by call, each first every other time: on a small net, other work on the machine moves a round
    by more than the meter costs. One round more warms up and isn't counted.
    """
    model = rn.models.create(name, NETS[name])
    x, ids = torch.rand(BLOCK, *NETS[name], generator=torch.Generator().manual_seed(0)), torch.arange(BLOCK)

    taken: Seconds = {"metered": [], "free": []}
    for _ in range(rounds + 1):
        oracle = CountingOracle(model, Linf(0.3, Access.SCORES), SeedStream(0), per_image=calls, total=calls * BLOCK)
        spent = {"metered": 0.0, "free": 0.0}
        for call in range(calls):
            stream = SeedStream(0, (call,))
            sides = {
                "metered": lambda: oracle.query(x, ids),  # noqa: B023 - called at once
                "free": lambda: predict_blocks(model, x, stream),  # noqa: B023
            }
            for who in sides if call % 2 else reversed(sides):
                spent[who] += seconds_of(sides[who])
        for who, seconds in spent.items():
            taken[who].append(seconds)
    return {who: times[1:] for who, times in taken.items()}


def table(rounds: int, calls: int = 50, nets: Sequence[str] = tuple(NETS)) -> Report:
    """Lines of Markdown; the goal is about the net where it costs most."""
    ratios = []
    lines = [f"| net | {calls} calls of {BLOCK} rows | metered, 1 without |", "|---|---|---|"]
    for name in nets:
        found = compare(name, calls, rounds)
        lines.append(f"| {name} | {milliseconds(found['free'])} | {told(found['metered'], found['free'])} |")
        ratios.append(ratio(found["metered"], found["free"]))
    return Report(lines, [Goal("time with a counting oracle, 1 without", 1.05, max(ratios), most=True)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timings of each; their median counts (default 5)")
    arguments = parser.parse_args()
    one_thread()
    print("\n".join(table(arguments.rounds).lines))


if __name__ == "__main__":
    main()
