"""What the tests of robustnoise.stats share."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats

Z = scipy.stats.norm.ppf(0.975)
Ints = npt.NDArray[np.int64]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def statsmodels(module: str) -> Any:
    return importlib.import_module(f"statsmodels.stats.{module}")
