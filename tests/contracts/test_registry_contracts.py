"""Every registered plugin keeps every contract, and the contracts catch plugins that don't."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import robustnoise.models
import robustnoise_attacks
import robustnoise_defenses
from robustnoise.api import (
    Answer,
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Classifier,
    Context,
    Crafter,
    Defense,
    DefenseTraits,
    InputWrapper,
    LayerWrapper,
    Oracle,
    Plugin,
    SeedStream,
    Split,
    Stage,
    Targets,
    ThreatModel,
    Wrapper,
    build,
    create,
    require_modular,
)
from robustnoise.harness import memory
from robustnoise.registry import registry
from robustnoise.testing import check_plugin, repeats
from robustnoise.testing.toys import toy_split
from tests.contracts.made import built_in, made

EXCEPTIONS: dict[str, tuple[str, str]] = {}
"""Plugin name to (contract that it breaks, reason). Strict: one that keeps the contract must be taken out."""


@pytest.mark.parametrize("name", [e.name for e in built_in()])
def test_contracts(name: str, tmp_path: Path) -> None:
    plugin = made(name, tmp_path)
    if name not in EXCEPTIONS:
        check_plugin(plugin)
        return
    contract, _reason = EXCEPTIONS[name]
    with pytest.raises(AssertionError, match=repr(contract)):
        check_plugin(plugin)


@pytest.mark.parametrize("name", [r.name for r in registry().recipes() if "/" not in r.name])
def test_contracts_of_recipes(name: str) -> None:
    """With few steps, which the contracts of an ascent don't depend on."""
    plugin = build(name, registry().find(name).kind)
    check_plugin(dataclasses.replace(plugin, steps=min(plugin.steps, 10)) if hasattr(plugin, "steps") else plugin)


def test_transfer_without_queries() -> None:
    check_plugin(create("attack", "transfer", substitute="independent", crafter="fgsm"))


def test_a_stack() -> None:
    check_plugin(create("defense", "plain-training") | create("defense", "gaussian-input-noise"))


def test_no_plugin_class_is_missing_from_its_table() -> None:
    registered = {e.load() for e in registry().entries()}
    modules = [
        info.name
        for package in (robustnoise_attacks, robustnoise_defenses, robustnoise.models)
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    missing = [
        f"{name}:{value.__name__}"
        for name in modules
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, type)
        and issubclass(value, Plugin)
        and value.__module__ == name
        and "__dataclass_params__" in vars(value)
        and value not in registered
        and not value.__name__.startswith("_")
    ]
    assert not missing


# ------------------------------------------------------------------------------------------------------ broken plugins


@dataclasses.dataclass(frozen=True)
class Sound(Crafter):
    """One correct l-infinity or l2 step, from which the broken ones differ in one way each."""

    def step(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        with torch.enable_grad():
            leaf = x.clone().requires_grad_(True)
            logits = source.logits(leaf, noise=SeedStream(0))  # type: ignore[attr-defined]
            (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, y, reduction="sum"), leaf)
        unit = gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        return threat.eps * (gradient.sign() if threat.norm == "linf" else unit)

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        return threat.project(x, x + self.step(source, x, y, threat))


@dataclasses.dataclass(frozen=True)
class Reseeds(Sound):
    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        torch.manual_seed(0)
        return super().craft(source, x, y, threat, seeds)


@dataclasses.dataclass(frozen=True)
class LeavesTrainMode(Sound):
    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        source.module.train()  # type: ignore[attr-defined]
        return super().craft(source, x, y, threat, seeds)


@dataclasses.dataclass(frozen=True)
class LooksAtNeighbours(Sound):
    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        step = self.step(source, x, y, threat)
        return threat.project(x, x + step - 0.3 * step.mean(0, keepdim=True))


@dataclasses.dataclass(frozen=True)
class LeavesTheBall(Sound):
    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        return (x + 1.5 * self.step(source, x, y, threat)).clamp(0, 1)


@dataclasses.dataclass(frozen=True)
class WritesIntoX(Sound):
    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        x += 0.1
        return x


@dataclasses.dataclass(frozen=True)
class DoesNothing(Sound):
    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        return x.clone()


@dataclasses.dataclass(frozen=True)
class IdleAttack(BlackBoxAttack):
    """Asks one thing, says nothing of it."""

    report: int = 1

    @property
    def traits(self) -> AttackTraits:
        return AttackTraits()

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        assert oracle is not None
        asked = 0
        if oracle.remaining != 0:
            oracle.query(targets.x[:1], targets.ids[:1])
            asked = self.report
        return AttackResult(targets.x.clone(), asked)


@dataclasses.dataclass(frozen=True)
class LeavesNoTrace(IdleAttack):
    """It moves, and says nothing of how far it had come at the oracle's stops."""

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        asked = super().run(oracle, seed_data, targets, threat, seeds).queries
        return AttackResult(threat.project(targets.x, targets.x + threat.eps), asked)


class _Noisy(InputWrapper):
    def __init__(self, inner: Classifier, defense: ToyNoise) -> None:
        super().__init__(inner, defense, stochastic=True)
        self.defense = defense

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return x + self.defense.draw(x, noise)


@dataclasses.dataclass(frozen=True)
class ToyNoise(Defense):
    """A correct noise defense, from which the broken ones differ in one way each."""

    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"sigma": 0.0})

    sigma: float = 0.1

    def draw(self, x: Tensor, noise: SeedStream) -> Tensor:
        return self.sigma * torch.randn(x.shape, generator=noise.generator("n"))

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return _Noisy(model, self)


