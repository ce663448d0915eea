"""Two runs of one board on one store and one folder, killed at random moments again and again.

Whenever one of them comes to its end, the rows must be to the byte those of a run that nobody disturbed (less their
provenance, which says when they were made), and the store must hold no damage. Then the board starts anew, until enough
runs were killed. Runs are forked, so that a kill meets work and not Python's imports.

python -m benchmarks.kills --kills 200 --seed 0
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.small_board import finish, make_board, outcomes
from robustnoise.store import Store
from robustnoise.training import checkpoints

RUNNERS = 2


class Round(NamedTuple):
    """A board that came to its end.

    Args:
        kills: runs that were killed on the way.
        seconds: wall time.
        problems: what isn't as it should be.
    """

    kills: int
    seconds: float
    problems: list[str]


class _Runner:
    """A forked process."""

    def __init__(self, work: Callable[[], object], patience: float) -> None:
        self.ends = time.monotonic() + patience
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException:  # noqa: BLE001 - a forked child must not go on as its parent
                traceback.print_exc()
            finally:
                os._exit(code)

    def ended(self) -> bool:
        """Whether it came to its end by itself."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def kill(self) -> None:
        """End it at once, wherever it is."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def one_round(folder: Path, wanted: dict[str, bytes], moments: random.Random, longest: float, kills: int) -> Round:
    """Run the board in `folder` to its end, through at most `kills` kills.

    Args:
        folder: empty.
        wanted: the outcomes of a quiet run.
        moments: when to kill.
        longest: seconds until a run is killed at the latest; a run takes longer.
        kills: afterwards runs are left in peace.
    """
    board, store = make_board(folder / "board"), Store(folder / "store")
    started, done = time.monotonic(), 0

    def start() -> _Runner:
        # Most kills come early, where a run that goes on from the store has its work.
        patience = longest * moments.random() ** 2 if done < kills else float("inf")
        return _Runner(lambda: finish(board, store), patience)

    runners = [start() for _ in range(RUNNERS)]
    while not any(runner.ended() for runner in runners):
        for i, runner in enumerate(runners):
            if time.monotonic() > runner.ends and not runner.ended():
                runner.kill()
                done += 1
                runners[i] = start()
        time.sleep(0.001)
    problems = [f"a run ended with {r.code}" for r in runners if r.ended() and r.code != 0]
    for runner in runners:
        if not runner.ended():
            runner.kill()
    if outcomes(board) != wanted:
        problems.append("rows differ from those of a quiet run")
    problems += [reason for _, reason in store.damaged()]
    problems += [f"{path} is damaged" for path in store.damaged_checkpoints()]
    return Round(done, time.monotonic() - started, problems)


def main(arguments: list[str] | None = None) -> int:
    """Print a line a board; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    checkpoints.CHECKPOINT_SECONDS = 0.0  # after every epoch, so that kills meet checkpoints too
    moments = random.Random(options.seed)
    base = Path(tempfile.mkdtemp(prefix="robustnoise-kills-"))
    done, failed = 0, 0
    try:
        finish(make_board(base / "first"), Store(base / "first-store"))  # imports
        began = time.monotonic()
        wanted = finish(make_board(base / "quiet"), Store(base / "quiet-store"))
        seconds = time.monotonic() - began
        print(f"{len(wanted)} rows; a quiet run takes {seconds:.2f} s")
        number = 0
        while done < options.kills:
            left = min(options.kills - done, 25)
            found = one_round(base / f"board-{number}", wanted, moments, seconds, left)
            done, number, failed = done + found.kills, number + 1, failed + bool(found.problems)
            said = "; ".join(found.problems) or "same rows"
            print(f"board {number}: {found.kills} kills, {found.seconds:.1f} s: {said}", flush=True)
            shutil.rmtree(base / f"board-{number - 1}")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print(f"{done} kills over {number} boards: {failed} boards with a difference")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
