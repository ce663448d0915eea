"""What the contracts of every kind share: the spec, what must stay untouched, and how plugins are shortened."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from robustnoise import building, registry
from robustnoise.compose import Stack, compose
from robustnoise.errors import BadParameter, MissingCapability
from robustnoise.foreign import kept_globals
from robustnoise.harness.arithmetic import precisions
from robustnoise.protocols import (
    Classifier,
    Model,
)
from robustnoise.spec import Plugin, child_type, field_types
from robustnoise.threat import Norm

T = TypeVar("T")
ROWS = 6
EPS = {Norm.LINF: 0.1, Norm.L2: 1.0}
SHORT = {"epochs": 1, "rounds": 1, "seed_images": 20}
"""Fields that `quick` lowers to these values."""


def quick(plugin: Any) -> Any:
    """`plugin` with one epoch, one round, few seed images and tiny networks, in its children too."""
    if isinstance(plugin, Stack):
        return compose(*(quick(part) for part in plugin.parts))
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(plugin):
        value = getattr(plugin, field.name)
        if isinstance(value, Model):
            changes[field.name] = building.create("model", "mlp", hidden=16)
        elif isinstance(value, Plugin):
            changes[field.name] = quick(value)
        elif field.name in SHORT and isinstance(value, int):
            changes[field.name] = min(value, SHORT[field.name])
    return dataclasses.replace(plugin, **changes) if changes else plugin


def check_spec(plugin: Plugin) -> None:
    """Frozen; its spec survives JSON and text (where the class is registered); a wrong parameter is refused by name."""
    cls: Any = type(plugin)
    if isinstance(plugin, Stack):
        for part in plugin.parts:
            check_spec(part)
        _check_round_trip(plugin)
        return
    frozen = bool(getattr(getattr(cls, "__dataclass_params__", None), "frozen", False))
    need(plugin, "frozen", frozen, "the class is no @dataclass(frozen=True), so its identity could change.")
    counted = type(cls.version) is int and cls.version >= 1
    need(plugin, "version", counted, f"version {cls.version!r} is no integer of at least 1.")
    _check_round_trip(plugin)
    for field in field_types(cls):
        if child_type(cls, field) is not None:
            continue
        try:
            dataclasses.replace(plugin, **{field: object()})  # type: ignore[type-var]
        except BadParameter as error:
            need(plugin, "bad-parameter", field in str(error), f"{field} is refused, but not by name: {error}")
        else:
            need(plugin, "bad-parameter", False, f"{field} = object() is accepted; annotate the field with its type.")


def _check_round_trip(plugin: Plugin) -> None:
    spec = building.spec_of(plugin)
    plain = json.loads(json.dumps(spec.to_json()))
    if not _registered(plugin):
        return
    again = building.from_json(plain)
    same = again == plugin and building.spec_of(again).canonical() == spec.canonical()
    need(plugin, "spec-json", same, f"the spec through JSON gives {again!r} instead of {plugin!r}.")
    text = building.describe(plugin)
    again = building.build(text, plugin.kind)
    need(plugin, "spec-text", again == plugin, f"the text {text!r} builds {again!r} instead of {plugin!r}.")


def _registered(plugin: Plugin) -> bool:
    if isinstance(plugin, Stack):
        return all(_registered(part) for part in plugin.parts)
    cls: Any = type(plugin)
    children = [getattr(plugin, name) for name in field_types(cls)]
    known = registry.registry().entry_of(cls) is not None
    return known and all(_registered(child) for child in children if isinstance(child, Plugin))


class ContractBroken(AssertionError):
    """A plugin breaks a contract.

    Args:
        plugin: the name of its class.
        contract: one of `robustnoise.testing.meanings.CONTRACTS`.
        found: what was seen, with values.
    """

    def __init__(self, plugin: str, contract: str, found: str) -> None:
        super().__init__(f"{plugin} breaks the contract {contract!r}: {found}")
        self.plugin, self.contract, self.found = plugin, contract, found


@dataclasses.dataclass
class Collected:
    """What `collecting` saw: every contract that was looked at, and the first breach of each that is broken."""

    looked_at: set[str] = dataclasses.field(default_factory=set)
    broken: dict[str, ContractBroken] = dataclasses.field(default_factory=dict)


_COLLECTED: contextvars.ContextVar[Collected | None] = contextvars.ContextVar("collected", default=None)


@contextlib.contextmanager
def collecting() -> Iterator[Collected]:
    """Inside, a broken contract is noted and the checks go on, instead of ending at the first."""
    collected = Collected()
    token = _COLLECTED.set(collected)
    try:
        yield collected
    finally:
        _COLLECTED.reset(token)


def need(plugin: object, contract: str, kept: bool, why: str) -> None:
    """Raise `ContractBroken`, or note it while `collecting`, unless the contract is kept."""
    collected = _COLLECTED.get()
    if collected is not None:
        collected.looked_at.add(contract)
    if kept:
        return
    broken = ContractBroken(type(plugin).__name__, contract, why)
    if collected is None:
        raise broken
    collected.broken.setdefault(contract, broken)


def identical(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and a.dtype == b.dtype and _bytes(a) == _bytes(b)


def apart(a: Tensor | None, b: Tensor | None) -> str:
    """How two tensors differ, in words, for the message of a broken contract."""
    if a is None or b is None:
        return "the same" if a is b else "one is absent"
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"{tuple(a.shape)} {a.dtype} and {tuple(b.shape)} {b.dtype}"
    return f"up to {(a.double() - b.double()).abs().max().item():.3g} apart"


def _bytes(x: Tensor) -> bytes:
    return x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() if x.numel() else b""


def _module(model: object) -> nn.Module | None:
    try:
        found = getattr(model, "module", None)
    except MissingCapability:
        return None
    return found if isinstance(found, nn.Module) else None


def _state(model: Classifier) -> dict[str, object]:
    """All of a classifier that a plugin must leave as it is."""
    state: dict[str, object] = {"digest": model.digest}
    module = _module(model)
    if module is None:
        return state
    state["weights"] = {k: _bytes(v) for k, v in module.state_dict().items()}
    state["gradients"] = {k: None if p.grad is None else _bytes(p.grad) for k, p in module.named_parameters()}
    state["requires_grad flags"] = {k: p.requires_grad for k, p in module.named_parameters()}
    state["train/eval flags"] = {k: m.training for k, m in module.named_modules()}
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    state["hooks"] = {(k, kind): list(getattr(m, kind)) for k, m in module.named_modules() for kind in kinds}
    return state


def _global_state() -> dict[str, object]:
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002 - the global generator is what is watched
    return {
        "torch": _bytes(torch.get_rng_state()),
        "numpy": repr({k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in legacy["state"].items()}),
        "random": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "gradient mode": torch.is_grad_enabled(),
        "deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "precision of products": precisions(),
    }


@contextlib.contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Other global generators than before, put back at the end whatever happens."""
    with kept_globals():
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        yield


