"""How a machine computes: what torch leaves to settings of the process, and the bits of every result depend on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch


@contextmanager
def arithmetic(threads: int, device: str) -> Iterator[None]:
    """A block in which the same inputs give the same bits on the same kind of machine, whatever the process has set.

    Torch runs with that many threads and multiplies float32 as float32: a GPU's convolutions would take TF32, which has
    10 bits, and after ``torch.set_float32_matmul_precision("medium")`` in some plugin's file a processor may take 7.
    Mixed precision that is asked for (`torch.autocast`) stays. A GPU adds up in the same order every time; where torch
    knows no way to, it warns.

    Args:
        threads: of torch, at least 1.
        device: where networks run, such as ``"cpu"``.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _exact(), _in_order(on_gpu=torch.device(device).type == "cuda"):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _exact() -> Iterator[None]:
    backends: Any = torch.backends
    libraries = [getattr(backends.mkldnn, op) for op in ("matmul", "conv", "rnn")]
    libraries += [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    before = _Precision(backends.fp32_precision, [part.fp32_precision for part in libraries])
    with suppress(RuntimeError):  # torch has two interfaces, and this is how the older one says that they disagree
        before.older = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    _Precision("ieee", ["ieee"] * len(libraries), ("highest", False)).put(libraries)
    try:
        yield
    finally:
        before.put(libraries)


@dataclass
class _Precision:
    """How float32 is multiplied: everywhere, in each library, and in the words of torch's older interface."""

    everywhere: str
    each: Sequence[str]
    older: tuple[str, bool] | None = None

    def put(self, libraries: Sequence[Any]) -> None:
        """Set it; the older interface first, as it sets some of the libraries too."""
        backends: Any = torch.backends
        backends.fp32_precision = self.everywhere
        if self.older:
            torch.set_float32_matmul_precision(self.older[0])
            backends.cudnn.allow_tf32 = self.older[1]
        for part, precision in zip(libraries, self.each, strict=True):
            part.fp32_precision = precision


@contextmanager
def _in_order(*, on_gpu: bool) -> Iterator[None]:
    cudnn = torch.backends.cudnn
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    changes = on_gpu and not strict  # to say so again would load torch's compiler
    if changes:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may add up in another order
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
        if changes:
            torch.use_deterministic_algorithms(False, warn_only=warns)
