"""CPU time of contestants that take turns in one process, and what it is compared with."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from robustnoise.allocator import keep_memory

Seconds = dict[str, list[float]]
"""By contestant, one number a round."""
MATRIX = 1024
LIBRARIES = ("torch", "numpy", "adversarial-robustness-toolbox", "foolbox", "torchattacks")


def one_thread() -> None:
    """CPU time tells the work of a contestant, whatever else runs, only where no thread waits for another."""
    torch.set_num_threads(1)
    keep_memory()


def seconds_of(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def in_turns(contestants: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Time each `rounds` times, in turns, after one round that warms up and isn't counted."""
    taken: Seconds = {who: [] for who in contestants}
    for _ in range(rounds + 1):
        for who, run in contestants.items():
            taken[who].append(seconds_of(run))
    return {who: times[1:] for who, times in taken.items()}


def told(of: Sequence[float], to: Sequence[float]) -> str:
    """The ratio with its spread over rounds."""
    each = [a / b for a, b in zip(of, to, strict=True)]
    return f"{ratio(of, to):.2f} ({min(each):.2f} to {max(each):.2f})"


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """The median over rounds."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def milliseconds(times: Sequence[float]) -> str:
    """The median."""
    return f"{1000 * statistics.median(times):.0f} ms"


def matrix_rate(dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second in the product of two square matrices, the best of five rounds."""
    a, b = (torch.rand(MATRIX, MATRIX).to(dtype) for _ in range(2))
    return 2 * MATRIX**3 / min(in_turns({"product": lambda: a @ b}, 5)["product"])


def machine() -> str:
    """What the numbers were measured on, in words."""
    instructions = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {name} " in _flags()]
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"without {name}")
    return (
        f"{platform.machine()} with {', '.join(instructions) or 'no known vector instructions'}; Python "
        f"{platform.python_version()}, {', '.join(found)}; one thread."
    )


def _flags() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next((f" {line.strip()} " for line in file if line.startswith("flags")), "")
    except OSError:
        return ""
