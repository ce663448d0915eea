"""All that robustnoise promises its users of a defense, and what the filter itself does."""

from __future__ import annotations

import pytest
import torch
from my_defense import MedianFilter

from robustnoise.api import BadParameter, Context, SeedStream
from robustnoise.testing import check_plugin, toy_model


@pytest.mark.parametrize("size", [1, 3, 5])
def test_contracts(size: int) -> None:
    check_plugin(MedianFilter(size))


def test_a_single_bright_pixel_disappears() -> None:
    defended = MedianFilter(3).apply(toy_model(), Context())
    black, dot = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    dot[0, 0, 4, 4] = 1.0
    noise = SeedStream(0)
    assert torch.equal(defended.predict(dot, noise=noise).logits, defended.predict(black, noise=noise).logits)


def test_an_even_side_is_refused() -> None:
    with pytest.raises(BadParameter, match="size = 4"):
        MedianFilter(4)