@dataclasses.dataclass(frozen=True)
class GlobalNoise(ToyNoise):
    def draw(self, x: Tensor, noise: SeedStream) -> Tensor:
        return self.sigma * torch.randn(x.shape)


@dataclasses.dataclass(frozen=True)
class ConstantNoise(ToyNoise):
    def draw(self, x: Tensor, noise: SeedStream) -> Tensor:
        return self.sigma * torch.randn(x.shape, generator=SeedStream(0).generator("n"))


@dataclasses.dataclass(frozen=True)
class BatchNoise(ToyNoise):
    def draw(self, x: Tensor, noise: SeedStream) -> Tensor:
        return super().draw(x, noise) * x.std()


@dataclasses.dataclass(frozen=True)
class NeverOff(ToyNoise):
    def draw(self, x: Tensor, noise: SeedStream) -> Tensor:
        return (self.sigma + 0.01) * torch.randn(x.shape, generator=noise.generator("n"))


@dataclasses.dataclass(frozen=True)
class CutsGradients(ToyNoise):
    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return _Cut(model, self)


@dataclasses.dataclass(frozen=True)
class ClaimsAStandIn(ToyNoise):
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, softened=True, off={"sigma": 0.0})


class _Cut(_Noisy):
    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        return super().change(x, noise).detach()


@dataclasses.dataclass(frozen=True)
class LeavesHooks(ToyNoise):
    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return _Hooked(model, self)


class _Hooked(_Noisy):
    """Takes its hook off again, but not when the network raises."""

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        handle = self.module.register_forward_hook(lambda *_: None)
        answer = super().predict(x, noise=noise)
        handle.remove()
        return answer


@dataclasses.dataclass(frozen=True)
class KeepsItsNoise(ToyNoise):
    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return _Keeping(model, self)


class _Keeping(LayerWrapper):
    """Keeps all of the first pass while passes repeat, and so its noise."""

    def __init__(self, inner: Classifier, defense: ToyNoise) -> None:
        super().__init__(inner, defense, stochastic=True)
        self.defense = defense
        self.kept: list[Tensor] | None = None

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        if self.kept:
            return self.kept[0]
        out = self.inner.logits(x + self.defense.draw(x, noise), noise=noise.child("inner"))
        if self.kept is not None:
            self.kept.append(out)
        return out

    @contextlib.contextmanager
    def repeating(self) -> Iterator[None]:
        self.kept = []
        try:
            yield
        finally:
            self.kept = None


@dataclasses.dataclass(frozen=True)
class MovesTheBias(ToyNoise):
    """Sound, if nobody takes the network beneath it for the same in every draw."""

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return _MovedBias(model, self)


class _MovedBias(Wrapper):
    def __init__(self, inner: Classifier, defense: ToyNoise) -> None:
        super().__init__(inner, defense, stochastic=True)
        self.defense = defense

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        bias = list(require_modular(self.inner, "a test").module.parameters())[-1]
        before = bias.clone()
        try:
            bias.data.add_(self.defense.draw(bias, noise))
            return self.inner.predict(x, noise=noise.child("inner"))
        finally:
            bias.data.copy_(before)


def test_a_stage_stands_wherever_the_harness_takes_a_shortcut() -> None:
    found = repeats.victims(ToyNoise(), toy_split(64))
    assert tuple(around for around, _ in found) == repeats.AROUND


def test_a_network_remembered_beneath_what_moves_it_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(toy_split(6).floats())
    repeats.check_repeats(MovesTheBias(), toy_split(64), x)
    monkeypatch.setattr(memory, "is_ours", lambda _: True)
    with pytest.raises(AssertionError, match=r"'repeats': in 'it' remembered draws give other answers: in pass 2"):
        repeats.check_repeats(MovesTheBias(), toy_split(64), x)


@dataclasses.dataclass(frozen=True)
class SilentDefense(ToyNoise):
    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return model


@pytest.mark.parametrize("plugin", [Sound(), ToyNoise()], ids=lambda p: type(p).__name__)
def test_the_sound_toys_pass(plugin: Plugin) -> None:
    check_plugin(plugin)


@pytest.mark.parametrize(
    ("plugin", "contract"),
    [
        (Reseeds(), "global-state"),
        (LeavesTrainMode(), "model-untouched"),
        (LooksAtNeighbours(), "row-independence"),
        (LeavesTheBall(), "eps"),
        (WritesIntoX(), "inputs-untouched"),
        (DoesNothing(), "beats-noise"),
        (IdleAttack(), "acts"),
        (IdleAttack(report=2), "queries"),
        (LeavesNoTrace(), "stops"),
        (GlobalNoise(), "global-state"),
        (ConstantNoise(), "traits"),
        (BatchNoise(), "row-independence"),
        (NeverOff(), "off-is-identity"),
        (CutsGradients(), "traits"),
        (ClaimsAStandIn(), "traits"),
        (LeavesHooks(), "model-untouched"),
        (KeepsItsNoise(), "repeats"),
        (SilentDefense(), "acts"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Plugin) else v,
)
def test_a_broken_plugin_is_caught_by_name(plugin: Plugin, contract: str) -> None:
    with pytest.raises(AssertionError, match=f"contract '{contract}'"):
        check_plugin(plugin)
