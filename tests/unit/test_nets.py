"""The reference architectures against the same networks written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.api import create_model
from robustnoise.building import build, spec_of


@pytest.mark.parametrize("pool", ["max", "average"])
def test_resnet9_is_the_network_of_its_description(pool: str) -> None:
    found = create_model(f"resnet9(width=2, pool={pool})", (3, 16, 16), 5, seed=1)
    with torch.no_grad():
        for number, value in enumerate(found.module.buffers()):  # no statistics that leave values as they are
            value.copy_(value + 0.1 * (number + 1))
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    weights = iter(found.module.state_dict().values())

    def layer(x: Tensor) -> Tensor:
        kernel, scale, shift, mean, variance, _ = (next(weights) for _ in range(6))
        x = functional.conv2d(x, kernel, padding=1)
        return functional.relu(functional.batch_norm(x, mean, variance, scale, shift))

    def halved(x: Tensor) -> Tensor:
        squares = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        return squares.amax(4) if pool == "max" else squares.mean(4)

    x = halved(layer(layer(images)))
    x = x + layer(layer(x))
    x = halved(layer(halved(layer(x))))
    x = x + layer(layer(x))
    x = x.amax((2, 3)) if pool == "max" else x.mean((2, 3))
    expected = functional.linear(x, next(weights), next(weights))
    torch.testing.assert_close(found.logits(images, noise=None), expected)


def test_the_pooling_of_before_stands_in_no_spec() -> None:
    assert spec_of(build("resnet9", "model")) == spec_of(build("resnet9(pool=max)", "model"))
    assert "pool" not in spec_of(build("resnet9", "model")).params
    assert spec_of(build("resnet9(pool=average)", "model")).params["pool"] == "average"
