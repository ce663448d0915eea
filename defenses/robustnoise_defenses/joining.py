"""What stages share that take part in another's training."""

from __future__ import annotations

from robustnoise.api import BadParameter


def must_follow(name: str) -> BadParameter:
    """The error of such a stage, called `name`, when it is applied alone."""
    return BadParameter(f"{name} has no schedule of its own: write plain-training(...) | {name}(...).")
