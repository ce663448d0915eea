"""Square and HopSkipJump here against ART's and torchattacks', on the same robust net and images, in one process.

    python -m benchmarks.query_speed

CPU seconds on one thread, rows that the net answered, and robust accuracy after projection and rounding to 8 bit. Ours
runs with all the rows that the other may send for an image, and with ever fewer of them; the ratio *at equal strength*
is that of the least of these budgets at which our robust accuracy isn't above the other's.
"""

from __future__ import annotations

import argparse
import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor

from benchmarks.goals import Goal, Report
from benchmarks.nets import NETS, Case, case
from benchmarks.strangers import Counter, art_hop_skip_jump, art_square, has_torchattacks, torchattacks_square
from benchmarks.timing import one_thread, ratio, seconds_of, told
from robustnoise.blocks import BLOCK, predict_blocks, to_tensor
from robustnoise.building import build
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import BlackBoxAttack, Targets
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf

NET = "MNIST, small-cnn, adversarially trained"
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
    parser.add_argument("--net", default=NET, choices=NETS, help=f"default: {NET}")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3, help="timings of each, one seed a round (default 3)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    one_thread()
    on = case(arguments.net, arguments.images)
    reports = square(on, arguments.rounds), hop_skip_jump(on, arguments.rounds)
    print("\n\n".join("\n".join(report.lines) for report in reports))


def square(on: Case, rounds: int, shares: Sequence[float] = SHARES, queries: int = 300) -> Report:
    """Lines of Markdown: Square beside ART's and torchattacks'. The goal is about ART's.

    Args:
        on: the net and images.
        rounds: timings of each, one seed a round.
        shares: of their rows that ours gets.
        queries: candidates that theirs tries for an image; ART asks three times about each.
    """
    bench = Bench(on, rounds, shares)
    lines, times = bench.contest("square", Access.SCORES, "ART", partial(art_square, queries=queries), 3 * queries)
    if has_torchattacks():
        theirs = partial(torchattacks_square, queries=queries)
        lines += ["", *bench.contest("square", Access.SCORES, "torchattacks", theirs, queries)[0]]
    return Report(lines, [Goal(f"Square of ART, its time to ours at equal strength; {on.name}", 5, times)])


def hop_skip_jump(on: Case, rounds: int, shares: Sequence[float] = SHARES, evaluations: int = 6) -> Report:
    """Lines of Markdown: HopSkipJump beside ART's, with that many iterations; no goal."""
    theirs = partial(art_hop_skip_jump, evaluations=evaluations)
    return Report(Bench(on, rounds, shares).contest("hop-skip-jump", Access.LABELS, "ART", theirs)[0], [])


class Bench:
    """Contests on a net and images that all share."""

    def __init__(self, on: Case, rounds: int, shares: Sequence[float]) -> None:
        self._on, self._rounds, self._shares = on, rounds, shares

    def contest(
        self, attack: str, access: Access, other: str, theirs: Theirs, most: int | None = None
    ) -> tuple[list[str], float | None]:  # fmt: skip
        """A table of ours beside theirs, and their time to ours at equal strength, None where ours is weaker.

        `most` rows are what theirs sends for an image, None is its mean.
        """
        base: list[Run] = []
        ours: dict[float, list[Run]] = {share: [] for share in self._shares}
        for seed in range(self._rounds):
            base.append(self._theirs(theirs, seed))
            for share in self._shares:
                queries = max(1, math.floor((most or base[-1].rows) * share))
                ours[share].append(self._ours(build(f"{attack}(queries={queries})", "attack"), access, queries, seed))
        lines = [
            f"| {attack} | CPU seconds | rows an image | robust accuracy % | {other}'s time, this one's 1 |",
            "|---|---|---|---|---|",
            _line(other, base, base),
            *(_line(f"robustnoise, {100 * share:.0f} % of the rows", runs, base) for share, runs in ours.items()),
        ]
        fair = [share for share, runs in ours.items() if _mean(runs) <= _mean(base)]
        if not fair:
            weaker = f"`{attack}` is **weaker** than {other}'s at equal rows: no ratio at equal strength."
            return [*lines, "", weaker], None
        least = min(fair)
        taken = [r.seconds for r in base], [r.seconds for r in ours[least]]
        said = (
            f"At equal strength ({100 * least:.0f} % of the rows) {other} takes {told(*taken)} times as long; if ours "
            f"took no time but the net's, with no block filled up, {self._floor(base, ours[least]):.2f} times."
        )
        return [*lines, "", said], ratio(*taken)

    def _floor(self, base: Sequence[Run], ours: Sequence[Run]) -> float:
        """Their time to that of the net alone for as many rows as ours asks, in full blocks: what ours can't pass."""
        x = self._on.x[:BLOCK]
        bare = statistics.median(
            seconds_of(partial(predict_blocks, self._on.model, x, SeedStream(0))) for _ in range(5)
        ) / len(x)  # fmt: skip
        rows = statistics.median(run.rows for run in ours) * len(self._on.x)
        return statistics.median(run.seconds for run in base) / (bare * rows)

    def _theirs(self, attack: Theirs, seed: int) -> Run:
        net, on, found = Counter(self._on.model.module), self._on, []
        seconds = seconds_of(lambda: found.append(attack(net, on.x, on.y, on.eps, seed=seed)))
        return Run(seconds, net.rows / len(on.x), on.accuracy(found[0]))

    def _ours(self, attack: BlackBoxAttack, access: Access, queries: int, seed: int) -> Run:
        on, found = self._on, []
        threat, targets = Linf(on.eps, access), Targets(to_tensor(on.data.evaluation.ids), on.x, on.y)
        oracle = CountingOracle(on.model, threat, SeedStream(seed), per_image=queries)
        seeds = SeedStream(seed, ("attack",))
        seconds = seconds_of(lambda: found.append(attack.run(oracle, on.data.attacker, targets, threat, seeds)))
        return Run(seconds, oracle.spent / len(on.x), on.accuracy(found[0].x))


def _line(label: str, runs: Sequence[Run], base: Sequence[Run]) -> str:
    seconds, rows = (statistics.median(column) for column in (list(zip(*runs, strict=True))[:2]))
    times = told([b.seconds for b in base], [r.seconds for r in runs])
    return f"| {label} | {seconds:.2f} | {rows:.0f} | {100 * _mean(runs):.1f} | {times} |"


def _mean(runs: Sequence[Run]) -> float:
    return statistics.fmean(r.accuracy for r in runs)


if __name__ == "__main__":
    main()
