"""How long and how fast a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained, with AdamW, or Muon and AdamW, and a triangular learning rate.

    Args:
        epochs: passes over the data.
        learning_rate: the peak; reached after `warmup` of the steps, then falling linearly to 0.
        batch_size: images a step.
        shift: random translation in pixels, each axis, zeros coming in; 0 switches it off.
        flip: half of the images are mirrored left to right.
        warp: random rotation up to this many degrees, with up to a tenth of scaling and shear; 0 switches it off.
        smoothing: label smoothing, 0 to 1.
        weight_decay: decoupled, as AdamW's: each step takes learning rate times this share of every weight.
        precision: of products and activations; weights, loss and optimizer stay float32.
        warmup: share of the steps.
        muon: the peak rate of orthogonalised steps (`robustnoise.training.optimizer`); 0 leaves all to AdamW.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    shift: int = 0
    flip: bool = False
    warp: float = 0.0
    smoothing: float = 0.0
    weight_decay: float = 0.0
    precision: Precision = "float32"
    warmup: float = 0.2
    # Not in the repr, by which checkpoints of before know their training; `fit` adds it where it isn't 0.
    muon: float = field(default=0.0, repr=False)

    def share(self, progress: float) -> float:
        """The part of a peak rate that is left, or reached, when `progress` (0 to 1) of the steps are done."""
        rising = progress / self.warmup if self.warmup else math.inf
        return min(rising, (1 - progress) / (1 - self.warmup))
