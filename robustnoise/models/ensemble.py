"""Several models that are attacked together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from robustnoise.errors import BadParameter
from robustnoise.models.classifier import answer_from_logits
from robustnoise.protocols import Answer, Classifier, Differentiable, require_differentiable
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of

Combine = Literal["logits", "probabilities", "losses"]
"""What is averaged over the members of an ensemble."""


class Ensemble:
    """The mean of several classifiers, each of the same weight (Liu et al. 2017, arXiv 1611.02770, section 5).

    A member that is an ensemble itself and averages the same thing is replaced by its members. Member i draws from
    ``noise.child("member", i)``.

    Args:
        members: at least one, of one input shape and number of classes, with gradients or with a stand-in that has.
        combine: ``"logits"`` averages logits; ``"probabilities"`` averages probabilities, and the logits are their
            logarithms; ``"losses"`` answers as ``"probabilities"`` and has an attack average the members' losses.

    Raises:
        BadParameter: no members, or they don't fit together.
        MissingCapability: a member has neither gradients nor a stand-in.
    """

    members: tuple[Differentiable, ...]
    combine: Combine

    def __init__(self, members: Sequence[Classifier], combine: Combine) -> None:
        flat: list[Differentiable] = []
        for member in members:
            whole = require_differentiable(member, "an ensemble")
            flat += whole.members if isinstance(whole, Ensemble) and whole.combine == combine else (whole,)
        kinds = {(tuple(m.input_shape), m.num_classes) for m in flat}
        if len(kinds) != 1:
            raise BadParameter(
                f"an ensemble of {len(flat)} models with (input shape, classes) {sorted(kinds)}: "
                "expected at least one, all alike."
            )
        self.members = tuple(flat)
        self.combine = combine
        self.input_shape, self.num_classes = flat[0].input_shape, flat[0].num_classes
        self.stochastic = any(m.stochastic for m in flat)
        self.passes = sum(m.passes for m in flat)
        self.digest = digest_of(["ensemble", combine, [m.digest for m in flat]])

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `robustnoise.protocols.Differentiable.logits`."""
        each = torch.stack([m.logits(x, noise=noise.child("member", i)) for i, m in enumerate(self.members)])
        if self.combine == "logits":
            return each.mean(0)
        return each.log_softmax(2).logsumexp(0) - math.log(len(self.members))

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`."""
        with torch.inference_mode():
            return answer_from_logits(self.logits(x, noise=noise))
