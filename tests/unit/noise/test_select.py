"""Layers are chosen by patterns of names; what fits nothing or means nothing is refused in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise.errors import BadParameter
from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise_defenses import ADC, DAC, DeviceNoise, LayerNoise
from robustnoise_defenses.noise.inside import device
from robustnoise_defenses.noise.layers import ON_OUTPUT
from robustnoise_defenses.noise.measure import measure
from robustnoise_defenses.noise.products import product_names, select
from tests.unit.noise.nets import CTX, NOISE, PRODUCTS, Probe, classifier, every_kind, floats

NAMES = ["conv1", "conv2", "block.conv", "head"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("*", NAMES),
        ("conv*", ["conv1", "conv2"]),
        ("head, conv1", ["conv1", "head"]),
        ("*, !head", NAMES[:3]),
        ("!head", NAMES[:3]),
        ("! head,!*conv", ["conv1", "conv2"]),
        ("!conv*, conv1", ["conv1", "block.conv", "head"]),
        ("conv[2-9]", ["conv2"]),
    ],
)
def test_patterns(patterns: str, expected: list[str]) -> None:
    assert select(NAMES, patterns, "who") == expected


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (
            "haed",
            r"who: layers = 'haed': 'haed' fits none of the network's matrix products: conv1, conv2, block\.conv, head",
        ),
        ("*, !haed", "'!haed' fits none"),
        ("*, !*", "leaves none of the network's matrix products: conv1"),
        ("", "leaves none"),
    ],
)
def test_a_pattern_that_fits_nothing_is_refused(patterns: str, words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        select(NAMES, patterns, "who")


def test_names_of_every_kind_of_layer() -> None:
    assert product_names(every_kind().module) == PRODUCTS


@pytest.mark.parametrize("site", ["pre_activation", "layer_input", "weight"])
def test_noise_comes_in_at_the_chosen_products_alone(site: str) -> None:
    net = every_kind()
    chosen = ["grouped", "attention.v"]
    effect = LayerNoise(0, site, layers="grouped, *.v").effect(PRODUCTS, lambda: _signals(net), 0)  # type: ignore[arg-type]
    before, after = Probe(PRODUCTS, -1), Probe(PRODUCTS, ON_OUTPUT + 1)
    with torch.inference_mode(), device(net.module, [before, effect, after], NOISE):
        net.logits(floats(4), noise=NOISE)
    changed = []
    for name in PRODUCTS:
        signal = "inputs" if site == "layer_input" else "outputs"
        pairs = zip(getattr(before, signal)[name], getattr(after, signal)[name], strict=True)
        changed += [name] if any(not torch.equal(a, b) for a, b in pairs) else []
    assert changed == chosen


def _signals(net: Any) -> Any:
    return measure(net.module, CTX.need_train("test"))


class Trap(nn.Module):
    """Layers with the names of sites."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.logits = nn.Linear(128, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.logits(self.input(x.flatten(1)))
        return out


def test_a_layer_called_input_is_not_the_image() -> None:
    net = classifier(Trap())
    seen: list[Tensor] = []
    net.module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for site in ("layer_input", "input"):
        LayerNoise(0, site).apply(net, CTX).predict(floats(4), noise=NOISE)  # type: ignore[arg-type]
    effect = LayerNoise(0, "layer_input").effect(["input", "logits"], lambda: _signals(net), 0)
    for place in (".input", ".logits"):
        assert place not in effect.names
    probe = Probe(["input"], 0)
    with torch.inference_mode(), device(net.module, [effect, probe], NOISE):
        net.logits(floats(4), noise=NOISE)
    assert torch.equal(probe.inputs["input"][0], floats(4).flatten(1)), "the image came in with noise"


def test_batch_power_is_refused_for_scoring() -> None:
    defense = LayerNoise(0, power="batch")
    with pytest.raises(
        BadParameter, match=r"LayerNoise: power = 'batch'.*for training only.*sample, calibrated or channel"
    ):
        defense.apply(every_kind(), CTX)
    assert defense.training_effect(PRODUCTS, 0.0, SeedStream(0)).names == frozenset(PRODUCTS)


@pytest.mark.parametrize("power", ["sample", "batch"])
@pytest.mark.parametrize("kind", [LayerNoise, DeviceNoise])
def test_weights_have_no_power_of_an_image(kind: Any, power: str) -> None:
    with pytest.raises(BadParameter, match="can't be the power of weights.*calibrated.*or channel"):
        kind(0, "weight", power)


@pytest.mark.parametrize("site", ["input", "logits"])
def test_the_ends_are_no_layers(site: str) -> None:
    with pytest.raises(BadParameter, match=f"layers = 'conv1' has no meaning at site '{site}'"):
        LayerNoise(0, site, layers="conv1")  # type: ignore[arg-type]


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(128, 3), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.used(x.flatten(1))
        return out


@pytest.mark.parametrize("defense", [LayerNoise(0), LayerNoise(0, "layer_input", "channel"), DAC(4), ADC(4)], ids=str)
def test_a_product_that_never_ran_has_no_power(defense: Any) -> None:
    with pytest.raises(BadParameter, match="product 'spare' never ran on the training images.*'!spare'"):
        defense.apply(classifier(Idle()), CTX)
    dataclasses.replace(defense, layers="!spare").apply(classifier(Idle()), CTX)


def test_calibration_needs_images_and_a_network_needs_layers() -> None:
    with pytest.raises(BadParameter, match="LayerNoise needs training images"):
        LayerNoise(0).apply(every_kind(), Context())
    LayerNoise(0, power="sample").apply(every_kind(), Context())
    with pytest.raises(BadParameter, match="no linear, convolutional, recurrent or attention layer"):
        LayerNoise(0).apply(classifier(nn.Sequential(nn.Flatten(), nn.LayerNorm(128))), CTX)
