"""Noise off is the very same network; after a noisy call, whatever happened in it, nothing is left behind."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise.compose import Defense
from robustnoise.errors import MissingCapability
from robustnoise_defenses import (
    ADC,
    DAC,
    ConductanceDrift,
    DeviceNoise,
    GaussianInputNoise,
    LayerNoise,
    StuckCells,
    WeightQuantiser,
)
from robustnoise_defenses.noise.inside import Effect, device
from robustnoise_defenses.noise.products import product_names, replaced
from tests.unit.noise.nets import CTX, NOISE, PRODUCTS, EveryKind, classifier, every_kind, floats, replaced_forwards

OFF = [
    LayerNoise(math.inf),
    LayerNoise(math.inf, power="batch"),
    DeviceNoise(math.inf),
    DAC(0),
    ADC(0),
    WeightQuantiser(0),
    StuckCells(0.0),
    ConductanceDrift(0.0),
    ConductanceDrift(20.0),
    ConductanceDrift(exponent=0.0),
]
STACKS = [
    LayerNoise(0),
    DeviceNoise(0),
    DAC(4) | WeightQuantiser(4) | StuckCells() | ConductanceDrift() | ADC(4),
    LayerNoise(0) | GaussianInputNoise(0.1) | LayerNoise(0, "layer_input"),
]


@pytest.mark.parametrize("defense", OFF, ids=str)
def test_off_is_the_same_classifier(defense: Defense) -> None:
    net = every_kind()
    assert defense.apply(net, CTX) is net


def test_products_seen_by_nobody_are_the_network_itself() -> None:
    net, x = every_kind(), floats(16)
    plain = net.logits(x, noise=NOISE)
    with device(net.module, [Effect(PRODUCTS)], NOISE):
        seen = net.logits(x, noise=NOISE)
    # Recurrent and attention layers sum in another order; the rest is the same to the last bit.
    torch.testing.assert_close(seen, plain, atol=1e-6, rtol=1e-5)
    first = classifier(nn.Sequential(EveryKind().strided, nn.Flatten(), nn.Linear(128, 3)))
    with device(first.module, [Effect(product_names(first.module))], NOISE):
        assert torch.equal(first.logits(x, noise=NOISE), _plain(first, x))


def _plain(net: Any, x: Tensor) -> Tensor:
    out: Tensor = net.module[2](net.module[0](x).flatten(1))
    return out


def state(module: nn.Module) -> list[object]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    found: list[object] = [torch.backends.mha.get_fastpath_enabled(), replaced_forwards(module)]
    for name, layer in module.named_modules():
        found.append((name, layer.training, [len(getattr(layer, h)) for h in hooks]))
    return found


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("defense", STACKS, ids=str)
def test_the_network_is_as_before(defense: Defense, fast_path: bool) -> None:
    net = every_kind()
    net.module.grouped.train()
    torch.backends.mha.set_fastpath_enabled(fast_path)
    try:
        before, plain = state(net.module), net.logits(floats(4), noise=NOISE)
        victim: Any = defense.apply(net, CTX)
        assert state(net.module) == before
        victim.predict(floats(4), noise=NOISE)
        assert state(net.module) == before
        with pytest.raises(RuntimeError):
            victim.predict(torch.zeros(2, 2, 1, 1, 1), noise=NOISE)
        assert state(net.module) == before
        net.module.last = nn.Linear(9, 3)  # so that the network raises at its end
        with pytest.raises(RuntimeError):
            victim.predict(floats(4), noise=NOISE)
        assert [s for s in state(net.module) if "last" not in str(s)] == [s for s in before if "last" not in str(s)]
        assert net.logits.__self__ is net  # type: ignore[attr-defined]
        assert plain.isfinite().all()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize("between", [None, GaussianInputNoise(0.0001)], ids=["next to each other", "nested"])
def test_powers_of_stacked_noise_add(between: Defense | None) -> None:
    net = classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 128)), classes=128)
    first, second = LayerNoise(0), LayerNoise(3)
    stack = first | second if between is None else first | between | second
    x = floats(1000)
    t = net.logits(x, noise=NOISE).double()

    def power(defense: Defense) -> float:
        victim: Any = defense.apply(net, CTX)
        return (victim.logits(x, noise=NOISE).double() - t).square().mean().item()  # type: ignore[no-any-return]

    assert power(stack) == pytest.approx(power(first) + power(second), rel=0.02)
    assert power(first) == pytest.approx(2 * power(second), rel=0.02)


def test_replacing_twice_is_refused() -> None:
    net = every_kind()
    with replaced(net.module, lambda _name, a, w, b, op, *_rest: op(a, w, b)):
        with pytest.raises(RuntimeError, match="replaced already"), replaced(net.module, lambda *a: a[1]):
            pass
        assert "last" in replaced_forwards(net.module)


class Standardised(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return nn.functional.linear(input, self.weight - self.weight.mean(), self.bias)


def test_a_forward_of_the_users_own_is_refused_not_dropped() -> None:
    own = classifier(nn.Sequential(nn.Flatten(), Standardised(128, 3)))
    with pytest.raises(MissingCapability, match=r"layer '1' \(Standardised\) has a forward of its own"):
        LayerNoise(10).apply(own, CTX)
    patched = classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)))
    patched.module[1].forward = lambda x: x[:, :3]
    with pytest.raises(MissingCapability, match="forward of its own"):
        LayerNoise(10).apply(patched, CTX)
    assert replaced_forwards(patched.module) == ["1"]


def test_a_parametrized_weight_and_a_keyword_argument_work() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(128, 3))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.fc(input=x.flatten(1))
            return out

    net, x = classifier(Net()), floats(5)
    victim: Any = LayerNoise(300).apply(net, CTX)
    torch.testing.assert_close(victim.logits(x, noise=NOISE), net.logits(x, noise=NOISE))


def test_time_first_is_refused() -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.fc(x.flatten(2).flatten(1).view(len(x), 16, 8).transpose(0, 1)).mean(0)
            return out

    victim: Any = LayerNoise(0, power="sample").apply(classifier(TimeFirst()), CTX)
    with pytest.raises(MissingCapability, match=r"'fc' gets a tensor of shape \(16, 5, 8\) for 5 images"):
        victim.logits(floats(5), noise=NOISE)
