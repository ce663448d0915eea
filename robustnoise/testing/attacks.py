"""The contracts of crafters, attacks and substitutes."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.blocks import to_tensor
from robustnoise.errors import BadParameter, MissingCapability, RobustnoiseError
from robustnoise.models.classifier import TorchClassifier
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import (
    Answer,
    AttackResult,
    BlackBoxAttack,
    Classifier,
    Context,
    Crafter,
    Substitute,
    Targets,
    TwoStage,
    WhiteBox,
)
from robustnoise.seeds import SeedStream
from robustnoise.spec import Plugin
from robustnoise.testing.common import EPS, ROWS, apart, check_spec, identical, need, neighbours, quick, untouched
from robustnoise.testing.defenses import _check_answer
from robustnoise.testing.toys import (
    CLASSES,
    SHAPE,
    linear_optimum,
    linear_toy,
    toy_model,
    toy_split,
)
from robustnoise.threat import Access, Norm, ThreatModel

STOPS = (1, 20)
"""Queries for an image at which an attack that asks is stopped for its images, early and late."""


def check_crafter(crafter: Crafter) -> None:
    """Every contract of a crafter, for each norm that it doesn't refuse with `BadParameter`."""
    check_spec(crafter)
    crafter = quick(crafter).informed(toy_split(40, first_id=1000, name="attacker"))
    accepted = [norm for norm in Norm if _crafter_accepts(crafter, norm)]
    need(crafter, "norms", bool(accepted), "it refuses both norms.")


def _crafter_accepts(crafter: Crafter, norm: Norm) -> bool:
    source = toy_model()
    levels, x, y = _images(toy_split(ROWS))

    def craft(x: Tensor, y: Tensor, eps: float, seed: int = 1, source: Classifier = source) -> Tensor:
        threat = ThreatModel(norm, eps)
        return untouched(
            crafter, [source], {"x": x, "y": y}, lambda: crafter.craft(source, x, y, threat, SeedStream(3)), seed=seed
        )

    try:
        first = craft(x, y, EPS[norm])
    except BadParameter:
        return False
    _check_images(crafter, levels, x, first, ThreatModel(norm, EPS[norm]))
    _check_repeats(crafter, first, craft(x, y, EPS[norm], seed=2))
    _check_zero(crafter, levels, x, craft(x, y, 0.0), norm)
    other_x, other_y = neighbours(x, y)
    _check_rows(crafter, first[:1], craft(other_x, other_y, EPS[norm])[:1])
    with contextlib.suppress(_ToyError):
        craft(x, y, EPS[norm], source=_Failing(source))  # states are compared also after a raise
    toy = linear_toy()
    levels, x, y = _images(toy_split(32, num_classes=2, seed=1))
    threat = ThreatModel(norm, EPS[norm])
    loss = _loss(toy, craft(x, y, threat.eps, source=toy), y)
    noise = max(_loss(toy, _random_point(x, threat, draw), y) for draw in range(10))
    best = _loss(toy, linear_optimum(toy, x, y, threat), y)
    need(
        crafter,
        "beats-noise",
        loss > noise + 0.1 * (best - noise),
        f"on a linear toy under {norm} its loss is {loss:.4f}, that of noise {noise:.4f}, the optimum {best:.4f}.",
    )
    return True


def check_attack(attack: BlackBoxAttack) -> None:
    """Every contract of an attack, for each norm that it doesn't refuse with `BadParameter`.

    An audit needs the victim itself: its crafter is checked, and that it refuses to run through an oracle.
    """
    check_spec(attack)
    if attack.traits.audit:
        _check_audit(attack)
        return
    attack = quick(attack)
    accepted = [norm for norm in Norm if _attack_accepts(attack, norm)]
    need(attack, "norms", bool(accepted), "it refuses both norms.")


