"""Where boundary attacks begin: an image, however far, that fools the victim, and the way from it to the boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnoise.api import Norm, SeedStream, Split
from robustnoise_attacks.query.deciding import Decider
from robustnoise_attacks.query.own_numbers import OwnNumbers

TRIES = 25
HALVINGS = 10
RETREATS = (1 / 32, 1 / 16, 1 / 8)
"""How far a boundary point that fails when asked again moves back out, as shares of the way. It is short: on the
boundary of a noisy victim half of the points fail, and away from it the neighbours' labels say nothing."""


def far_images(decider: Decider, seed_data: Split, seeds: SeedStream) -> tuple[Tensor, Tensor]:
    """Images that fool the victim: one of the attacker's of another class, or uniform noise, in turns.

    Returns:
        (n, C, H, W) the images, and (n,) bool which were found.

    Raises:
        BudgetExceeded: the total is spent.
    """
    targets = decider.targets
    pool, labels = torch.from_numpy(seed_data.floats()), torch.from_numpy(seed_data.labels.copy())
    numbers = OwnNumbers(seeds.child("start"), targets.ids)
    size = targets.x[0].numel()
    far, found = targets.x.clone(), torch.zeros(len(targets.ids), dtype=torch.bool)
    for attempt in range(TRIES):
        rows = decider.live()
        rows = rows[~found[rows]]
        if not len(rows):
            break
        u = numbers.uniform(rows, attempt, size)
        noise = u.float().view(-1, *targets.x.shape[1:])
        candidates = noise
        if attempt % 2 == 0 and len(pool):
            chosen = (u[:, 0] * len(pool)).long()
            other = (labels[chosen] != targets.y[rows]).view(-1, 1, 1, 1)
            candidates = torch.where(other, pool[chosen], noise)
        fooled = decider.fooled(candidates, rows)
        far[rows[fooled]] = candidates[fooled]
        found[rows[fooled]] = True
        decider.asker.best[rows[~fooled]] = decider.asker.inside(
            candidates[~fooled], rows[~fooled]
        )  # better than nothing
    return far, found


def distance(x: Tensor, origin: Tensor, norm: Norm) -> Tensor:
    """(m,) of `x` (m, C, H, W) from `origin`."""
    delta = (x - origin).flatten(1)
    found: Tensor = delta.abs().amax(1) if norm is Norm.LINF else delta.norm(dim=1)
    return found


def pulled(x: Tensor, origin: Tensor, share: Tensor, norm: Norm) -> Tensor:
    """`x` (m, C, H, W) at `share` (m,) of its distance from `origin`: blended for l2, clipped for l-infinity."""
    wide = share.view(-1, 1, 1, 1)
    if norm is Norm.LINF:
        reach = wide * distance(x, origin, norm).view(-1, 1, 1, 1)
        return torch.minimum(torch.maximum(x, origin - reach), origin + reach)
    return origin + wide * (x - origin)


def to_boundary(decider: Decider, x: Tensor, rows: Tensor) -> Tensor:
    """The candidates `x` (m, C, H, W), which fool the victim, pulled towards their originals as near as they still do.

    A deterministic victim is asked at the ball's own radius first; whoever is fooled there is done. A noisy one is
    asked again about the point that was found, and the point retreats a little towards `x` where it fails.

    Raises:
        BudgetExceeded: the total is spent.
    """
    origin, norm = decider.targets.x[rows], decider.threat.norm
    far = distance(x, origin, norm).clamp_min(1e-12)
    paying = decider.asker.can_pay(1)[rows]
    inside = torch.zeros_like(paying)
    inside[paying] = decider.try_inside(x[paying], rows[paying])
    high = torch.ones_like(far)
    low = torch.zeros_like(far) if decider.noisy else (decider.threat.eps / far).clamp(max=1.0)
    for _ in range(HALVINGS):
        open_ = (~inside & (high - low > 1e-3) & decider.asker.can_pay(1)[rows]).nonzero()[:, 0]
        if not len(open_):
            break
        middle = (low[open_] + high[open_]) / 2
        fooled = decider.fooled(pulled(x[open_], origin[open_], middle, norm), rows[open_])
        high[open_] = torch.where(fooled, middle, high[open_])
        low[open_] = torch.where(fooled, low[open_], middle)
    if decider.noisy:
        for retreat in RETREATS:
            open_ = ((high < 1) & decider.asker.can_pay(1)[rows]).nonzero()[:, 0]
            if not len(open_):
                break
            failed = ~decider.fooled(pulled(x[open_], origin[open_], high[open_], norm), rows[open_])
            if not bool(failed.any()):
                break
            back = open_[failed]
            high[back] = (high[back] + retreat).clamp(max=1.0)
    return pulled(x, origin, high, norm)
