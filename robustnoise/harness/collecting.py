"""What an attack hands in, part by part, projected, clipped and rounded to 8 bit inside the ball."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustnoise.blocks import BLOCK, pad, to_tensor
from robustnoise.data import Split
from robustnoise.errors import BadData
from robustnoise.foreign import kept_globals
from robustnoise.protocols import AttackResult, Meter, Targets
from robustnoise.store import pack_arrays
from robustnoise.threat import ThreatModel


def images_at(stop: int | None) -> str:
    """The name of an attack's images after so many queries for each; None is at its end."""
    return "x" if stop is None else f"x@{stop}"


def collect(
    name: str,
    split: Split,
    threat: ThreatModel,
    run: Callable[[int, Targets], AttackResult],
    *,
    rows: int,
    meter: Meter,
    stops: tuple[int, ...] = (),
) -> bytes:
    """Run an attack on `rows` images at a time.

    Args:
        name: the attack's, for messages.
        split: the images under attack.
        threat: norm and radius.
        run: attacks part number n.
        rows: `BLOCK` pads the last part, since a model always sees whole blocks; an attack that asks the oracle gets
            another number and no padding, which would be charged as queries.
        meter: told of every image.
        stops: at how many queries an image the attack was asked for its images too.

    Raises:
        BadData: they are no images, or those at a stop are missing.

    Returns:
        packed arrays: the images at the end and at the attack's stops (`images_at`), their ids, how far any was
        ``outside`` the ball, and which the attack has ``claimed``.
    """
    found: dict[str, list[np.ndarray[Any, Any]]] = {}
    outside = 0.0
    for number, start in enumerate(range(0, len(split), rows)):
        stop = min(start + rows, len(split))
        origin = to_tensor(split.images[start:stop])
        targets = Targets(
            to_tensor(split.ids[start:stop]),
            torch.from_numpy(split.floats(start, stop)),
            to_tensor(split.labels[start:stop]),
        )
        if rows == BLOCK:
            targets = Targets(*(pad(part) for part in targets))
        with kept_globals():
            result = run(number, targets)
        if missing := [at for at in stops if at not in result.trace]:
            raise BadData(
                f"attack {name!r} handed in no images at the stops {missing}, but at {sorted(result.trace)}. Expected "
                "in AttackResult.trace, for each of oracle.stops, those that it had then. Or leave the stops out."
            )
        for at, images in ((None, result.x), *result.trace.items()):
            x = _checked(name, images, targets.x)[: stop - start]
            outside = max(outside, float(threat.violation(origin, x).max()), float(-x.min()), float(x.max()) - 1)
            levels = threat.to_levels(origin, x)
            if bool((~(threat.violation(origin, levels) <= 1e-9)).any()):
                raise BadData(f"attack {name!r}: images are outside the ball after rounding: a bug in robustnoise.")
            found.setdefault(images_at(at), []).append(levels.numpy())
        if result.claimed is not None:
            found.setdefault("claimed", []).append(result.claimed[: stop - start].cpu().numpy())
        meter.advance(stop - start)
    arrays = {key: np.concatenate(parts) for key, parts in found.items()}
    return pack_arrays(arrays | {"ids": split.ids, "outside": np.array(max(outside, 0.0))})


def _checked(name: str, x: Tensor, like: Tensor) -> Tensor:
    if x.shape != like.shape or not bool(torch.isfinite(x).all()):
        raise BadData(
            f"attack {name!r} handed in {x.dtype} {tuple(x.shape)}, finite: {bool(torch.isfinite(x).all())}; "
            f"expected finite images of shape {tuple(like.shape)}."
        )
    return x.cpu()
