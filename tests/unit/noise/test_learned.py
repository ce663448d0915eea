"""Learned noise strengths: their gradient, what each image meets, and that they are weights like all others."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise.building import build
from robustnoise.models import create, load_classifier, save_classifier
from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise.training import checkpoints
from robustnoise_attacks import PGD
from robustnoise_defenses import PNI, LayerNoise, NoiseTraining, PGDTraining, PlainTraining, PNINet, WeightQuantiser
from robustnoise_defenses.noise.draws import normals
from robustnoise_defenses.noise.inside import device
from robustnoise_defenses.noise.learned import INITIAL, strengths_of
from robustnoise_defenses.noise.products import product_names
from tests.unit.noise.nets import CTX, NOISE, PRODUCTS, EveryKind, classifier, every_kind, floats, split

PLAIN = PlainTraining(epochs=3, batch_size=16)
DATA = Context(train=split(48), seed=5)


def small() -> Any:
    return create("small-cnn(width=2, hidden=8)", (2, 8, 8), 3)


def with_strengths(net: Any, *values: float) -> Any:
    """`net` with these strengths, the last for all further products."""
    ready: Any = PNI().prepared(net)
    alpha = strengths_of(ready.module)
    assert alpha is not None
    alpha.copy_(torch.tensor([*values, *[values[-1]] * (len(alpha) - len(values))]))
    return ready


def alpha_of(victim: Any) -> Tensor:
    found = strengths_of(victim.module)
    assert found is not None
    return found.detach()


# ------------------------------------------------------------------------------------------------------------- training


def test_the_gradient_of_a_strength_by_hand() -> None:
    """For logits z = W' a of one linear layer, dL/dalpha = std(W) sum_ij (dL/dz_i a_j) n_ij, and dL/dW has no part
    of std(W)."""
    net = with_strengths(classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 3))), 0.4)
    module, x, y = net.module, floats(5), torch.tensor([0, 1, 2, 0, 1])
    module.requires_grad_(True)
    effect = PNI(2.0).training_effect(product_names(module), 0.0, SeedStream(0))
    with device(module, [effect], NOISE):
        loss = nn.functional.cross_entropy(module(x), y)
    loss.backward()
    weight, bias = module[1].weight.detach(), module[1].bias.detach()
    n = torch.empty(3, 128).normal_(generator=NOISE.child(0, "1", 0).generator(0))
    deviation = (weight - weight.mean()).square().mean().sqrt()
    a = x.flatten(1)
    z = a @ (weight + 2 * 0.4 * deviation * n).T + bias
    residual = (z.softmax(1) - nn.functional.one_hot(y, 3)) / 5
    torch.testing.assert_close(module.noise_strengths.alpha.grad, 2 * deviation * (residual.T @ a * n).sum()[None])
    torch.testing.assert_close(module[1].weight.grad, residual.T @ a)


def test_one_training_pass_has_one_weight_and_the_next_another() -> None:
    net = with_strengths(classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 64)), classes=64), 0.5)
    x = floats(1).expand(2, -1, -1, -1)
    effect = PNI().training_effect(["1"], 0.0, SeedStream(0))
    with torch.no_grad(), device(net.module, [effect], NOISE):
        first, second = net.module(x), net.module(x)
    torch.testing.assert_close(first[0], first[1], atol=1e-5, rtol=1e-5)
    clean = net.logits(x, noise=NOISE)
    both = torch.stack([(first - clean)[0], (second - clean)[0]])
    assert abs(torch.corrcoef(both)[0, 1].item()) < 4 / 64**0.5


def test_the_optimizer_moves_the_chosen_strengths_and_leaves_the_others_at_none() -> None:
    net = small()
    names = product_names(net.module)
    victim: Any = (PLAIN | NoiseTraining(PNI(layers=f"!{names[0]}"))).apply(net, DATA)
    alpha = alpha_of(victim)
    assert alpha[0] == 0
    assert (alpha[1:] != INITIAL).all()
    assert strengths_of(net.module) is None
    assert victim.architecture == PNINet(net.architecture)


def test_training_for_robustness_moves_them_too() -> None:
    text = "pgd-training(eps=0.1, epochs=1, batch_size=16) | noise-training(pni, while_crafting=true) | pni"
    stack = build(text, "defense")
    stack = dataclasses.replace(stack.parts[0], inner=PGD(2)) | stack.parts[1] | stack.parts[2]
    assert (
        stack
        == PGDTraining(eps=0.1, epochs=1, batch_size=16, inner=PGD(2))
        | NoiseTraining(PNI(), while_crafting=True)
        | PNI()
    )
    victim: Any = stack.apply(small(), DATA)
    assert victim.stochastic
    assert (alpha_of(victim) != INITIAL).all()


def test_a_network_goes_on_from_its_strengths() -> None:
    net = with_strengths(small(), 0.5, 0.1)
    assert PNI().prepared(net) is net


def test_off_trains_as_without() -> None:
    assert (PLAIN | NoiseTraining(PNI(0))).apply(small(), DATA).digest == PLAIN.apply(small(), DATA).digest


def test_every_kind_of_layer_learns() -> None:
    start = classifier(EveryKind(), classes=128)
    victim: Any = (PlainTraining(epochs=1, batch_size=16) | NoiseTraining(PNI())).apply(start, Context(train=split(32)))
    assert (alpha_of(victim) != INITIAL).all()


def test_resuming_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        done = 0

        def start(self, label: str, total: int) -> Interrupting:
            return self

        def advance(self, steps: int = 1) -> None:
            self.done += steps
            if self.done >= 8:
                raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    defense, path = PLAIN | NoiseTraining(PNI()), tmp_path / "partial.safetensors"
    interrupted: Any = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        defense.apply(small(), dataclasses.replace(DATA, checkpoint=path, progress=interrupted))
    assert path.exists()
    again = defense.apply(small(), dataclasses.replace(DATA, checkpoint=path))
    assert again.digest == defense.apply(small(), DATA).digest


# -------------------------------------------------------------------------------------------------------------- weights


def test_strengths_are_stored_loaded_and_part_of_the_digest(tmp_path: Path) -> None:
    net = with_strengths(small(), 0.5, 0.1)
    save_classifier(net, tmp_path / "pni.safetensors")
    loaded: Any = load_classifier(tmp_path / "pni.safetensors")
    assert torch.equal(alpha_of(loaded), torch.tensor([0.5, 0.1, 0.1, 0.1]))
    assert loaded.digest == net.digest
    assert with_strengths(small(), 0.5, 0.2).digest != net.digest
    x = floats(4)
    answers = [PNI().apply(c, CTX).predict(x, noise=NOISE) for c in (net, loaded)]
    assert torch.equal(answers[0].scores, answers[1].scores)


def test_an_architecture_of_one_s_own_trains_too() -> None:
    net = classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)))
    victim: Any = (PLAIN | NoiseTraining(PNI())).apply(net, DATA)
    assert victim.architecture is None
    assert alpha_of(victim) != INITIAL


@pytest.mark.parametrize("make", [small, every_kind])
def test_without_the_stage_the_weights_answer_bit_for_bit_as_the_plain_net(make: Any) -> None:
    plain = make()
    net, x = with_strengths(make(), 0.7), floats(6)
    expected = plain.logits(x, noise=NOISE)
    assert torch.equal(net.logits(x, noise=NOISE), expected)
    assert PNI(0).apply(net, CTX) is net
    with device(plain.module, [], NOISE):  # a fused recurrent layer runs as a loop, whose last bits differ
        expected = plain.logits(x, noise=NOISE)
    victims: list[Any] = [PNI().apply(with_strengths(make(), strength), CTX) for strength in (0.0, 0.7)]
    none, some = (v.logits(x, noise=NOISE) for v in victims)
    assert torch.equal(none, expected)
    assert not torch.allclose(some, expected, atol=1e-3)


def test_other_stages_find_the_products_under_their_own_names() -> None:
    net = with_strengths(small(), 0.3)
    assert product_names(net.module) == product_names(small().module)
    victim = (WeightQuantiser(4) | PNI(layers="!0") | LayerNoise(20, layers="0")).apply(net, CTX)
    assert victim.predict(floats(3), noise=NOISE).labels.shape == (3,)


# ------------------------------------------------------------------------------------------------------------ inference


def slowly(net: Any, x: Tensor, scale: float, noise: SeedStream) -> Tensor:
    """Image after image through a copy of the network whose convolution and linear layer hold that image's W'."""
    rows = []
    for row in range(len(x)):
        kept = {}
        for number, name in enumerate(["0", "3"]):
            layer = net.module.get_submodule(name)
            stream = noise.child("effect", 0, name)
            units, channels = layer.weight.shape[:2]
            inputs, outputs = (
                torch.randint(0, 2, (len(x), count), generator=stream.generator(side))[row] * 2 - 1
                for side, count in (("inputs", channels), ("outputs", units))
            )
            n = normals(layer.weight.numel(), stream.child("weights")).view(layer.weight.shape)
            signs = outputs[:, None] * inputs[None]
            signs = signs.view(units, channels, *[1] * (layer.weight.dim() - 2))
            kept[name] = layer.weight.clone()
            strength = scale * alpha_of(net)[number] * layer.weight.std(correction=0)
            layer.weight.copy_(layer.weight + strength * n * signs)
        rows.append(net.module(x[row : row + 1]))
        for name, weight in kept.items():
            net.module.get_submodule(name).weight.copy_(weight)
    return torch.cat(rows)


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(4, 6, 3, stride=2, padding=1, padding_mode="circular"), nn.Conv2d(4, 6, 3, groups=1, bias=False)],
    ids=["circular", "plain"],
)
def test_every_image_has_a_network_of_its_own(conv: nn.Conv2d) -> None:
    with torch.inference_mode(), torch.no_grad():
        size = 96 if conv.stride == (2, 2) else 216
        module = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(size, 3))
        net = with_strengths(classifier(module, (4, 8, 8)), 0.5, 0.2)
        x = floats(5, (4, 8, 8))
        victim: Any = PNI(1.5).apply(net, CTX)
        expected = slowly(net, x, 1.5, NOISE)
        torch.testing.assert_close(victim.logits(x, noise=NOISE), expected, atol=1e-4, rtol=1e-4)


def added(net: Any, x: Tensor, passes: int, copies: int) -> Tensor:
    """(pass, copy, ...) of float64: what the noise adds to the output for the one image x."""
    victim: Any = PNI().apply(net, CTX)
    many = x.expand(copies, *x.shape[1:]).contiguous()
    with torch.inference_mode():
        noisy = [victim.logits(many, noise=NOISE.child(t)).double() for t in range(passes)]
    difference: Tensor = torch.stack(noisy) - net.logits(x, noise=NOISE).double()
    return difference


LAYERS = {
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(128, 64)),
    "strided": nn.Sequential(nn.Conv2d(2, 8, 3, stride=2, padding=1, padding_mode="circular"), nn.Flatten()),
    "grouped": nn.Sequential(nn.Conv2d(2, 8, 3, groups=2, bias=False), nn.Flatten()),
    "line": nn.Sequential(nn.Flatten(2), nn.Conv1d(2, 8, 9, stride=3), nn.Flatten()),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_the_deviation_at_each_layer_is_alpha_std_w_within_a_percent(layer: str) -> None:
    """Of each output: alpha std(W) |window|; over 700 draws of at least 72 weights, known within 0.3 %."""
    ones, x = copy.deepcopy(LAYERS[layer]), floats(1)
    with torch.no_grad():
        for name, parameter in ones.named_parameters():
            parameter.fill_(float(name.endswith("weight")))
    windows = ones(x.square()).detach().double().sqrt()
    net = with_strengths(classifier(copy.deepcopy(LAYERS[layer])), 0.4)
    deviation = float(next(net.module.parameters()).double().std(correction=0))
    expected = 0.4 * deviation * windows
    found = added(net, x, 700, 4) / expected
    assert float(found.square().mean().sqrt()) == pytest.approx(1, abs=0.01)
    assert float(found.mean()) == pytest.approx(0, abs=0.03)
    assert float(found.pow(4).mean()) == pytest.approx(3, abs=0.15)  # it is Gaussian


def test_one_weight_serves_all_places_of_an_image() -> None:
    """Unlike `layer-noise(site=weight)`: the covariance of two places is that of their windows."""
    net = with_strengths(classifier(nn.Sequential(nn.Conv2d(2, 8, 3, stride=5), nn.Flatten()), classes=32), 0.4)
    x = floats(1)
    noise = added(net, x, 600, 4).view(-1, 4)
    windows = nn.functional.unfold(x, 3, stride=5)[0].double()  # (18, 4)
    expected = (0.4 * net.module[0].weight.double().std(correction=0)) ** 2 * windows.T @ windows
    assert expected.min() > 0.4 * expected.max()
    torch.testing.assert_close(noise.T @ noise / len(noise), expected, atol=0.05 * float(expected.max()), rtol=0)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(128, 64)

    def forward(self, x: Tensor) -> Tensor:
        once: Tensor = self.layer(x.flatten(1))
        both: Tensor = once + self.layer(x.flatten(1))
        return both


def test_one_weight_serves_all_runs_of_a_layer_in_a_pass() -> None:
    once = added(with_strengths(classifier(LAYERS["linear"]), 0.4), floats(1), 60, 1)
    twice = added(with_strengths(classifier(Twice()), 0.4), floats(1), 60, 1)
    assert float(twice.std() / once.std()) == pytest.approx(2, rel=0.06)  # not the root of 2


def test_images_and_passes_are_uncorrelated() -> None:
    net = with_strengths(classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 64)), classes=64), 0.4)
    noise = added(net, floats(1), 60, 500)  # (pass, copy, unit)
    pairs = [(noise[:, ::2], noise[:, 1::2]), (noise[1:], noise[:-1])]
    for one, other in pairs:
        r = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()
        assert abs(r) < 4 / 30_000**0.5
    # A draw that is bad for one image isn't for the block: the mean over images has the spread of independent ones.
    spread = float(noise.mean(1).std() / noise.std())
    assert spread == pytest.approx(500**-0.5, rel=0.1)


@pytest.mark.parametrize("name", PRODUCTS)
def test_noise_reaches_every_product(name: str) -> None:
    net, x = with_strengths(every_kind(), 0.4), floats(4)
    victim: Any = PNI(layers=name).apply(net, CTX)
    assert not torch.allclose(victim.logits(x, noise=NOISE), net.logits(x, noise=NOISE), atol=1e-4)


def test_a_network_that_learned_none_has_the_initial_strength() -> None:
    x = floats(4)
    first, second = (PNI().apply(net, CTX) for net in (small(), with_strengths(small(), INITIAL)))
    assert torch.equal(first.predict(x, noise=NOISE).scores, second.predict(x, noise=NOISE).scores)
