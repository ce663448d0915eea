"""What a network computes before its first noisy product is run once for all passes over the same images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustnoise.api import (
    Answer,
    Classifier,
    Context,
    InputWrapper,
    LayerWrapper,
    SeedStream,
    TorchClassifier,
    Wrapper,
    answer_from_logits,
    build,
    repeating,
    require_differentiable,
    require_modular,
)
from robustnoise.harness.scoring import count_draws
from robustnoise.protocols import Silent
from robustnoise.testing.toys import toy_split
from robustnoise_defenses.noise import inside
from robustnoise_defenses.noise.prefix import Prefix

SHAPE = (1, 8, 8)


class Counted(nn.Conv2d):
    """Counts how often it runs; its product is torch's."""

    computes_as_torch = True
    runs = 0

    def _conv_forward(self, *arguments: Tensor) -> Tensor:
        self.runs += 1
        return super()._conv_forward(*arguments)


Counted.__module__ = "robustnoise.counted"  # layers of strangers are never kept


def _net(**changes: bool) -> TorchClassifier:
    torch.manual_seed(0)
    net = nn.Sequential(
        Counted(1, 4, 3), nn.ReLU(**changes), nn.Conv2d(4, 4, 3), nn.ReLU(**changes), nn.Flatten(), nn.Linear(64, 3)
    )
    return TorchClassifier(net, SHAPE, 3)


def _answer(net: TorchClassifier, text: str, x: Tensor) -> tuple[Tensor, int]:
    victim = build(text, "defense").apply(net, Context(seed=0))
    first = net.module[0]
    assert isinstance(first, Counted)
    first.runs = 0
    scores = victim.predict(x, noise=SeedStream(3)).scores
    assert scores is not None
    return scores, first.runs


