"""How well a plan tells what a board will take: estimates on the way against what the rest then took.

    python -m benchmarks.plans quickstart --limit 200

The board is made from nothing in a store of its own, one cell after the other; after a share of the cells the rest is
estimated as `robustnoise run --plan` does it. A ratio of 2 is twice as long as it then took, without
the other load of the machine, as estimates are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from robustnoise.board import find_board, load_board
from robustnoise.harness.bench import Bench
from robustnoise.harness.costs.spent import spent
from robustnoise.harness.experiment import Experiment
from robustnoise.harness.planning import plan
from robustnoise.harness.tasks import Task, tasks
from robustnoise.store import Store

SHARES = (0.0, 0.05, 0.1, 0.25, 0.5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board", nargs="?", default="quickstart", help="a board's folder or name (default quickstart)")
    parser.add_argument("--limit", type=int, help="evaluation images (default: the board's)")
    parser.add_argument("--set", action="append", default=[], help="key=value, as for robustnoise run")
    arguments = parser.parse_args()
    changes = arguments.set + ([f"data.evaluation={arguments.limit}"] if arguments.limit else [])
    experiment = load_board(find_board(arguments.board), changes).experiment()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        estimated, order = _made(experiment, store)
        seconds = [_seconds(store, key) for key in order]
        print("| cells made | of | stages with a finished cell | estimate of the rest, s | it took, s | ratio |")
        print("|---|---|---|---|---|---|")
        for done, (stages, estimate) in sorted(estimated.items()):
            took = sum(seconds[done:])
            print(f"| {done} | {len(order)} | {stages} | {estimate:.1f} | {took:.1f} | {estimate / took:.2f} |")


def _made(experiment: Experiment, store: Store) -> tuple[dict[int, tuple[str, float]], list[str]]:
    """Estimates by how many cells were made by then, and the keys of all in order."""
    whole = [task for level in tasks(experiment) for task in level]
    number = len({task.work for task in whole})
    wanted = {round(share * number) for share in SHARES}
    bench, order, estimated = Bench(experiment, store), list[str](), dict[int, tuple[str, float]]()
    for task in _interleaved(whole):
        if len(order) in wanted and len(order) not in estimated:
            lines = plan(experiment, store)
            stages = ", ".join(line.stage for line in lines if line.cached) or "none"
            estimated[len(order)] = stages, sum(line.seconds for line in lines)
        before = {path.stem for path in store.cells()}
        task.run(bench)
        order += sorted({path.stem for path in store.cells()} - before)
    return estimated, order


def _interleaved(whole: list[Task]) -> Iterator[Task]:
    """One cell of each stage in turn, what it needs with it: the first cells are of every kind."""
    queues = [[t for t in whole if t.stage == stage] for stage in dict.fromkeys(t.stage for t in whole)]
    while any(queues):
        for queue in queues:
            if queue:
                yield queue.pop(0)


def _seconds(store: Store, key: str) -> float:
    found = spent(store, key)
    assert found is not None
    return found.seconds


if __name__ == "__main__":
    main()
