"""Third-party code and the global random generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def isolated_global_rng() -> Iterator[None]:
    """Put the global generators back after third-party code, which may reseed them."""
    numpy_state = np.random.get_state()  # noqa: NPY002 - saved and put back, never drawn from
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
