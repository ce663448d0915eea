"""What a plugin with its default parameters promises, and what an answer behind a defense costs."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch

from robustnoise.building import build_call
from robustnoise.compose import Defense
from robustnoise.errors import BadData, RobustnoiseError
from robustnoise.protocols import AttackTraits, BlackBoxAttack, Context, Model, Stage
from robustnoise.registry import registry
from robustnoise.seeds import SeedStream
from robustnoise.spec import Call, Plugin
from robustnoise.testing.toys import toy_model, toy_split

SHAPES = ((1, 28, 28), (3, 32, 32), (1, 12, 4))
"""Image shapes of the known data; the weights of a model are counted for the first that it takes."""


def observed(kind: str, name: str) -> dict[str, Any]:
    """The columns of a kind for one plugin; None where a value depends on parameters that must be given."""
    cls, plugin = registry().find(name), None
    with contextlib.suppress(RobustnoiseError):  # parameters that must be given
        plugin = build_call(Call(name))
    if kind == "defense":
        return _defense(cls, plugin)
    if kind in ("attack", "substitute"):
        return _attack(cls, plugin) | ({"networks": getattr(plugin, "nets", None)} if kind == "substitute" else {})
    if kind == "model":
        return {"weights": _weights(plugin)}
    return {}


def _defense(cls: type[Plugin], plugin: Plugin | None) -> dict[str, Any]:
    # Traits of a class hold for all its parameters; where they follow from them, they are a property.
    traits = getattr(cls if plugin is None else plugin, "traits", None)
    if traits is None or isinstance(traits, property):
        return dict.fromkeys(("stage", "stochastic", "differentiable", "passes"))
    flows = "stand-in" if traits.softened else traits.differentiable
    passes = _passes(plugin) if isinstance(plugin, Defense) and traits.stage is Stage.INFERENCE else None
    return {"stage": str(traits.stage), "stochastic": traits.stochastic, "differentiable": flows, "passes": passes}


def _passes(defense: Defense) -> int | str | None:
    """Forward passes that one answer costs behind `defense`, around a network that costs one."""
    images = toy_split(32)
    try:
        defended = defense.apply(toy_model(), Context(train=images))
        answer = defended.predict(torch.from_numpy(images.floats(0, 1)), noise=SeedStream(0))
    except Exception:  # noqa: BLE001 - one of a third party that fails must not hide the others
        return None
    return defended.passes if answer.passes is None else f"up to {defended.passes}"


def _attack(cls: type[Plugin], plugin: Plugin | None) -> dict[str, Any]:
    found: dict[str, Any] = {"role": None} if issubclass(cls, BlackBoxAttack) else {}
    try:
        # Traits that don't follow from parameters are there before any are given.
        traits: AttackTraits = getattr(object.__new__(cls) if plugin is None else plugin, "traits")  # noqa: B009
    except AttributeError as error:
        return {"access": f"by {error.name or 'parameters'}", "asks": None} | found
    if found:
        found["role"] = "audit" if traits.audit else "control" if traits.control else "ranked"
    return {"access": traits.access.name.lower(), "asks": traits.queries} | found


def _weights(plugin: Plugin | None) -> int | None:
    """Parameters of the network for ten classes, counted without memory for them."""
    if not isinstance(plugin, Model):
        return None
    for shape in SHAPES:
        try:
            with torch.device("meta"):
                return sum(math.prod(p.shape) for p in plugin.build(shape, 10).parameters())
        except BadData:
            continue
    return None
