"""A thousand cells in one process: what it holds of memory, open files and children must not grow with them.

Prints the three after every hundred cells. The first hundreds load libraries and fill pools; the end is compared with
what was held after 200.

python -m benchmarks.soak --cells 1000
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.small_board import experiment, make_board
from robustnoise.harness.runner import run
from robustnoise.store import Store

EVERY = 100
SETTLED = 200
GROWTH_MB = 30.0
"""What resident memory may have grown by since; a leak of 50 kB a cell is more."""


def held() -> tuple[float, int, int]:
    """Resident megabytes, open files, children of this process."""
    gc.collect()
    proc = Path("/proc/self")
    lines = (proc / "status").read_text().splitlines()
    rss = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    children = (proc / "task" / proc.resolve().name / "children").read_text().split()
    return rss / 1024, len(list((proc / "fd").iterdir())), len(children)


def main(arguments: list[str] | None = None) -> int:
    """Print what is held; 1 if it grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    wanted = parser.parse_args(arguments).cells
    base = Path(tempfile.mkdtemp(prefix="robustnoise-soak-"))
    first: tuple[float, int, int] | None = None
    found = held()
    try:
        measured, store = experiment(make_board(base / "board")), Store(base / "store")
        seed, shown = 0, 0
        while (cells := len(list(store.cells()))) < wanted:
            run(replace(measured, seed=seed), store)  # another seed, and every cell is another
            seed += 1
            if cells // EVERY > shown:
                shown, found = cells // EVERY, held()
                print(f"{cells:5} cells: {found[0]:7.1f} MB, {found[1]} files, {found[2]} children", flush=True)
                if first is None and cells >= SETTLED:
                    first = found
        found = held()
        print(f"{cells:5} cells: {found[0]:7.1f} MB, {found[1]} files, {found[2]} children")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    first = first or found
    grown = found[0] - first[0] > GROWTH_MB or found[1] > first[1] or found[2] > first[2]
    print("grown" if grown else f"not grown: {found[0] - first[0]:+.1f} MB since {SETTLED} cells")
    return int(grown)


if __name__ == "__main__":
    sys.exit(main())
