"""What defenses and architectures promise."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from robustnoise.spec import Plugin

if TYPE_CHECKING:
    from torch import nn


class Stage(StrEnum):
    """Where in a stack a defense acts; training comes first."""

    TRAINING = "training"
    INFERENCE = "inference"


@dataclass(frozen=True)
class DefenseTraits:
    """Promises of a defense, checked by the contracts.

    Args:
        stage: when it acts.
        stochastic: two answers to the same image may differ.
        differentiable: gradients flow through it.
        softened: they don't, but attacks that need them get a differentiable stand-in.
        abstains: it may answer -1.
        off: parameters at which it does nothing, for the contract "no strength is the identity".
        ready: a training stage that brings trained weights: it computes nothing, and is tried before anything runs.
    """

    stage: Stage
    stochastic: bool = False
    differentiable: bool = True
    softened: bool = False
    abstains: bool = False
    off: dict[str, float | int] = field(default_factory=dict)
    ready: bool = False


class Model(Plugin):
    """A configured network architecture."""

    kind = "model"

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """A network from (n, C, H, W) in [0, 1] to (n, num_classes) logits; its initial weights are never used."""
        raise NotImplementedError
