"""What every plugin promises, as functions that raise `AssertionError` naming the broken contract.

``check_plugin(MyDefense(sigma=0.1))`` runs all that apply; one check takes a second or so, because `quick` first
shortens trainings and shrinks the networks that a plugin trains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustnoise import registry
from robustnoise.blocks import to_tensor
from robustnoise.compose import Defense, Identity, Leader, Stack, compose
from robustnoise.errors import BadData, BadParameter, MissingCapability, RobustnoiseError
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.fresh import create
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import (
    Answer,
    AttackResult,
    BlackBoxAttack,
    Classifier,
    Context,
    Crafter,
    Differentiable,
    Model,
    Stage,
    Substitute,
    Targets,
)
from robustnoise.seeds import SeedStream
from robustnoise.spec import Plugin, child_type, field_types
from robustnoise.testing.toys import (
    CLASSES,
    SHAPE,
    CoinClassifier,
    linear_optimum,
    linear_toy,
    toy_model,
    toy_split,
)
from robustnoise.threat import Access, Norm, ThreatModel

T = TypeVar("T")
ROWS = 6
EPS = {Norm.LINF: 0.1, Norm.L2: 1.0}
SHORT = {"epochs": 1, "rounds": 1, "seed_images": 20}
"""Fields that `quick` lowers to these values."""


def check_plugin(plugin: Plugin) -> None:
    """Every contract of the plugin's kind.

    Raises:
        AssertionError: a contract is broken; the message names it.
    """
    if isinstance(plugin, Defense):
        check_defense(plugin)
    elif isinstance(plugin, BlackBoxAttack):
        check_attack(plugin)
    elif isinstance(plugin, Crafter):
        check_crafter(plugin)
    elif isinstance(plugin, Substitute):
        check_substitute(plugin)
    elif isinstance(plugin, Model):
        check_model(plugin)
    else:
        raise AssertionError(f"{type(plugin).__name__} is no defense, attack, crafter, substitute or model.")


def quick(plugin: Any) -> Any:
    """`plugin` with one epoch, one round, few seed images and tiny networks, in its children too."""
    if isinstance(plugin, Stack):
        return compose(*(quick(part) for part in plugin.parts))
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(plugin):
        value = getattr(plugin, field.name)
        if isinstance(value, Model):
            changes[field.name] = registry.create("model", "mlp", hidden=16)
        elif isinstance(value, Plugin):
            changes[field.name] = quick(value)
        elif field.name in SHORT and isinstance(value, int):
            changes[field.name] = min(value, SHORT[field.name])
    return dataclasses.replace(plugin, **changes) if changes else plugin


# ---------------------------------------------------------------------------------------------------------- every kind


def check_spec(plugin: Plugin) -> None:
    """Frozen; its spec survives JSON and text (where the class is registered); a wrong parameter is refused by name."""
    cls: Any = type(plugin)
    if isinstance(plugin, Stack):
        for part in plugin.parts:
            check_spec(part)
        _check_round_trip(plugin)
        return
    frozen = bool(getattr(getattr(cls, "__dataclass_params__", None), "frozen", False))
    _need(plugin, "frozen", frozen, "the class is no @dataclass(frozen=True), so its identity could change.")
    counted = type(cls.version) is int and cls.version >= 1
    _need(plugin, "version", counted, f"version {cls.version!r} is no integer of at least 1.")
    _check_round_trip(plugin)
    for field in field_types(cls):
        if child_type(cls, field) is not None:
            continue
        try:
            dataclasses.replace(plugin, **{field: object()})  # type: ignore[type-var]
        except BadParameter as error:
            _need(plugin, "bad-parameter", field in str(error), f"{field} is refused, but not by name: {error}")
        else:
            _need(plugin, "bad-parameter", False, f"{field} = object() is accepted; annotate the field with its type.")


def _check_round_trip(plugin: Plugin) -> None:
    spec = registry.spec_of(plugin)
    plain = json.loads(json.dumps(spec.to_json()))
    if not _registered(plugin):
        return
    again = registry.from_json(plain)
    same = again == plugin and registry.spec_of(again).canonical() == spec.canonical()
    _need(plugin, "spec-json", same, f"the spec through JSON gives {again!r} instead of {plugin!r}.")
    text = registry.describe(plugin)
    again = registry.build(text, plugin.kind)
    _need(plugin, "spec-text", again == plugin, f"the text {text!r} builds {again!r} instead of {plugin!r}.")


def _registered(plugin: Plugin) -> bool:
    if isinstance(plugin, Stack):
        return all(_registered(part) for part in plugin.parts)
    cls: Any = type(plugin)
    children = [getattr(plugin, name) for name in field_types(cls)]
    known = registry.registry().entry_of(cls) is not None
    return known and all(_registered(child) for child in children if isinstance(child, Plugin))


def _need(plugin: object, contract: str, kept: bool, why: str) -> None:
    if not kept:
        raise AssertionError(f"{type(plugin).__name__} breaks the contract {contract!r}: {why}")


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and a.dtype == b.dtype and _bytes(a) == _bytes(b)


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
    }


@contextlib.contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Other global generators than before, put back at the end whatever happens."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def _untouched(
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
                _need(
                    plugin, "model-untouched", not changed, f"it changes the model it is given: {', '.join(changed)}."
                )
            for name, copy in copies.items():
                _need(plugin, "inputs-untouched", _same(copy, tensors[name]), f"it writes into {name}.")
            now = _global_state()
            changed = [k for k in around if around[k] != now[k]]
            _need(
                plugin,
                "global-state",
                not changed,
                f"it changes global random or other state ({', '.join(changed)}). Draw from the SeedStream alone.",
            )


# ------------------------------------------------------------------------------------------------- crafters and attacks


def check_crafter(crafter: Crafter) -> None:
    """Every contract of a crafter, for each norm that it doesn't refuse with `BadParameter`."""
    check_spec(crafter)
    crafter = quick(crafter)
    accepted = [norm for norm in Norm if _crafter_accepts(crafter, norm)]
    _need(crafter, "norms", bool(accepted), "it refuses both norms.")