@pytest.mark.parametrize(
    ("stack", "runs"),
    [
        ("layer-noise(0, power=sample, layers='5') | vote(6)", 1),
        ("layer-noise(0, power=sample, layers='2, 5') | output-noise(1.0) | vote(6, rule=mean-logit)", 1),
        ("layer-noise(0, power=sample, layers='0') | vote(6)", 6),
        ("gaussian-input-noise(0.1) | layer-noise(0, power=sample, layers='5') | vote(6)", 1),
        ("layer-noise(0, power=sample, layers='5') | gaussian-input-noise(0.1) | vote(6)", 6),
    ],
)
def test_a_vote_is_the_same_to_the_last_bit(stack: str, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = _net(), torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    kept, ran = _answer(net, stack, x)
    monkeypatch.setattr(inside.Prefix, "__init__", lambda self, *_: setattr(self, "length", 0))
    usual, each = _answer(net, stack, x)
    assert torch.equal(kept, usual)
    assert each == 6
    assert ran == runs or "input-noise" in stack


@pytest.mark.parametrize(
    ("stack", "runs"),
    [
        ("layer-noise(0, power=sample, layers='5')", 3),  # blocks of 128 images
        ("layer-noise(0, power=sample, layers='5') | output-noise(1.0) | vote(4)", 3),
        ("layer-noise(0, power=sample, layers='0')", 3 * 7),
    ],
)
def test_a_score_is_the_same_and_runs_it_once_for_all_draws(
    stack: str, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = toy_split(300, SHAPE)

    def counts() -> tuple[list[int], int]:
        net = _net()
        victim = build(stack, "defense").apply(net, Context(seed=0))
        meter = Silent().start("score", 1)
        found = count_draws(victim, split.images, split.labels, 7, SeedStream(3), meter=meter)
        first = net.module[0]
        assert isinstance(first, Counted)
        return found.right.tolist(), first.runs

    kept, ran = counts()
    monkeypatch.setattr(inside.Prefix, "__init__", lambda self, *_: setattr(self, "length", 0))
    assert (kept, ran) == (counts()[0], runs)
    assert len(set(kept)) > 2  # random, so that a kept draw would show


class Coarse(InputWrapper):
    """The same image at every query."""

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return x.round(decimals=1)


class Own(LayerWrapper):
    """Somebody's own noise behind the first layer."""

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        def noisy(_layer: nn.Module, _inputs: object, out: Tensor) -> Tensor:
            return out + torch.randn(out.shape, generator=noise.generator("own"))

        handle = next(self.module.children()).register_forward_hook(noisy)
        try:
            return self.inner.logits(x, noise=noise.child("inner"))
        finally:
            handle.remove()


@pytest.mark.parametrize("own", [False, True])
def test_noise_of_an_earlier_stage_is_fresh_in_every_pass(own: bool) -> None:
    """It acts in the layers that come before the last stage's, which alone asks for them to be kept."""
    ctx = Context(seed=0)
    earlier = build("layer-noise(0, power=sample, layers='0')", "defense")
    noisy = Own(_net(), earlier, stochastic=True) if own else earlier.apply(_net(), ctx)
    coarse = Coarse(noisy, earlier, stochastic=False)
    victim = build("layer-noise(0, power=sample, layers='5')", "defense").apply(coarse, ctx)
    x = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    usual = [victim.predict(x, noise=SeedStream(k)).logits for k in range(3)]
    with repeating(victim):
        kept = [victim.predict(x, noise=SeedStream(k)).logits for k in range(3)]
    for found, expected in zip(kept, usual, strict=True):
        assert found is not None
        assert expected is not None
        assert torch.equal(found, expected)


class Strange(Wrapper):
    """Noise behind the first layer by a wrapper that doesn't say that it acts inside the network."""

    @property
    def module(self) -> nn.Module:
        return require_modular(self.inner, "a test").module

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        inner = require_differentiable(self.inner, "a test")
        return Own(inner, build("vote(3)", "defense"), stochastic=True).logits(x, noise=noise)

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        with torch.inference_mode():
            return answer_from_logits(self.logits(x, noise=noise))


@pytest.mark.parametrize("above", [False, True])
def test_a_stranger_around_the_network_draws_afresh_in_every_pass(above: bool) -> None:
    def strange(inner: Classifier) -> Classifier:
        return Strange(inner, build("vote(3)", "defense"), stochastic=True)

    noise = build("layer-noise(0, power=sample, layers='5')", "defense")
    net, ctx = _net(), Context(seed=0)
    victim = strange(noise.apply(net, ctx)) if above else noise.apply(strange(net), ctx)
    x = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    usual = [victim.predict(x, noise=SeedStream(k)).logits for k in range(3)]
    with repeating(victim):
        kept = [victim.predict(x, noise=SeedStream(k)).logits for k in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(kept, usual, strict=True) if a is not None and b is not None)


def test_gradients_of_one_image_are_its_own_each_time() -> None:
    victim = build("layer-noise(0, power=sample, layers='5')", "defense").apply(_net(), Context(seed=0))
    x, inner = torch.rand(5, *SHAPE), require_differentiable(victim, "a test")
    with repeating(victim):
        for _ in range(2):
            leaf = x.clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(inner.logits(leaf, noise=SeedStream(0)).square().sum(), leaf)
            assert slope.abs().sum() > 0


def test_other_images_are_computed_anew() -> None:
    net, stream = _net(), torch.Generator().manual_seed(1)
    prefix = Prefix(net.module, ["5"])
    for _ in range(2):
        x = torch.rand(5, *SHAPE, generator=stream)
        assert torch.equal(prefix(x), net.module(x))


def test_nothing_is_kept_where_it_is_not_certain() -> None:
    assert Prefix(_net().module, ["5"]).length == 5
    assert Prefix(_net(inplace=True).module, ["5"]).length == 0
    assert Prefix(_net().module, [".input", "5"]).length == 0
    assert Prefix(_net().module.train(), ["5"]).length == 0
    assert Prefix(nn.Sequential(_net().module, nn.ReLU()).eval(), ["0.5"]).length == 0
    hooked = _net().module
    hooked[1].register_forward_hook(lambda *_: None)  # type: ignore[index,operator,union-attr]
    assert Prefix(hooked, ["5"]).length == 0


def test_after_a_vote_nothing_is_held() -> None:
    victim = build("layer-noise(0, power=sample, layers='5') | vote(2)", "defense").apply(_net(), Context(seed=0))
    victim.predict(torch.rand(2, *SHAPE), noise=SeedStream(0))
    inner = victim.inner  # type: ignore[attr-defined]
    assert isinstance(inner, inside.Inside)
    assert inner.prefix is None
