"""Other people's libraries: imported quietly, and run with global generators that are seeded and then put back."""

from __future__ import annotations

import importlib
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

GIT_SETTING = "GIT_PYTHON_REFRESH"


def import_quietly(module: str) -> ModuleType:
    """Import `module` without its warnings, without a git binary and without moving a global generator.

    Foolbox imports GitPython, which refuses to be imported where there is no git; ART's import draws from `random`.
    """
    before, state = os.environ.get(GIT_SETTING), random.getstate()
    os.environ[GIT_SETTING] = "quiet"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    finally:
        random.setstate(state)
        if before is None:
            del os.environ[GIT_SETTING]
        else:
            os.environ[GIT_SETTING] = before


@contextmanager
def kept_globals() -> Iterator[None]:
    """Put the global generators of torch, numpy and Python back after code that may draw from or seed them."""
    import numpy as np
    import torch

    # No call here starts CUDA for those who don't use it.
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


class _Real(type):
    """What passes for a `RandomState` is an instance of numpy's own."""

    def __instancecheck__(cls, instance: object) -> bool:
        from numpy.random.mtrand import RandomState

        return isinstance(instance, RandomState)


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Run a library that draws from the global generators of torch, numpy and Python: seeded, and put back afterwards.

    A bare ``np.random.RandomState()``, which would ask the operating system for a seed, is seeded as well. It may be
    nested: a library's attack asks a victim whose library draws, too. Not for threads: what is replaced is the
    process's.
    """
    import numpy as np
    import torch

    seeds = np.random.SeedSequence(seed)
    torch_seed, numpy_seed, python_seed = (int(n) for n in seeds.generate_state(3))
    bare = iter(range(seed, seed + 2**62))
    outer = np.random.RandomState

    # Not of `outer`, which inside another such block is itself a class of this kind.
    class Seeded(np.random.mtrand.RandomState, metaclass=_Real):
        def __init__(self, seed: Any = None) -> None:
            super().__init__(next(bare) % 2**32 if seed is None else seed)

    if torch.cuda.is_available():
        torch.cuda.init()  # a seed for a device that isn't started would be kept for later, and leak
    with kept_globals():
        try:
            torch.manual_seed(torch_seed)
            np.random.seed(numpy_seed)  # noqa: NPY002
            random.seed(python_seed)
            np.random.RandomState = Seeded  # type: ignore[misc]
            yield
        finally:
            np.random.RandomState = outer  # type: ignore[misc]
