"""Noise of absolute strength: how strong it is where, what a slow loop makes of the same draws, and what it leaves."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise.building import build
from robustnoise.compose import Defense
from robustnoise.errors import BadParameter
from robustnoise.models import create
from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise_defenses import RANDOMFEATURES, RSENOISE, AbsoluteNoise, NoiseTraining, PlainTraining, Vote
from robustnoise_defenses.noise.inside import InsideDefense, device
from robustnoise_defenses.noise.layers import ON_INPUT, ON_OUTPUT
from tests.unit.noise.nets import CTX, NOISE, PRODUCTS, Probe, classifier, every_kind, floats, split

ROWS = 2600
"""Images of a pass: the smallest signal has 64 numbers of each, so the deviation is known within 0.2 %."""
CONVOLUTIONS = ["strided", "grouped", "line"]


def deviations(defense: Defense, *, extra_db: float | None = None) -> dict[str, float]:
    """The standard deviation of what is added at each product; decibels: as a training has it."""
    net = every_kind()
    assert isinstance(defense, AbsoluteNoise)
    names = defense.products(net.module)
    order = ON_INPUT if defense.site == "layer_input" else ON_OUTPUT
    before, after = Probe(PRODUCTS, order - 1), Probe(PRODUCTS, order + 1)
    if extra_db is None:
        effect = defense.effect(names, lambda: None, 0)
    else:
        effect = defense.training_effect(names, extra_db, SeedStream(0))
    with torch.inference_mode(), device(net.module, [before, effect, after], NOISE):
        net.logits(floats(ROWS), noise=NOISE)
    kind = "inputs" if defense.site == "layer_input" else "outputs"
    pairs = {name: (getattr(before, kind)[name], getattr(after, kind)[name]) for name in PRODUCTS}
    added = {name: torch.stack(b).double() - torch.stack(a).double() for name, (a, b) in pairs.items()}
    return {name: float(noise.square().mean().sqrt()) for name, noise in added.items()}


EVERYWHERE = dict.fromkeys(PRODUCTS, 0.3)


@pytest.mark.parametrize(
    ("defense", "expected"),
    [
        (AbsoluteNoise(0.3), EVERYWHERE),
        (AbsoluteNoise(0.3, "pre_activation"), EVERYWHERE),
        (AbsoluteNoise(0.3, layers="line, *.v"), {"line": 0.3, "attention.v": 0.3}),
        (RANDOMFEATURES(0.3), {**EVERYWHERE, "strided": 0.0}),
        (RANDOMFEATURES(0.05, layers="grouped, last"), {"grouped": 0.05, "last": 0.05}),
        (RSENOISE(), {"strided": 0.2, "grouped": 0.1, "line": 0.1}),
        (RSENOISE(0.4, first=0.7), {"strided": 0.7, "grouped": 0.4, "line": 0.4}),
    ],
    ids=str,
)
def test_the_deviation_at_each_product_is_the_one_asked_for(defense: Defense, expected: dict[str, float]) -> None:
    assert deviations(defense) == pytest.approx({name: expected.get(name, 0.0) for name in PRODUCTS}, rel=0.01)


def test_a_ramp_takes_decibels_off() -> None:
    expected = dict.fromkeys(PRODUCTS, 0.0) | {"strided": 0.2 / 2, "grouped": 0.1 / 2, "line": 0.1 / 2}
    assert deviations(RSENOISE(), extra_db=6.0206) == pytest.approx(expected, rel=0.01)


def loop(module: nn.Sequential, x: Tensor, sigmas: tuple[float, float], noise: SeedStream) -> Tensor:
    """Convolution 3 x 3 without padding, ReLU, linear layer: number by number, from the draws of the named streams."""
    conv, linear = module[0], module[3]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(linear, nn.Linear)

    def draw(name: str, like: Tensor) -> Tensor:
        generator = noise.child("effect", 0, name, 0).generator(0)
        return torch.empty(like.shape).contiguous().normal_(generator=generator)

    a = x + sigmas[0] * draw("0", x)
    hidden = torch.zeros(len(x), 2, 6, 6)
    for n, o, i, j in itertools.product(range(len(x)), range(2), range(6), range(6)):
        total = float(conv.bias[o]) if conv.bias is not None else 0.0
        for u, v in itertools.product(range(3), range(3)):
            total += float(conv.weight[o, 0, u, v] * a[n, 0, i + u, j + v])
        hidden[n, o, i, j] = max(0.0, total)
    flat = hidden.flatten(1)
    flat = flat + sigmas[1] * draw("3", flat)
    return torch.stack([linear.weight.detach() @ row + linear.bias.detach() for row in flat])


@pytest.mark.parametrize(
    ("defense", "sigmas"),
    [(AbsoluteNoise(0.3), (0.3, 0.3)), (RANDOMFEATURES(0.3), (0.0, 0.3)), (RSENOISE(), (0.2, 0.0))],
    ids=str,
)
def test_it_is_what_a_slow_loop_makes_of_the_same_draws(defense: Defense, sigmas: tuple[float, float]) -> None:
    net = classifier(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)), (1, 8, 8))
    x = floats(3, (1, 8, 8))
    victim: Any = defense.apply(net, Context())
    expected = loop(net.module, x, sigmas, NOISE)
    torch.testing.assert_close(victim.logits(x, noise=NOISE), expected, atol=1e-4, rtol=1e-4)


# --------------------------------------------------------------------------------------------------------- metamorphic


def linear() -> Any:
    return classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 64)), classes=64)


@pytest.mark.parametrize("off", [AbsoluteNoise(0.0), RSENOISE(0.0, first=0.0), RANDOMFEATURES(0.0)])
def test_no_strength_is_the_identity(off: Defense) -> None:
    net = every_kind()
    assert off.apply(net, CTX) is net


@pytest.mark.parametrize("site", ["layer_input", "pre_activation"])
def test_images_passes_and_queries_meet_independent_noise(site: Any) -> None:
    net = linear()
    x = floats(1).expand(2, -1, -1, -1)
    victim: Any = AbsoluteNoise(0.5, site).apply(net, CTX)
    passes = [victim.logits(x, noise=NOISE.child(t)) - net.logits(x, noise=NOISE) for t in range(300)]
    added = torch.stack(passes)  # (pass, image, class)
    first, second = added[:, 0].flatten(), added[:, 1].flatten()
    later = added[1:, 0].flatten()
    # Classes share the noise of their inputs, so a correlation has at least 300 independent numbers behind it.
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1].item()) < 4 / 300**0.5
    assert abs(torch.corrcoef(torch.stack([first[: len(later)], later]))[0, 1].item()) < 4 / 300**0.5


def test_twice_the_strength_is_twice_the_same_noise() -> None:
    net, x = linear(), floats(5)
    clean = net.logits(x, noise=NOISE)
    one, two = (AbsoluteNoise(s).apply(net, CTX).logits(x, noise=NOISE) - clean for s in (0.25, 0.5))
    torch.testing.assert_close(two, 2 * one, atol=1e-5, rtol=1e-5)


def test_it_does_not_follow_the_signal() -> None:
    """Where `layer-noise` grows with the images, this one adds the same."""
    net, x = linear(), floats(5)
    victim: Any = AbsoluteNoise(0.5).apply(net, CTX)
    added = [victim.logits(k * x, noise=NOISE) - net.logits(k * x, noise=NOISE) for k in (1, 4)]
    torch.testing.assert_close(added[0], added[1], atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------------------ RSE


def test_a_network_without_convolutions_gets_noise_at_every_product() -> None:
    defense = RSENOISE()
    assert isinstance(defense, InsideDefense)
    assert defense.products(create("mlp(hidden=4)", (1, 8, 8), 3).module) == ["1", "3", "5"]
    assert defense.products(every_kind().module) == CONVOLUTIONS


def test_random_self_ensemble_trains_and_answers_under_its_noise() -> None:
    text = (
        "plain-training(epochs=2, batch_size=16) | noise-training(rse-noise) | rse-noise"
        " | vote(10, rule=mean-probability)"
    )
    stack = build(text, "defense")
    assert stack == PlainTraining(epochs=2, batch_size=16) | NoiseTraining(RSENOISE()) | RSENOISE() | Vote(
        10, rule="mean-probability"
    )
    start = create("small-cnn(width=2, hidden=8)", (2, 8, 8), 3)
    ctx = Context(train=split(32))
    victim: Any = stack.apply(start, ctx)
    assert victim.passes == 10
    noisy, x = victim.inner, floats(6)
    mean = torch.stack([noisy.predict(x, noise=NOISE.child("pass", t)).scores for t in range(10)]).mean(0)
    torch.testing.assert_close(victim.predict(x, noise=NOISE).scores, mean)
    alike: Any = (PlainTraining(epochs=2, batch_size=16) | NoiseTraining(RSENOISE())).apply(start, ctx)
    assert noisy.root.digest == alike.digest
    assert alike.digest != PlainTraining(epochs=2, batch_size=16).apply(start, ctx).digest


def test_what_leaves_no_noise_is_refused() -> None:
    with pytest.raises(BadParameter, match=r"sigma = 0.3 and first = 0.0 leave no noise at any of strided\. Expected"):
        RANDOMFEATURES(0.3, layers="strided").apply(every_kind(), CTX)
    with pytest.raises(BadParameter, match="'last' fits none of the network's matrix products: strided, grouped, line"):
        RSENOISE(layers="last").apply(every_kind(), CTX)
