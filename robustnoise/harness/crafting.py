"""Images from the gradients of a source, block by block, in the precision that the experiment asks for.

bfloat16 has 8 bits, so a gradient in it could weaken an attack. Whether it does is measured where it is used: the first
images are crafted in both precisions, and those of bfloat16 are taken only where the source is right as often on both
and both are the same images but for a few pixels. The source alone can't tell: where many entries of its gradient are
100,000 times smaller than the largest, rounding decides their signs; the source hardly notices, and other nets do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustnoise.blocks import BLOCK, predict_blocks, to_tensor
from robustnoise.data import Split
from robustnoise.harness.collecting import collect
from robustnoise.harness.experiment import Experiment
from robustnoise.models.lowered import lowered
from robustnoise.protocols import AttackResult, Classifier, Crafter, Meter, Targets
from robustnoise.seeds import SeedStream
from robustnoise.threat import ThreatModel
from robustnoise.training import Precision

COMPARED = 8 * BLOCK
"""Images that are crafted in both precisions; where there are no more, float32 alone is cheaper, and is taken."""
TOLERANCE = 0.003
"""By how much the source's accuracy on them may differ."""
SAME = 0.85
"""Share of the values that must go the same way in both. Chosen between what was measured (docs/design/bfloat16.md):
0.91 to 0.99 where transfer is the same within 2 points, 0.71 to 0.73 where it differs by 7 to 15."""


def craft(
    name: str, crafter: Crafter, source: Classifier, experiment: Experiment, seeds: SeedStream, meter: Meter
) -> tuple[bytes, dict[str, Any]]:
    """Craft every evaluation image.

    Args:
        name: the attack's, for messages.
        crafter: informed of the attacker's images already.
        source: whose gradients it climbs.
        experiment: its evaluation images, ball, device and precision are used; ``"bfloat16"`` runs the source's
            products and activations in it, where that agrees with float32.
        seeds: block b draws from ``seeds.child(b)``.
        meter: told of every image.

    Returns:
        what `collect` packed, and in bfloat16 ``{"precision": ...}``: the one ``used``, and the source's accuracy
        (float32) on the ``images`` that were crafted in both, and what `same_way` says of them.
    """
    split, threat = experiment.dataset.evaluation, experiment.threat
    assert threat is not None
    facts: dict[str, Any] = {}
    made: dict[int, Tensor] = {}
    used: Classifier = source
    if experiment.precision == "bfloat16":
        facts, made, used = _compare(crafter, source, lowered(source, experiment.device), split, threat, seeds)

    def block(number: int, targets: Targets) -> AttackResult:
        x = made.pop(number, None)
        if x is None:
            x = crafter.craft(used, targets.x, targets.y, threat, seeds.child(number))
        return AttackResult(x, 0)

    return collect(name, split, threat, block, rows=BLOCK, meter=meter), facts


def _compare(
    crafter: Crafter, source: Classifier, low: Classifier, split: Split, threat: ThreatModel, seeds: SeedStream
) -> tuple[dict[str, Any], dict[int, Tensor], Classifier]:
    """The facts, the blocks that are made already, and the source that is to be climbed."""
    if len(split) <= COMPARED:
        return {"precision": {"used": "float32", "images": 0}}, {}, source
    first = split.take(COMPARED)
    y, origin = to_tensor(first.labels), to_tensor(first.images)
    made: dict[Precision, dict[int, Tensor]] = {"float32": {}, "bfloat16": {}}
    right: dict[Precision, float] = {}
    levels: dict[Precision, Tensor] = {}
    sources: dict[Precision, Classifier] = {"float32": source, "bfloat16": low}
    for precision, blocks in made.items():
        for number, start in enumerate(range(0, COMPARED, BLOCK)):
            x = torch.from_numpy(first.floats(start, start + BLOCK))
            blocks[number] = crafter.craft(
                sources[precision], x, y[start : start + BLOCK], threat, seeds.child(number)
            ).cpu()
        levels[precision] = threat.to_levels(origin, torch.cat(list(blocks.values())))
        labels = predict_blocks(source, levels[precision].float() / 255, seeds.child("compare")).labels
        right[precision] = float((labels == y).double().mean())
    same = same_way(origin, levels["float32"], levels["bfloat16"])
    used: Precision = "bfloat16" if agrees(right["float32"], right["bfloat16"]) and same >= SAME else "float32"
    return {"precision": {"used": used, "images": COMPARED, **right, "same_way": same}}, made[used], sources[used]


def agrees(float32: float, bfloat16: float) -> bool:
    """Whether accuracies that came out in the two precisions are the same within `TOLERANCE`."""
    return abs(float32 - bfloat16) <= TOLERANCE + 1e-9


def same_way(origin: Tensor, first: Tensor, second: Tensor) -> float:
    """Share of the values that two attacks raise, lower or leave alike.

    Args:
        origin: (n, C, H, W) uint8, the images that were attacked.
        first: one attack's, likewise.
        second: the other's.
    """
    ways = [(levels.to(torch.int16) - origin.to(torch.int16)).sign() for levels in (first, second)]
    return float((ways[0] == ways[1]).double().mean())
