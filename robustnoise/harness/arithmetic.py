"""How a machine multiplies and adds, which torch leaves to settings of the process though results differ by it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

backends: Any = torch.backends
LIBRARIES = {
    f"{library}.{kind}": getattr(getattr(backends, library), kind)
    for library, kinds in {"cuda": ("matmul",), "cudnn": ("conv", "rnn"), "mkldnn": ("matmul", "conv", "rnn")}.items()
    for kind in kinds
}


def precisions() -> dict[str, str]:
    """By what multiplies float32, how: "ieee" or "none" with all bits, "tf32" with 10, "bf16" with 7."""
    return {name: library.fp32_precision for name, library in LIBRARIES.items()}


@contextmanager
def arithmetic(threads: int, device: str) -> Iterator[None]:
    """A block in which torch runs with that many threads, and multiplies float32 with all bits.

    A GPU's convolutions would take TF32, which has 10 bits, and after ``torch.set_float32_matmul_precision("medium")``
    in some plugin's file a processor may take 7. Mixed precision that is asked for (`torch.autocast`) stays. A GPU adds
    up in the same order every time; where torch knows no way to, it warns. Afterwards everything multiplies as before,
    each library by a setting of its own.

    Args:
        threads: of torch, at least 1.
        device: where networks run, such as ``"cpu"``.
    """
    with ExitStack() as back:
        back.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        _exact(back)
        _in_order(back, on_gpu=torch.device(device).type == "cuda")
        yield


def _exact(back: ExitStack) -> None:
    for name, precision in precisions().items():
        back.callback(setattr, LIBRARIES[name], "fp32_precision", precision)
    # Torch's older interface sets some of them too, and raises for its readers where it and the newer one disagree.
    older: list[tuple[Callable[[], object], Callable[[Any], object], object]] = [
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
        (lambda: backends.cudnn.allow_tf32, lambda value: setattr(backends.cudnn, "allow_tf32", value), False),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of torch advise against it at each use
        for get, put, _ in older:
            with suppress(RuntimeError):
                back.callback(_quietly, put, get())
        for general in (backends.cudnn, backends.mkldnn, backends):
            back.callback(setattr, general, "fp32_precision", general.fp32_precision)
            general.fp32_precision = "ieee"
        for _, put, exact in older:
            put(exact)
    for library in LIBRARIES.values():
        library.fp32_precision = "ieee"


def _quietly(put: Callable[[Any], object], value: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        put(value)


def _in_order(back: ExitStack, *, on_gpu: bool) -> None:
    for name, value in (("deterministic", True), ("benchmark", False)):
        back.callback(setattr, backends.cudnn, name, getattr(backends.cudnn, name))
        setattr(backends.cudnn, name, value)
    if on_gpu:  # elsewhere it would change nothing but load torch's compiler
        strict = torch.are_deterministic_algorithms_enabled()
        warns = torch.is_deterministic_algorithms_warn_only_enabled()
        back.callback(torch.use_deterministic_algorithms, strict, warn_only=warns)
        torch.use_deterministic_algorithms(True, warn_only=True)