def _check_audit(attack: BlackBoxAttack) -> None:
    traits = attack.traits
    need(attack, "audit", isinstance(attack, WhiteBox), "it has no `crafter` for the harness to give the victim to.")
    promised = traits.access is Access.GRADIENTS and not traits.queries
    need(attack, "audit", promised, f"its traits are {traits}: expected access GRADIENTS and no queries.")
    assert isinstance(attack, WhiteBox)
    check_crafter(attack.crafter)
    _, x, y = _images(toy_split(ROWS))
    threat = ThreatModel(Norm.LINF, EPS[Norm.LINF])
    try:
        attack.run(None, toy_split(40), Targets(torch.arange(len(x)), x, y), threat, SeedStream(3))
    except MissingCapability:
        return
    need(attack, "audit", False, "it runs without the victim; raise MissingCapability in `run`.")


def _attack_accepts(attack: BlackBoxAttack, norm: Norm) -> bool:
    victim = toy_model()
    data = toy_split(40, first_id=1000, name="attacker")
    levels, x, y = _images(toy_split(ROWS))

    def run(
        x: Tensor,
        y: Tensor,
        eps: float,
        *,
        seed: int = 1,
        total: int | None = None,
        per_image: int | None = 60,
        stops: tuple[int, ...] = (),
    ) -> AttackResult:
        threat = ThreatModel(norm, eps, attack.traits.access)
        oracle = _oracle(attack.traits.queries, victim, threat, total, per_image, stops)
        targets = Targets(torch.arange(len(x)), x, y)
        action = lambda: attack.run(oracle, data, targets, threat, SeedStream(3))  # noqa: E731
        result = untouched(attack, [victim], {"x": x, "y": y, "ids": targets.ids}, action, seed=seed)
        spent = _check_budget(attack, oracle, total)
        why = f"it reports {result.queries} queries; the oracle answered {spent}."
        need(attack, "queries", result.queries == spent, why)
        return result

    try:
        first = run(x, y, EPS[norm]).x
    except BadParameter:
        return False
    _check_images(attack, levels, x, first, ThreatModel(norm, EPS[norm]))
    _check_repeats(attack, first, run(x, y, EPS[norm], seed=2).x)
    _check_zero(attack, levels, x, run(x, y, 0.0).x, norm)
    other_x, other_y = neighbours(x, y)
    _check_rows(attack, first[:1], run(other_x, other_y, EPS[norm]).x[:1])
    if attack.traits.queries:
        # Without a query a substitute has nothing to learn and may refuse.
        for total in (7, 30) if isinstance(attack, TwoStage) else (0, 7, 30):
            result = run(x, y, EPS[norm], total=total, per_image=None)
            _check_images(attack, levels, x, result.x, ThreatModel(norm, EPS[norm]))
    if not attack.traits.control:
        moved = not identical(run(x, y, 4 * EPS[norm], per_image=500).x, x)
        need(attack, "acts", moved, f"it hands in every image as it was under {norm}, eps = {4 * EPS[norm]:g}.")
    if attack.traits.queries and not isinstance(attack, TwoStage):
        result = run(x, y, EPS[norm], stops=STOPS)
        _check_trace(attack, levels, x, result, ThreatModel(norm, EPS[norm]))
        _check_trace(attack, levels, x, run(x, y, 0.0, stops=STOPS), ThreatModel(norm, 0.0))
        need(attack, "stops", identical(result.x, first), "it ends with other images where the oracle has stops.")
    return True