def _crafter_accepts(crafter: Crafter, norm: Norm) -> bool:
    source = toy_model()
    levels, x, y = _images(toy_split(ROWS))

    def craft(x: Tensor, y: Tensor, eps: float, seed: int = 1, source: Classifier = source) -> Tensor:
        threat = ThreatModel(norm, eps)
        return _untouched(
            crafter, [source], {"x": x, "y": y}, lambda: crafter.craft(source, x, y, threat, SeedStream(3)), seed=seed
        )

    try:
        first = craft(x, y, EPS[norm])
    except BadParameter:
        return False
    _check_images(crafter, levels, x, first, ThreatModel(norm, EPS[norm]))
    _check_repeats(crafter, first, craft(x, y, EPS[norm], seed=2))
    _check_zero(crafter, levels, x, craft(x, y, 0.0), norm)
    other_x, other_y = _neighbours(x, y)
    _check_rows(crafter, first[:1], craft(other_x, other_y, EPS[norm])[:1])
    with contextlib.suppress(_ToyError):
        craft(x, y, EPS[norm], source=_Failing(source))  # states are compared also after a raise
    toy = linear_toy()
    levels, x, y = _images(toy_split(32, num_classes=2, seed=1))
    threat = ThreatModel(norm, EPS[norm])
    loss = _loss(toy, craft(x, y, threat.eps, source=toy), y)
    noise = max(_loss(toy, _random_point(x, threat, draw), y) for draw in range(10))
    best = _loss(toy, linear_optimum(toy, x, y, threat), y)
    _need(
        crafter,
        "beats-noise",
        loss > noise + 0.1 * (best - noise),
        f"on a linear toy under {norm} its loss is {loss:.4f}, that of noise {noise:.4f}, the optimum {best:.4f}.",
    )
    return True


def check_attack(attack: BlackBoxAttack) -> None:
    """Every contract of an attack, for each norm that it doesn't refuse with `BadParameter`."""
    check_spec(attack)
    attack = quick(attack)
    accepted = [norm for norm in Norm if _attack_accepts(attack, norm)]
    _need(attack, "norms", bool(accepted), "it refuses both norms.")


