"""What it costs that an oracle counts: the same blocks answered by an oracle with a budget, and by the net itself.

python -m benchmarks.metering_speed
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

import robustnoise as rn
from benchmarks.goals import Goal, Report
from benchmarks.timing import Seconds, in_turns, milliseconds, one_thread, ratio, told
from robustnoise.blocks import BLOCK, predict_blocks
from robustnoise.oracle import CountingOracle
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf

NETS = {"small-cnn": (1, 28, 28), "madry-mnist": (1, 28, 28), "resnet9(width=16)": (3, 32, 32)}


def compare(name: str, calls: int, rounds: int) -> Seconds:
    """CPU seconds of `calls` whole blocks, metered and not."""
    model = rn.models.create(name, NETS[name])
    x, ids = torch.rand(BLOCK, *NETS[name], generator=torch.Generator().manual_seed(0)), torch.arange(BLOCK)

    def metered() -> None:
        oracle = CountingOracle(model, Linf(0.3, Access.SCORES), SeedStream(0), per_image=calls, total=calls * BLOCK)
        for _ in range(calls):
            oracle.query(x, ids)

    def free() -> None:
        for call in range(calls):
            predict_blocks(model, x, SeedStream(0, (call,)))

    return in_turns({"metered": metered, "free": free}, rounds)


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
