"""The contracts of defenses and models."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from robustnoise import building
from robustnoise.compose import Defense, Identity, Leader, Stack, compose
from robustnoise.errors import BadData, BadParameter, MissingCapability
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.fresh import create
from robustnoise.protocols import (
    Answer,
    Classifier,
    Context,
    Differentiable,
    Model,
    Softened,
    Stage,
)
from robustnoise.seeds import SeedStream
from robustnoise.spec import Plugin
from robustnoise.testing.common import ROWS, apart, check_spec, identical, need, neighbours, quick, untouched
from robustnoise.testing.repeats import check_repeats
from robustnoise.testing.toys import (
    CLASSES,
    SHAPE,
    CoinClassifier,
    toy_model,
    toy_split,
)


def check_defense(defense: Defense) -> None:
    """Every contract of a defense."""
    check_spec(defense)
    neutral = compose(Identity(), defense) == defense == compose(defense, Identity())
    need(defense, "identity-neutral", neutral, "composing it with Identity gives something else.")
    defense = quick(defense)
    model, data = toy_model(), toy_split(64)
    x = torch.from_numpy(toy_split(ROWS * 2, seed=2).floats())
    defended = _applied(defense, model, data)
    again = _applied(defense, model, data, seed=2)
    need(defense, "seeded", defended.digest == again.digest, "the same context gives two different digests.")
    neutral = isinstance(defense, Identity) or _is_off(defense)
    acts = neutral or defended.digest != model.digest
    need(defense, "acts", acts, "the defended classifier has the digest of the undefended one, so it does nothing.")
    kept = (tuple(defended.input_shape), defended.num_classes) == (tuple(model.input_shape), model.num_classes)
    need(defense, "shape", kept, "input shape or number of classes changes.")
    _check_predictions(defense, model, defended, x)
    if not neutral:
        _check_stochastic(defense, defended, x)
        _check_differentiable(defense, defended, x)
    if defense.traits.off and defense.traits.stage is Stage.INFERENCE:
        _check_off(defense, model, data, x)
    _check_on_coin(defense, data, x)
    if defense.traits.stage is Stage.INFERENCE:
        _check_one_noise(defense, data, x)
        check_repeats(defense, data, x)


def _applied(defense: Defense, model: Classifier, data: Any, seed: int = 1) -> Classifier:
    full = defense
    if defense.traits.stage is Stage.TRAINING and not isinstance(defense, Leader | Stack):
        full = compose(building.create("defense", "plain-training", epochs=1), defense)
    return untouched(
        defense, [model], {}, lambda: full.apply(model, Context(train=data, seed=SeedStream(5))), seed=seed
    )


def _is_off(defense: Defense) -> bool:
    off = defense.traits.off
    return bool(off) and all(getattr(defense, k) == v for k, v in off.items())


def _predict(defense: Defense, models: Sequence[Classifier], x: Tensor, stream: int = 0, seed: int = 1) -> Answer:
    """The answer of the last of `models`, all of which must stay as they are."""
    return untouched(
        defense, models, {"x": x}, lambda: models[-1].predict(x, noise=SeedStream(9, (stream,))), seed=seed
    )


def _same_answer(a: Answer, b: Answer) -> bool:
    return all(identical(p, q) for p, q in zip(a, b, strict=True))


def _answers_apart(a: Answer, b: Answer) -> str:
    """Where two answers differ, in words."""
    parts = [(name, p, q) for name, p, q in zip(Answer._fields, a, b, strict=True) if not identical(p, q)]
    return "; ".join(f"{name} are {apart(p, q)}" for name, p, q in parts)


def _row(answer: Answer, row: int) -> Answer:
    return _rows(answer, slice(row, row + 1))


def _rows(answer: Answer, rows: slice) -> Answer:
    return Answer(*(None if part is None else part[rows] for part in answer))  # type: ignore[arg-type]


def _near(a: Answer, b: Answer) -> bool:
    """Equal but for the last digits, in which a matrix product depends on how many rows it has."""
    pairs = zip(a, b, strict=True)
    return all(identical(p, q) if p is None or q is None else torch.allclose(p, q, atol=1e-4) for p, q in pairs)


def _check_rows(
    plugin: Plugin, asked: Classifier, x: Tensor, answer: Answer, predict: Callable[[Tensor], Answer]
) -> None:
    """`answer` to `x` has rows that don't follow from other rows, nor from how many there are."""
    beside = _row(predict(neighbours(x, torch.zeros(len(x)))[0]), 0)
    why = f"an image's answer changes with its neighbours in the batch: {_answers_apart(_row(answer, 0), beside)}."
    need(plugin, "row-independence", _same_answer(_row(answer, 0), beside), why)
    if asked.stochastic:
        return  # another size draws other numbers
    few, fewer = _rows(answer, slice(len(x) // 2)), predict(x[: len(x) // 2])
    why = f"an image's answer changes with the size of the batch: {_answers_apart(few, fewer)}."
    need(plugin, "row-independence", _near(few, fewer), why)


def _check_answer(plugin: Plugin, asked: Classifier, answer: Answer, n: int, *, abstains: bool) -> None:
    labels = answer.labels
    need(plugin, "answer", labels.shape == (n,) and labels.dtype == torch.int64, "labels are not int64 (n,).")
    lowest = int(labels.min())
    need(plugin, "answer", lowest >= (-1 if abstains else 0), f"a label is {lowest}; only -1 of an abstainer may be.")
    need(plugin, "answer", int(labels.max()) < CLASSES, "a label is no class.")
    for name in ("scores", "logits"):
        part = getattr(answer, name)
        fits = part is None or (
            part.shape == (n, CLASSES) and part.dtype == torch.float32 and bool(part.isfinite().all())
        )
        need(plugin, "answer", fits, f"{name} are not finite float32 (n, num_classes).")
    spent = answer.passes
    if spent is not None:
        fits = spent.shape == (n,) and spent.dtype == torch.int64
        need(plugin, "passes", fits, "the passes of an answer are not int64 (n,).")
        within = bool(((spent >= 0) & (spent <= asked.passes)).all())
        need(plugin, "passes", within, f"an answer cost {spent.tolist()} passes, outside 0 to {asked.passes}.")


def _check_predictions(defense: Defense, model: Classifier, defended: Classifier, x: Tensor) -> None:
    both = [model, defended]
    first = _predict(defense, both, x)
    _check_answer(defense, defended, first, len(x), abstains=defense.traits.abstains)
    second = _predict(defense, both, x, seed=2)
    why = f"the same stream and batch give another answer: {_answers_apart(first, second)}."
    need(defense, "seeded", _same_answer(first, second), why)
    with torch.inference_mode():
        inside = defended.predict(x, noise=SeedStream(9, (0,)))
    why = f"under torch.inference_mode it answers otherwise: {_answers_apart(first, inside)}."
    need(defense, "inference-mode", _same_answer(first, inside), why)
    _check_rows(defense, defended, x, first, lambda rows: _predict(defense, both, rows))
    untouched(defense, both, {}, lambda: _predict_wrong(defended, x))


def _predict_wrong(defended: Classifier, x: Tensor) -> None:
    """Ask about images of another size, which the network refuses half way; whatever is raised is of no interest."""
    with contextlib.suppress(Exception):
        defended.predict(x[:, :, :5, :5].contiguous(), noise=SeedStream(0))


def _check_stochastic(defense: Defense, defended: Classifier, x: Tensor) -> None:
    declared = defense.traits.stochastic
    need(defense, "traits", defended.stochastic == declared, f"the classifier says stochastic = {defended.stochastic}.")
    first = _predict(defense, [defended], x)
    moved = any(not _same_answer(first, _predict(defense, [defended], x, stream)) for stream in range(1, 21))
    need(
        defense,
        "traits",
        moved == declared,
        f"stochastic = {declared} is declared, but other streams give {'other answers' if moved else 'the same'}.",
    )


def _check_differentiable(defense: Defense, defended: Classifier, x: Tensor) -> None:
    declared, flows = defense.traits.differentiable, isinstance(defended, Differentiable) and _flows(defended, x)
    words = "a gradient reaches the input" if flows else "no gradient reaches the input"
    need(defense, "traits", flows == declared, f"differentiable = {declared} is declared, but {words}.")
    softened = isinstance(defended, Softened)
    words = "has" if softened else "hasn't"
    need(
        defense,
        "traits",
        softened == defense.traits.softened,
        f"softened = {defense.traits.softened} is declared, but the classifier {words} a method of that name.",
    )
    if isinstance(defended, Softened):
        need(defense, "traits", _flows(defended.softened(), x), "no gradient flows through the stand-in.")


def _flows(model: Differentiable, x: Tensor) -> bool:
    """Whether a finite gradient that isn't 0 everywhere reaches the input."""
    leaf = x.clone().requires_grad_(True)
    try:
        logits = model.logits(leaf, noise=SeedStream(9))
    except MissingCapability:
        return False
    if not logits.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum() - logits[:, 0].sum(), leaf, allow_unused=True)
    return gradient is not None and bool(gradient.isfinite().all()) and bool((gradient != 0).any())


def _check_off(defense: Defense, model: Classifier, data: Any, x: Tensor) -> None:
    off = dataclasses.replace(defense, **defense.traits.off)  # type: ignore[type-var]
    plain, answer = model.predict(x, noise=SeedStream(9)), _applied(off, model, data).predict(x, noise=SeedStream(9))
    given = ", ".join(f"{k}={v}" for k, v in defense.traits.off.items())
    why = f"with {given} it still changes answers: {_answers_apart(plain, answer)}."
    need(defense, "off-is-identity", _same_answer(plain, answer), why)


def _check_one_noise(defense: Defense, data: Any, x: Tensor) -> None:
    """On a convolutional net, whose memory layout may decide where drawn numbers go."""
    defended = _applied(defense, create("norm-cnn(width=2)", SHAPE, CLASSES), data)
    answer = defended.predict(x, noise=SeedStream(9))
    if not isinstance(defended, Differentiable) or answer.logits is None:
        return
    logits = defended.logits(x.clone().requires_grad_(True), noise=SeedStream(9)).detach()
    same = torch.allclose(answer.logits, logits, atol=1e-4, rtol=1e-4)
    why = f"logits() and predict() meet other draws of one stream: logits are {apart(answer.logits, logits)}."
    need(defense, "one-noise", same, why)


def _check_on_coin(defense: Defense, data: Any, x: Tensor) -> None:
    """On a classifier that shows nothing but random labels; defenses that need more must refuse it in words."""
    coin = CoinClassifier(0.6, SHAPE, CLASSES)
    try:
        defended = _applied(defense, coin, data)
    except (MissingCapability, BadData, BadParameter):
        return
    if isinstance(defense, Identity) or defense.traits.stage is Stage.INFERENCE:
        need(defense, "traits", defended.stochastic, "around a stochastic classifier it says that it is deterministic.")
    try:
        first = _predict(defense, [coin, defended], x)
    except MissingCapability:  # only an answer shows that it holds labels alone
        return
    second = _predict(defense, [coin, defended], x, seed=2)
    why = f"around a stochastic classifier the same stream gives another answer: {_answers_apart(first, second)}."
    need(defense, "seeded", _same_answer(first, second), why)


def check_model(model: Model) -> None:
    """Every contract of an architecture, on the smallest common image shape that it takes."""
    check_spec(model)
    shape = _accepted_shape(model)

    def fresh(seed: int, state: int = 1) -> TorchClassifier:
        return untouched(model, [], {}, lambda: create(model, shape, CLASSES, seed=seed), seed=state)

    first = fresh(0)
    need(model, "seeded", first.digest == fresh(0, 2).digest, "the same seed gives other weights.")
    if any(p.numel() for p in first.module.parameters()):
        need(model, "seeded", first.digest != fresh(1).digest, "two seeds give the same weights.")
    x = torch.from_numpy(toy_split(ROWS, shape).floats())
    answer = untouched(model, [first], {"x": x}, lambda: first.predict(x, noise=SeedStream(0)))
    _check_answer(model, first, answer, ROWS, abstains=False)
    _check_rows(model, first, x, answer, lambda rows: first.predict(rows, noise=SeedStream(0)))


def _accepted_shape(model: Model) -> tuple[int, int, int]:
    for shape in (SHAPE, (1, 28, 28), (3, 32, 32), (1, 12, 4)):
        try:
            with torch.device("meta"):
                module = model.build(shape, CLASSES)
        except BadData:
            continue
        need(model, "meta", all(p.is_meta for p in module.parameters()), "build() puts weights on a device of its own.")
        return shape
    need(model, "shape", False, "it takes no image of 1x8x8, 1x28x28, 3x32x32 or 1x12x4.")
    raise AssertionError