def _attack_accepts(attack: BlackBoxAttack, norm: Norm) -> bool:
    victim = toy_model()
    data = toy_split(40, first_id=1000, name="attacker")
    levels, x, y = _images(toy_split(ROWS))

    def run(
        x: Tensor, y: Tensor, eps: float, *, seed: int = 1, total: int | None = None, per_image: int | None = 60
    ) -> AttackResult:
        threat = ThreatModel(norm, eps, attack.traits.access)
        oracle = _oracle(attack.traits.queries, victim, threat, total, per_image)
        targets = Targets(torch.arange(len(x)), x, y)
        action = lambda: attack.run(oracle, data, targets, threat, SeedStream(3))  # noqa: E731
        result = _untouched(attack, [victim], {"x": x, "y": y, "ids": targets.ids}, action, seed=seed)
        _check_queries(attack, oracle, result.queries, total)
        return result

    try:
        first = run(x, y, EPS[norm]).x
    except BadParameter:
        return False
    _check_images(attack, levels, x, first, ThreatModel(norm, EPS[norm]))
    _check_repeats(attack, first, run(x, y, EPS[norm], seed=2).x)
    _check_zero(attack, levels, x, run(x, y, 0.0).x, norm)
    other_x, other_y = _neighbours(x, y)
    _check_rows(attack, first[:1], run(other_x, other_y, EPS[norm]).x[:1])
    if attack.traits.queries:
        for total in (0, 7, 30):
            result = run(x, y, EPS[norm], total=total, per_image=None)
            _check_images(attack, levels, x, result.x, ThreatModel(norm, EPS[norm]))
    if not attack.traits.control:
        moved = not _same(run(x, y, 4 * EPS[norm], per_image=500).x, x)
        _need(attack, "acts", moved, f"it hands in every image as it was under {norm}, eps = {4 * EPS[norm]:g}.")
    return True


def check_substitute(substitute: Substitute) -> None:
    """Every contract of a substitute."""
    check_spec(substitute)
    substitute = quick(substitute)
    victim, data = toy_model(), toy_split(40)
    threat = ThreatModel(Norm.LINF, 0.1, substitute.traits.access)

    def fit(seed: int, total: int | None) -> Classifier:
        oracle = _oracle(substitute.traits.queries, victim, threat, total, None)
        fitted = _untouched(
            substitute, [victim], {}, lambda: substitute.fit(oracle, data, Context(seed=SeedStream(5))), seed=seed
        )
        _check_queries(substitute, oracle, fitted.queries, total)
        return fitted.source

    source = fit(1, None)
    fits = (tuple(source.input_shape), source.num_classes) == (SHAPE, CLASSES)
    _need(substitute, "shape", fits, f"its source takes {source.input_shape} and has {source.num_classes} classes.")
    _check_answer(substitute, source.predict(_images(data)[1], noise=SeedStream(0)), len(data), abstains=False)
    _need(substitute, "seeded", source.digest == fit(2, None).digest, "the same seed gives two different sources.")
    if substitute.traits.queries:
        for total in (7, 30):
            fit(1, total)


def _oracle(
    queries: bool, victim: Classifier, threat: ThreatModel, total: int | None, per_image: int | None
) -> CountingOracle | None:
    """Just as the harness has it: an attack whose traits say that it asks nothing gets no oracle."""
    if not queries:
        return None
    access = min(threat.access, Access.LOGITS)
    shown = dataclasses.replace(threat, access=access)
    return CountingOracle(victim, shown, SeedStream(7), per_image=per_image, total=total)


def _check_queries(plugin: Plugin, oracle: CountingOracle | None, queries: int, total: int | None) -> None:
    spent = oracle.spent if oracle else 0
    _need(plugin, "queries", queries == spent, f"it reports {queries} queries; the oracle answered {spent}.")
    _need(plugin, "budget", total is None or spent <= total, f"it spent {spent} of {total} queries.")