def untouched(
    plugin: Plugin, models: Sequence[Classifier], tensors: dict[str, Tensor], action: Callable[[], T], *, seed: int = 1
) -> T:
    """What `action` returns, having changed no model, no tensor and nothing global; checked also where it raises."""
    with _global_seed(seed):
        states, copies, around = (
            [_state(m) for m in models],
            {k: v.clone() for k, v in tensors.items()},
            _global_state(),
        )
        try:
            return action()
        finally:
            for model, before in zip(models, states, strict=True):
                after = _state(model)
                changed = [k for k in before if before[k] != after[k]]
                need(plugin, "model-untouched", not changed, f"it changes the model it is given: {', '.join(changed)}.")
            for name, copy in copies.items():
                need(plugin, "inputs-untouched", identical(copy, tensors[name]), f"it writes into {name}.")
            now = _global_state()
            changed = [k for k in around if around[k] != now[k]]
            need(
                plugin,
                "global-state",
                not changed,
                f"it changes global random or other state ({', '.join(changed)}). Draw from the SeedStream "
                "alone, and leave torch's settings as they are.",
            )


def neighbours(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The same first row among others, in a batch of the same size."""
    other = 1 - x.roll(1, 0)
    other[0] = x[0]
    return other, torch.cat([y[:1], y[1:].flip(0)])
