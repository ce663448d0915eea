"""Progress on standard error: a bar with the time left in a terminal, one line a piece of work elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from robustnoise.protocols import Meter, Silent
from robustnoise.protocols import Progress as ProgressProtocol


class _BarMeter:
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self.bar, self.task = bar, task

    def advance(self, steps: int = 1) -> None:
        self.bar.advance(self.task, steps)


class _Bars:
    def __init__(self, bar: Progress) -> None:
        self.bar = bar

    def start(self, label: str, total: int) -> Meter:
        for task in self.bar.tasks:
            if task.finished:
                self.bar.update(task.id, visible=False)
        return _BarMeter(self.bar, self.bar.add_task(label, total=total))


class _LineMeter:
    def __init__(self, label: str, total: int) -> None:
        self.label, self.left, self.started = label, total, time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left == 0:
            print(f"{self.label}: {time.monotonic() - self.started:.1f} s", file=sys.stderr, flush=True)


class _Lines:
    def start(self, label: str, total: int) -> Meter:
        return _LineMeter(label, total)


@contextmanager
def bars() -> Iterator[ProgressProtocol]:
    """A place to report progress to."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # A cell may take minutes: the time left follows from all that came before it, not from the last half minute.
    with Progress(*columns, console=console, transient=True, speed_estimate_period=86_400) as bar:
        yield _Bars(bar)


@contextmanager
def bars_in_terminals() -> Iterator[ProgressProtocol]:
    """The same for what only shows and checks: nothing outside of terminals."""
    if not Console(stderr=True).is_terminal:
        yield Silent()
        return
    with bars() as progress:
        yield progress