def _check_images(plugin: Plugin, levels: Tensor, x: Tensor, out: Tensor, threat: ThreatModel) -> None:
    _need(plugin, "shape", out.shape == x.shape, f"{tuple(x.shape)} became {tuple(out.shape)}.")
    _need(plugin, "dtype", out.dtype == torch.float32, f"the images are {out.dtype}, not float32.")
    _need(plugin, "finite", bool(out.isfinite().all()), "some pixels are NaN or infinite.")
    _need(plugin, "bounds", bool(((out >= 0) & (out <= 1)).all()), "some pixels are outside [0, 1].")
    outside = threat.violation(x, out).max().item()
    _need(
        plugin, "eps", outside <= 1e-5, f"an image is {outside:.3g} outside the {threat.norm} ball of {threat.eps:g}."
    )
    rounded = threat.violation(levels, threat.to_levels(levels, out)).max().item()
    _need(plugin, "eps-levels", rounded <= 1e-6, f"as 8-bit levels an image is {rounded:.3g} outside the ball.")


def _check_zero(plugin: Plugin, levels: Tensor, x: Tensor, out: Tensor, norm: Norm) -> None:
    _check_images(plugin, levels, x, out, ThreatModel(norm, 0.0))
    same = bool((ThreatModel(norm, 0.0).to_levels(levels, out) == levels).all())
    _need(plugin, "zero-eps", same and _same(x, out), "with eps = 0 the images differ from the input.")


def _check_repeats(plugin: Plugin, first: Tensor, second: Tensor) -> None:
    _need(plugin, "seeded", _same(first, second), "the same seeds give other bytes the second time.")


def _check_rows(plugin: Plugin, row: Tensor, again: Tensor) -> None:
    _need(plugin, "row-independence", _same(row, again), "an image's result changes with its neighbours in the batch.")


def _images(split: Any) -> tuple[Tensor, Tensor, Tensor]:
    return to_tensor(split.images), torch.from_numpy(split.floats()), to_tensor(split.labels)


