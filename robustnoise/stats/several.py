"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustnoise.errors import BadParameter
from robustnoise.stats.common import Floats


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Holm's (1979) step-down adjusted p-values, float64 of shape (k,) in the order given; k may be 0."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise BadParameter(f"p_values {p.tolist()}: expected a list of numbers in [0, 1]; leave out what has no p")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return adjusted
