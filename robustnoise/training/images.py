"""Images as the network gets them: levels as floats, and random translations and rotations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.threat import LEVELS


def as_floats(images: Tensor) -> Tensor:
    """uint8 levels as float32 in [0, 1]; floats as they are."""
    return images.to(torch.float32) / LEVELS if images.dtype == torch.uint8 else images


def shifted(x: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Each image moved by a whole number of pixels from -reach to reach on both axes, zeros coming in."""
    n, _, height, width = x.shape
    offsets = torch.randint(0, 2 * reach + 1, (2, n), generator=generator)
    padded = functional.pad(x, (reach,) * 4)
    rows = (offsets[0, :, None] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1, :, None] + torch.arange(width))[:, None, None, :]
    channels = torch.arange(x.shape[1])[None, :, None, None]
    return padded[torch.arange(n)[:, None, None, None], channels, rows, columns]


def warped(x: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Each image rotated by up to `degrees`, scaled by up to a tenth and sheared by up to a fifth, bilinear."""
    turn, scale, shear = 2 * torch.rand(3, len(x), generator=generator) - 1
    turn, scale, shear = torch.deg2rad(turn * degrees), 1 + scale / 10, shear / 5
    zero = torch.zeros_like(turn)
    matrices = torch.stack(
        [
            torch.stack([scale * turn.cos(), shear - scale * turn.sin(), zero], 1),
            torch.stack([scale * turn.sin(), scale * turn.cos(), zero], 1),
        ],
        1,
    )
    grid = functional.affine_grid(matrices, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)