def check_substitute(substitute: Substitute) -> None:
    """Every contract of a substitute."""
    check_spec(substitute)
    substitute = quick(substitute)
    victim, data = toy_model(), toy_split(40)
    threat = ThreatModel(Norm.LINF, 0.1, substitute.traits.access)

    def fit(seed: int, total: int | None) -> Classifier:
        oracle = _oracle(substitute.traits.queries, victim, threat, total, None)
        networks = untouched(
            substitute, [victim], {}, lambda: substitute.fit(oracle, data, Context(seed=SeedStream(5))), seed=seed
        )
        _check_budget(substitute, oracle, total)
        return substitute.source(networks, data, Context(seed=SeedStream(5)))

    source = fit(1, None)
    fits = (tuple(source.input_shape), source.num_classes) == (SHAPE, CLASSES)
    need(substitute, "shape", fits, f"its source takes {source.input_shape} and has {source.num_classes} classes.")
    answer = source.predict(_images(data)[1], noise=SeedStream(0))
    _check_answer(substitute, source, answer, len(data), abstains=False)
    need(substitute, "seeded", source.digest == fit(2, None).digest, "the same seed gives two different sources.")
    if substitute.traits.queries:
        for total in (7, 30):
            fit(1, total)


def _oracle(
    queries: bool,
    victim: Classifier,
    threat: ThreatModel,
    total: int | None,
    per_image: int | None,
    stops: tuple[int, ...] = (),
) -> CountingOracle | None:
    """Just as the harness has it: an attack whose traits say that it asks nothing gets no oracle."""
    if not queries:
        return None
    access = min(threat.access, Access.LOGITS)
    shown = dataclasses.replace(threat, access=access)
    return CountingOracle(victim, shown, SeedStream(7), per_image=per_image, total=total, stops=stops)


def _check_budget(plugin: Plugin, oracle: CountingOracle | None, total: int | None) -> int:
    """What was spent."""
    spent = oracle.spent if oracle else 0
    need(plugin, "budget", total is None or spent <= total, f"it spent {spent} of {total} queries.")
    return spent


def _check_images(plugin: Plugin, levels: Tensor, x: Tensor, out: Tensor, threat: ThreatModel) -> None:
    need(plugin, "shape", out.shape == x.shape, f"{tuple(x.shape)} became {tuple(out.shape)}.")
    need(plugin, "dtype", out.dtype == torch.float32, f"the images are {out.dtype}, not float32.")
    need(plugin, "finite", bool(out.isfinite().all()), "some pixels are NaN or infinite.")
    need(plugin, "bounds", bool(((out >= 0) & (out <= 1)).all()), "some pixels are outside [0, 1].")
    outside = threat.violation(x, out).max().item()
    need(plugin, "eps", outside <= 1e-5, f"an image is {outside:.3g} outside the {threat.norm} ball of {threat.eps:g}.")
    rounded = threat.violation(levels, threat.to_levels(levels, out)).max().item()
    need(plugin, "eps-levels", rounded <= 1e-6, f"as 8-bit levels an image is {rounded:.3g} outside the ball.")


def _check_trace(attack: Plugin, levels: Tensor, x: Tensor, result: AttackResult, threat: ThreatModel) -> None:
    missing = [stop for stop in STOPS if stop not in result.trace]
    need(attack, "stops", not missing, f"its trace has no images for {missing} of the oracle's stops {list(STOPS)}.")
    for stop in STOPS:
        _check_images(attack, levels, x, result.trace[stop], threat)


def _check_zero(plugin: Plugin, levels: Tensor, x: Tensor, out: Tensor, norm: Norm) -> None:
    _check_images(plugin, levels, x, out, ThreatModel(norm, 0.0))
    same = bool((ThreatModel(norm, 0.0).to_levels(levels, out) == levels).all())
    need(plugin, "zero-eps", same and identical(x, out), f"with eps = 0 images and input are {apart(x, out)}.")


def _check_repeats(plugin: Plugin, first: Tensor, second: Tensor) -> None:
    need(
        plugin,
        "seeded",
        identical(first, second),
        f"the same seeds give other images the second time, {apart(first, second)}.",
    )


def _check_rows(plugin: Plugin, row: Tensor, again: Tensor) -> None:
    why = f"an image's result changes with its neighbours in the batch: {apart(row, again)}."
    need(plugin, "row-independence", identical(row, again), why)


def _images(split: Any) -> tuple[Tensor, Tensor, Tensor]:
    return to_tensor(split.images), torch.from_numpy(split.floats()), to_tensor(split.labels)


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
