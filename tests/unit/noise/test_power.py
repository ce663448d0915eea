"""Signal power by its definition, and the gradient through sigma."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustnoise.seeds import SeedStream
from robustnoise_defenses import LayerNoise
from robustnoise_defenses.noise.inside import device
from robustnoise_defenses.noise.power import add_relative, signal_power

GENERATOR = SeedStream(0).generator("power")
T = torch.randn(6, 4, 5, generator=GENERATOR, dtype=torch.float64) + 0.5
DRAW = torch.randn(6, 4, 5, generator=GENERATOR, dtype=torch.float64)
AXES = {"sample": (1, 2), "batch": (0, 1, 2), "channel": (0, 2)}


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_power_is_what_its_name_says(axes: tuple[int, ...]) -> None:
    assert torch.allclose(signal_power(T, axes, "second_moment"), T.square().mean(axes, keepdim=True))
    assert torch.allclose(signal_power(T, axes, "variance"), T.var(axes, unbiased=False, keepdim=True))


@pytest.mark.parametrize("statistic", ["second_moment", "variance"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2), (0,)], ids=["batch", "channel", "channel of a vector"])
def test_rows_that_do_not_count_are_left_out(axes: tuple[int, ...], statistic: str) -> None:
    t = T if 2 in axes else T[:, :, 0]
    counted = torch.tensor([True, False, True, True, False, True])
    found = signal_power(t, axes, statistic, counted)  # type: ignore[arg-type]
    assert torch.allclose(found, signal_power(t[counted], axes, statistic))  # type: ignore[arg-type]


def test_a_row_on_its_own_counts_itself_whatever_the_others() -> None:
    assert torch.equal(
        signal_power(T, (1, 2), "variance", torch.zeros(6, dtype=torch.bool)), signal_power(T, (1, 2), "variance")
    )


def test_the_variance_of_a_constant_is_0_not_below() -> None:
    constant = torch.full((3, 1000), 1234.567)
    assert signal_power(constant, (1,), "variance").tolist() == [[0.0]] * 3
    little = 1000 + 0.01 * torch.randn(2, 10_000, generator=GENERATOR)
    exact = little.double().var(1, unbiased=False, keepdim=True)
    assert torch.allclose(signal_power(little, (1,), "variance").double(), exact, rtol=0.01)


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_the_fused_gradient_is_that_of_the_formula(axes: tuple[int, ...]) -> None:
    def formula(t: Tensor) -> Tensor:
        return t + 0.7 * t.square().mean(axes, keepdim=True).sqrt() * DRAW

    leaf = T.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: add_relative(t, DRAW, 0.7, axes), leaf)
    assert torch.allclose(add_relative(leaf, DRAW, 0.7, axes), formula(leaf))
    with torch.no_grad():
        assert torch.allclose(add_relative(T, DRAW.clone(), 0.7, axes), formula(T))


def test_a_signal_of_0_has_no_noise_and_a_finite_gradient() -> None:
    leaf = torch.zeros(2, 3, requires_grad=True)
    out = add_relative(leaf, torch.ones(2, 3), 1.0, (1,))
    out.sum().backward()
    assert torch.equal(out, torch.zeros(2, 3))
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, torch.ones(2, 3))


@pytest.mark.parametrize("site", ["layer_input", "pre_activation", "weight"])
@pytest.mark.parametrize("mode", ["additive", "both", "multiplicative"])
@pytest.mark.parametrize("statistic", ["second_moment", "variance"])
@pytest.mark.parametrize("power", ["sample", "batch", "channel"])
def test_training_differentiates_sigma(site: str, mode: str, statistic: str, power: str) -> None:
    """The gradient of a noisy linear layer is that of finite differences with the draws held: sigma is in the graph."""
    if site == "weight":
        power = "channel"
    layer = nn.Linear(4, 3).double()
    x = torch.rand(5, 4, generator=GENERATOR, dtype=torch.float64) + 0.1
    net = nn.Sequential(layer)
    defense = LayerNoise(3, site, power, statistic, mode)  # type: ignore[arg-type]

    def loss(weight: Tensor) -> Tensor:
        effect = defense.training_effect(["0"], 0.0, SeedStream(0))
        with device(net, [effect], SeedStream(1)):
            layer.weight.requires_grad_(False)
            found = torch.func.functional_call(net, {"0.weight": weight}, (x,))
        return found.square().sum()  # type: ignore[no-any-return]

    weight = torch.linspace(0.2, 1.0, 12, dtype=torch.float64).view(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(loss, weight)
