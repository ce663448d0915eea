"""Grey images become skeletons: lines one pixel wide, and which of their pixels are linked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustnoise.extras import require

Mask = npt.NDArray[np.bool_]
THRESHOLD = 128
"""The darkest level that counts as ink."""
OFFSETS = ((0, 1), (-1, 1), (-1, 0), (1, 1), (1, 0), (-1, -1), (0, -1), (1, -1))
"""(dx, dy) of the eight neighbours, y downwards; where nothing else decides, a pen prefers the earlier one."""


def skeletons(images: npt.NDArray[np.uint8]) -> Mask:
    """Threshold, then thinning by Zhang and Suen.

    Args:
        images: (n, H, W), bright ink on dark ground.

    Returns:
        bool (n, H, W). Ink at the border of an image is treated like any other.

    Raises:
        MissingExtra: scikit-image isn't installed.
    """
    morphology = require("skimage.morphology", purpose="Dataset 'mnist-strokes'", install="robustnoise[strokes]")
    n, height, width = images.shape
    # All images as one tall strip: a call a picture costs ten times more. Thinning looks one pixel far, and two empty
    # rows and columns keep the pictures apart.
    strip = np.pad(images >= THRESHOLD, ((0, 0), (1, 1), (1, 1))).reshape(n * (height + 2), width + 2)
    thin = np.asarray(morphology.skeletonize(strip, method="zhang"), np.bool_)
    return thin.reshape(n, height + 2, width + 2)[:, 1:-1, 1:-1]


def links(masks: Mask) -> npt.NDArray[np.uint8]:
    """Which neighbours each pixel is linked to: bit i for ``OFFSETS[i]``.

    Pixels side by side are linked; pixels that touch at a corner are where no third pixel links them already. So a
    corner is no junction, and a path can't cut across it and leave its pixel out.

    Args:
        masks: bool (n, H, W).

    Returns:
        uint8 (n, H, W), 0 outside the mask.
    """
    n, height, width = masks.shape
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))

    def shifted(dx: int, dy: int) -> Mask:
        return padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    found = np.zeros((n, height, width), np.uint8)
    for bit, (dx, dy) in enumerate(OFFSETS):
        linked = masks & shifted(dx, dy)
        if dx and dy:
            linked = linked & ~shifted(dx, 0) & ~shifted(0, dy)
        found |= linked.astype(np.uint8) << bit
    return found