def _neighbours(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The same first row among others, in a batch of the same size."""
    other = 1 - x.roll(1, 0)
    other[0] = x[0]
    return other, torch.cat([y[:1], y[1:].flip(0)])


def _random_point(x: Tensor, threat: ThreatModel, draw: int) -> Tensor:
    generator = SeedStream(11).generator("point", draw)
    if threat.norm is Norm.LINF:
        step = torch.rand(x.shape, generator=generator) * 2 - 1
    else:
        step = torch.randn(x.shape, generator=generator)
        step = step / step.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return threat.project(x, x + threat.eps * step)


def _loss(model: TorchClassifier, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return functional.cross_entropy(model.logits(x, noise=SeedStream(0)), y).item()


class _ToyError(RobustnoiseError):
    """Raised on purpose."""


class _Failing:
    """A source that breaks at the first gradient."""

    stochastic = False
    passes = 1

    def __init__(self, inner: TorchClassifier) -> None:
        self.inner, self.module, self.digest = inner, inner.module, inner.digest
        self.num_classes, self.input_shape = inner.num_classes, inner.input_shape

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        self.inner.logits(x, noise=noise)
        raise _ToyError("on purpose")

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.inner.predict(x, noise=noise)
        raise _ToyError("on purpose")


# ------------------------------------------------------------------------------------------------------------- defenses


def check_defense(defense: Defense) -> None:
    """Every contract of a defense."""
    check_spec(defense)
    neutral = compose(Identity(), defense) == defense == compose(defense, Identity())
    _need(defense, "identity-neutral", neutral, "composing it with Identity gives something else.")
    defense = quick(defense)
    model, data = toy_model(), toy_split(64)
    x = torch.from_numpy(toy_split(ROWS * 2, seed=2).floats())
    defended = _applied(defense, model, data)
    again = _applied(defense, model, data, seed=2)
    _need(defense, "seeded", defended.digest == again.digest, "the same context gives two different digests.")
    neutral = isinstance(defense, Identity) or _is_off(defense)
    acts = neutral or defended.digest != model.digest
    _need(defense, "acts", acts, "the defended classifier has the digest of the undefended one, so it does nothing.")
    kept = (tuple(defended.input_shape), defended.num_classes) == (tuple(model.input_shape), model.num_classes)
    _need(defense, "shape", kept, "input shape or number of classes changes.")
    _check_predictions(defense, model, defended, x)
    if not neutral:
        _check_stochastic(defense, defended, x)
        _check_differentiable(defense, defended, x)
    if defense.traits.off and defense.traits.stage is Stage.INFERENCE:
        _check_off(defense, model, data, x)
    _check_on_coin(defense, data, x)


def _applied(defense: Defense, model: Classifier, data: Any, seed: int = 1) -> Classifier:
    full = defense
    if defense.traits.stage is Stage.TRAINING and not isinstance(defense, Leader | Stack):
        full = compose(registry.create("defense", "plain-training", epochs=1), defense)
    return _untouched(
        defense, [model], {}, lambda: full.apply(model, Context(train=data, seed=SeedStream(5))), seed=seed
    )


def _is_off(defense: Defense) -> bool:
    off = defense.traits.off
    return bool(off) and all(getattr(defense, k) == v for k, v in off.items())


def _predict(defense: Defense, models: Sequence[Classifier], x: Tensor, stream: int = 0, seed: int = 1) -> Answer:
    """The answer of the last of `models`, all of which must stay as they are."""
    return _untouched(
        defense, models, {"x": x}, lambda: models[-1].predict(x, noise=SeedStream(9, (stream,))), seed=seed
    )


def _same_answer(a: Answer, b: Answer) -> bool:
    return all(_same(p, q) for p, q in zip(a, b, strict=True))


def _row(answer: Answer, row: int) -> Answer:
    return Answer(*(None if part is None else part[row] for part in answer))  # type: ignore[arg-type]


def _check_answer(plugin: Plugin, answer: Answer, n: int, *, abstains: bool) -> None:
    labels = answer.labels
    _need(plugin, "answer", labels.shape == (n,) and labels.dtype == torch.int64, "labels are not int64 (n,).")
    lowest = int(labels.min())
    _need(plugin, "answer", lowest >= (-1 if abstains else 0), f"a label is {lowest}; only -1 of an abstainer may be.")
    _need(plugin, "answer", int(labels.max()) < CLASSES, "a label is no class.")
    for name in ("scores", "logits"):
        part = getattr(answer, name)
        fits = part is None or (
            part.shape == (n, CLASSES) and part.dtype == torch.float32 and bool(part.isfinite().all())
        )
        _need(plugin, "answer", fits, f"{name} are not finite float32 (n, num_classes).")


def _check_predictions(defense: Defense, model: Classifier, defended: Classifier, x: Tensor) -> None:
    both = [model, defended]
    first = _predict(defense, both, x)
    _check_answer(defense, first, len(x), abstains=defense.traits.abstains)
    repeats = _same_answer(first, _predict(defense, both, x, seed=2))
    _need(defense, "seeded", repeats, "the same stream and batch give another answer.")
    with torch.inference_mode():
        inside = defended.predict(x, noise=SeedStream(9, (0,)))
    _need(defense, "inference-mode", _same_answer(first, inside), "under torch.inference_mode it answers otherwise.")
    other, _ = _neighbours(x, torch.zeros(len(x)))
    alone = _same_answer(_row(first, 0), _row(_predict(defense, both, other), 0))
    _need(defense, "row-independence", alone, "an image's answer changes with its neighbours in the batch.")
    _untouched(defense, both, {}, lambda: _predict_wrong(defended, x))


def _predict_wrong(defended: Classifier, x: Tensor) -> None:
    """Ask about images of another size, which the network refuses half way; whatever is raised is of no interest."""
    with contextlib.suppress(Exception):
        defended.predict(x[:, :, :5, :5].contiguous(), noise=SeedStream(0))


def _check_stochastic(defense: Defense, defended: Classifier, x: Tensor) -> None:
    declared = defense.traits.stochastic
    _need(
        defense, "traits", defended.stochastic == declared, f"the classifier says stochastic = {defended.stochastic}."
    )
    first = _predict(defense, [defended], x)
    moved = any(not _same_answer(first, _predict(defense, [defended], x, stream)) for stream in range(1, 21))
    _need(
        defense,
        "traits",
        moved == declared,
        f"stochastic = {declared} is declared, but other streams give {'other answers' if moved else 'the same'}.",
    )


def _check_differentiable(defense: Defense, defended: Classifier, x: Tensor) -> None:
    declared, flows = defense.traits.differentiable, False
    if isinstance(defended, Differentiable):
        leaf = x.clone().requires_grad_(True)
        try:
            logits = defended.logits(leaf, noise=SeedStream(9))
            if logits.requires_grad:
                (gradient,) = torch.autograd.grad(
                    logits.logsumexp(1).sum() - logits[:, 0].sum(), leaf, allow_unused=True
                )
                flows = gradient is not None and bool(gradient.isfinite().all()) and bool((gradient != 0).any())
        except MissingCapability:
            pass
    words = "a gradient reaches the input" if flows else "no gradient reaches the input"
    _need(defense, "traits", flows == declared, f"differentiable = {declared} is declared, but {words}.")


def _check_off(defense: Defense, model: Classifier, data: Any, x: Tensor) -> None:
    off = dataclasses.replace(defense, **defense.traits.off)  # type: ignore[type-var]
    plain, answer = model.predict(x, noise=SeedStream(9)), _applied(off, model, data).predict(x, noise=SeedStream(9))
    given = ", ".join(f"{k}={v}" for k, v in defense.traits.off.items())
    _need(defense, "off-is-identity", _same_answer(plain, answer), f"with {given} it still changes answers.")


def _check_on_coin(defense: Defense, data: Any, x: Tensor) -> None:
    """On a classifier that shows nothing but random labels; defenses that need more must refuse it in words."""
    coin = CoinClassifier(0.6, SHAPE, CLASSES)
    try:
        defended = _applied(defense, coin, data)
    except (MissingCapability, BadData, BadParameter):
        return
    if isinstance(defense, Identity) or defense.traits.stage is Stage.INFERENCE:
        _need(
            defense, "traits", defended.stochastic, "around a stochastic classifier it says that it is deterministic."
        )
    repeats = _same_answer(_predict(defense, [coin, defended], x), _predict(defense, [coin, defended], x, seed=2))
    _need(defense, "seeded", repeats, "around a stochastic classifier the same stream gives another answer.")


# --------------------------------------------------------------------------------------------------------------- models


def check_model(model: Model) -> None:
    """Every contract of an architecture, on the smallest common image shape that it takes."""
    check_spec(model)
    shape = _accepted_shape(model)

    def fresh(seed: int, state: int = 1) -> TorchClassifier:
        return _untouched(model, [], {}, lambda: create(model, shape, CLASSES, seed=seed), seed=state)

    first = fresh(0)
    _need(model, "seeded", first.digest == fresh(0, 2).digest, "the same seed gives other weights.")
    if any(p.numel() for p in first.module.parameters()):
        _need(model, "seeded", first.digest != fresh(1).digest, "two seeds give the same weights.")
    x = torch.from_numpy(toy_split(ROWS, shape).floats())
    answer = _untouched(model, [first], {"x": x}, lambda: first.predict(x, noise=SeedStream(0)))
    _check_answer(model, answer, ROWS, abstains=False)
    other = first.predict(_neighbours(x, torch.zeros(ROWS))[0], noise=SeedStream(0))
    _need(
        model, "row-independence", _same_answer(_row(answer, 0), _row(other, 0)), "a row changes with its neighbours."
    )


def _accepted_shape(model: Model) -> tuple[int, int, int]:
    for shape in (SHAPE, (1, 28, 28), (3, 32, 32)):
        try:
            with torch.device("meta"):
                module = model.build(shape, CLASSES)
        except BadData:
            continue
        _need(
            model, "meta", all(p.is_meta for p in module.parameters()), "build() puts weights on a device of its own."
        )
        return shape
    _need(model, "shape", False, "it takes no image of 1x8x8, 1x28x28 or 3x32x32.")
    raise AssertionError
