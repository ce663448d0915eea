"""SIGTERM and SIGHUP stop a command as Ctrl-C does: whatever is being written is whole or absent, workers end too."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = ("SIGTERM", "SIGHUP")
"""What schedulers send before they kill, and what a terminal sends that is closed."""


class Stop:
    """Which signal ended a command; Ctrl-C until another one came."""

    def __init__(self) -> None:
        self.signal = signal.SIGINT

    def __call__(self, number: int, _: object) -> None:
        """The handler of a signal."""
        self.signal = signal.Signals(number)
        raise KeyboardInterrupt

    @property
    def code(self) -> int:
        """The exit code that shells give to the signal: 130, 143 or 129."""
        return 128 + self.signal

    @property
    def line(self) -> str:
        """What is said at the end."""
        by = "" if self.signal is signal.SIGINT else f" by {self.signal.name}"
        return f"Stopped{by}. What was finished is kept: run the same command again to go on."


@contextmanager
def stoppable() -> Iterator[Stop]:
    """While the block runs, the signals raise KeyboardInterrupt; those that are ignored, as under nohup, stay so."""
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
        before = {n: signal.signal(n, stop) for n in numbers if signal.getsignal(n) is signal.SIG_DFL}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
