"""What the substitutes share: the parts of a fit, and what a training and a noise may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from robustnoise.api import BadParameter, Classifier, Context, Defense, Modular, Split, Stage


def part(ctx: Context, *path: str | int) -> Context:
    """`ctx` for a part of a fit, with a stream and a checkpoint file of its own; `forget` the file at the end."""
    file = ctx.checkpoint
    if file is not None:
        file = file.with_name("-".join([file.name, *map(str, path)]))
    return replace(ctx, seed=ctx.seeds.child(*path), checkpoint=file)


def forget(parts: Sequence[Context]) -> None:
    """Delete the checkpoints of parts; only when all are trained, or an interrupted fit would train some twice."""
    for ctx in parts:
        if ctx.checkpoint is not None:
            ctx.checkpoint.unlink(missing_ok=True)


def check_stages(name: str, field: str, defense: Defense, stage: Stage) -> None:
    """Refuse a defense that acts at another time.

    Raises:
        BadParameter: it does.
    """
    if any(found.traits.stage is not stage for found in defense.stages()):
        raise BadParameter(f"{name}: {field} = {defense}: expected {stage.value} stages only.")


def noisy(networks: Sequence[Modular], noise: Defense, seed_data: Split, ctx: Context) -> list[Classifier]:
    """Each network with the attacker's own copy of the defense around it, calibrated on the attacker's images."""
    own = replace(ctx, train=seed_data, checkpoint=None)
    return [noise.apply(network, own) for network in networks]
