"""Cells that were lost with their worker, or for want of memory, are made again: up to three times, at last alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robustnoise.harness.executors.base import Workers
from robustnoise.harness.executors.job import Group
from robustnoise.harness.failed import LOST, Failure

TRIES = 3


def make_all(
    workers: Workers,
    groups: Sequence[Group],
    done: Callable[[str], None],
    lost: Callable[[str], Failure] = lambda _: LOST,
) -> dict[str, str | None]:
    """Make every cell of `groups`.

    Args:
        workers: who makes them.
        groups: by `Task.work`.
        done: told of each cell that is made, or given up.
        lost: why a cell isn't there whose worker was lost.

    Returns:
        by `Task.work` why the cell is missing; None where it isn't.
    """
    reasons: dict[str, str | None] = {}
    waiting = list(groups)
    for left in reversed(range(TRIES)):
        again: list[Group] = []
        # At the last try nothing runs beside it: of two that don't fit into memory together each may fit alone.
        for together in [waiting] if left else [[group] for group in waiting]:
            for number, made in workers(together):
                for name in together[number]:
                    failure = lost(name) if made is None else made[name]
                    if failure is not None and failure.again and left:
                        again.append([name])  # a cell that is the end of every worker takes no other with it
                        continue
                    tried = f" (tried {TRIES} times)" if failure and failure.again else ""
                    reasons[name] = failure and failure.reason + tried
                    done(name)
        if not again:
            break
        waiting = again
    return reasons
