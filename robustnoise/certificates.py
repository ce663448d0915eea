"""Certificates of randomised smoothing: for every image the radius in which its answer provably stays.

Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918, section 3.2.2 (CERTIFY): ``n0`` noisy images select a class, ``n``
further ones count how often it is answered. With the Clopper-Pearson bound ``p`` of its probability at level ``alpha``,
the smoothed classifier answers that class everywhere within the l2 radius ``sigma Phi^-1(p)`` (theorem 1), unless
``p <= 1/2``: then nothing is certified. Each certificate is wrong with probability at most ``alpha``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import special

from robustnoise import stats
from robustnoise.records import filed

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Certificates:
    """The certificates of one classifier on some images.

    Args:
        setting: ``images`` (digest), ``sigma``, ``n0``, ``n``, ``alpha``, ``seed``, ...
        victim: ``digest`` of the classifier under the noise, and its name or text where it has one.
        ids: (m,) int64 of the images.
        labels: (m,) int64, the true ones.
        selected: (m,) int64, the class that the ``n0`` noisy images chose; -1 where all of them were abstentions.
        hits: (m,) int64, how many of the ``n`` noisy images were answered with that class.
        provenance: commit, versions, hardware, time; outside of every digest.
    """

    setting: Mapping[str, Any]
    victim: Mapping[str, Any]
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    selected: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]
    provenance: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def low(self) -> stats.Floats:
        """(m,) lower bounds of the probability of the selected class under the noise."""
        n, alpha = self.setting["n"], self.setting["alpha"]
        bounds = {int(k): stats.clopper_pearson_low(int(k), n, alpha) for k in np.unique(self.hits)}
        return np.array([bounds[int(k)] for k in self.hits], dtype=np.float64)

    @cached_property
    def answers(self) -> npt.NDArray[np.int64]:
        """(m,) the certified class; -1 is an abstention."""
        return np.where(self.low > 0.5, self.selected, -1)

    @cached_property
    def radii(self) -> stats.Floats:
        """(m,) certified l2 radii, pixels in [0, 1]; 0 for an abstention."""
        found: stats.Floats = np.where(self.low > 0.5, self.setting["sigma"] * special.ndtri(self.low), 0.0)
        return found

    @property
    def largest(self) -> float:
        """The radius of an image of which all n answers agree: no certificate reaches further."""
        n, alpha = self.setting["n"], self.setting["alpha"]
        return max(0.0, float(self.setting["sigma"] * special.ndtri(alpha ** (1 / n))))

    @property
    def abstained(self) -> float:
        """The share of images without a certificate."""
        return float((self.answers < 0).mean())

    @property
    def average_radius(self) -> float:
        """The mean over all images of the radius of right certificates, 0 for the others (arXiv 2001.02378)."""
        return float(np.where(self.answers == self.labels, self.radii, 0).mean())

    def held(self, radius: float) -> npt.NDArray[np.bool_]:
        """(m,) the answer is right and certified up to `radius`, pixels in [0, 1] and l2."""
        found: npt.NDArray[np.bool_] = (self.answers == self.labels) & (self.radii >= radius)
        return found

    def accuracy(self, radius: float) -> float:
        """Certified accuracy: the share of images that `held` names. No attack within `radius` leaves less."""
        return float(self.held(radius).mean())

    def interval(self, radius: float) -> stats.Interval:
        """95 % interval of `accuracy`, over images."""
        return stats.wilson(int(self.held(radius).sum()), len(self))

    def table(self) -> pd.DataFrame:
        """One line an image: id, label, answer (-1 abstains), right, radius, hits, p_low."""
        import pandas as pd

        return pd.DataFrame(
            {
                "id": self.ids,
                "label": self.labels,
                "answer": self.answers,
                "right": self.answers == self.labels,
                "radius": self.radii,
                "hits": self.hits,
                "p_low": self.low,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """For other programs: what was certified and, per image, class and hits, from which all else follows."""
        identity = {"certificates": 1, "setting": dict(self.setting), "victim": dict(self.victim)}
        outcome = {
            "m": len(self),
            "average_radius": self.average_radius,
            "abstained": self.abstained,
            "images": self.table().drop(columns="p_low").to_dict("records"),
        }
        return filed(identity, outcome, self.provenance)
