"""Every order of two and three registered defenses composes, or says why not; a few stacks that hold all pairs run.

All of it follows from the registry, so that a new defense is composed with every other by being registered.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

import robustnoise as rn
from robustnoise.api import Classifier, Context, Defense, Identity, RobustnoiseError, SeedStream, Stage
from robustnoise.board import load_board
from robustnoise.building import describe
from robustnoise.compose import Leader, compose, split_stages
from robustnoise.errors import BadParameter, BadSpec, MissingCapability
from robustnoise.harness.runner import run
from robustnoise.store import Store
from robustnoise.testing import quick, toy_model, toy_split
from tests.contracts.covering import pairs_in, pairwise_cover
from tests.contracts.made import built_in, made

NAMES = [e.name for e in built_in() if issubclass(e.load(), Defense)]
ATTACKS = ("null", "random-noise", "shared")
LONGEST = 4
"""Stages of a stack that is run."""
DEAREST = 64
"""Passes of an answer, but for stacks of two: votes over votes over votes are legal and take minutes."""
FEW = (2, 3, 5, 9, 17)
"""Values that `_cheaper` tries for a whole number."""


@pytest.fixture(scope="module")
def defenses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Defense]:
    """Every registered defense, shortened and with as few passes as it takes."""
    folder = tmp_path_factory.mktemp("made")
    found = {name: _cheaper(quick(made(name, folder))) for name in NAMES}
    assert {d.traits.stage for d in found.values()} == set(Stage)
    return found


def _cheaper(defense: Defense) -> Defense:
    """`defense` with those of its whole numbers lowered on which the passes of an answer depend."""
    if defense.traits.stage is Stage.TRAINING:
        return defense
    passes = _passes(defense)
    for field in dataclasses.fields(defense):  # type: ignore[arg-type]
        for value in FEW if type(getattr(defense, field.name)) is int and passes > 1 else ():
            with contextlib.suppress(RobustnoiseError):
                other = dataclasses.replace(defense, **{field.name: value})  # type: ignore[type-var]
                if 1 < _passes(other) < passes:
                    defense, passes = other, _passes(other)
    return defense


def _passes(defense: Defense) -> int:
    return defense.apply(toy_model(), Context(train=toy_split(64))).passes


def _fault(parts: Sequence[Defense]) -> str | None:
    """Why `parts` are no stack, from the rules in words: training first, and one of it leads."""
    parts = [p for p in parts if not isinstance(p, Identity)]
    if len(parts) < 2:
        return None
    stages = ["i" if p.traits.stage is Stage.INFERENCE else "l" if isinstance(p, Leader) else "h" for p in parts]
    order = "".join(stages)
    if "i" in order.rstrip("i"):
        return "acts while training and can't follow"
    leaders = order.count("l")
    return None if leaders == 1 or order == "i" * len(order) else f"{leaders} stages lead a training run"


@pytest.mark.parametrize("length", [2, 3])
def test_every_order_composes_or_says_why(defenses: dict[str, Defense], length: int) -> None:
    legal = 0
    for names in product(NAMES, repeat=length):
        parts = [defenses[name] for name in names]
        fault = _fault(parts)
        if fault is None:
            stack = compose(*parts)
            kept = tuple(p for p in parts if not isinstance(p, Identity))
            assert stack.stages() == kept
            assert stack == parts[0] | compose(*parts[1:]) if _fault(parts[1:]) is None else True
            legal += 1
            continue
        with pytest.raises(BadSpec) as refused:
            compose(*parts)
        message = str(refused.value)
        assert fault in message
        assert all(type(p).__name__ in message for p in parts if not isinstance(p, Identity))
        assert "Put training stages first" in message or "exactly one must" in message
    assert 0 < legal < len(NAMES) ** length


class Applied:
    """Stacks applied to a tiny network; trainings and prefixes of stacks are made once."""

    def __init__(self, defenses: dict[str, Defense]) -> None:
        self.defenses = defenses
        self.context = Context(train=toy_split(64), seed=SeedStream(5))
        self.made: dict[tuple[str, ...], Classifier | RobustnoiseError] = {}

    def classifier(self, names: tuple[str, ...]) -> Classifier:
        """The toy behind the stack `names`.

        Raises:
            RobustnoiseError: why it can't be.
        """
        if names not in self.made:
            try:
                self.made[names] = self._apply(names)
            except RobustnoiseError as error:
                self.made[names] = error
        found = self.made[names]
        if isinstance(found, RobustnoiseError):
            raise found
        return found

    def _apply(self, names: tuple[str, ...]) -> Classifier:
        stack = compose(*(self.defenses[name] for name in names))
        training, inference = split_stages(stack)
        if not inference.stages():
            return training.apply(toy_model(), self.context) if training.stages() else toy_model()
        return self.defenses[names[-1]].apply(self.classifier(names[:-1]), self.context)

    def refusal(self, names: tuple[str, ...]) -> str | None:
        """Why the stack can't be; None where it can."""
        try:
            self.classifier(names)
        except (BadSpec, BadParameter, MissingCapability) as error:
            return str(error)
        return None


def test_every_pair_at_inference_answers_or_says_why(defenses: dict[str, Defense]) -> None:
    applied = Applied(defenses)
    x = torch.from_numpy(toy_split(2, seed=2).floats())
    names = [name for name in NAMES if defenses[name].traits.stage is Stage.INFERENCE]
    answered = 0
    for pair in product(names, repeat=2):
        why = applied.refusal(pair)
        if why is not None:
            assert len(why.split()) > 8, why
            continue
        defended = applied.classifier(pair)
        first, again = (defended.predict(x, noise=SeedStream(0)) for _ in range(2))
        assert first.labels.shape == (2,)
        assert torch.equal(first.labels, again.labels)
        assert defended.passes >= max(applied.classifier((name,)).passes for name in pair)
        answered += 1
    assert answered > len(names)


BOARD = """
schema = 1
name = "cover"
[data]
name = "bands.npz"
train = 120
attacker = 30
validation = 12
evaluation = 18
[threat]
norm = "linf"
eps = 0.1
[run]
model = "mlp(hidden=16)"
undefended = "plain"
draws = 2
threads = 1
[attacks]
null = "null"
random-noise = "random-noise"
shared = "transfer(independent(plain-training(epochs=3), mlp(hidden=16)), fgsm)"
[victims]
"""


def _bands(path: Path) -> None:
    """240 noisy images of 8x8 pixels; the class is which band of rows is bright."""
    draw = SeedStream(0, ("bands",)).numpy()
    labels = np.arange(240) % 3
    images = draw.integers(0, 120, (240, 8, 8))
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 2] += 120
    np.savez(path, x=images.astype(np.uint8), y=labels.astype(np.int64), num_classes=np.int64(3))


TRAINED = "plain-training(epochs=20, batch_size=20)"


def _victim(parts: Sequence[Defense]) -> str:
    """A victim of a board: behind a training, since random weights aren't measured."""
    text = " | ".join(describe(p) for p in parts)
    return text if parts[0].traits.stage is Stage.TRAINING else f"{TRAINED} | {text}"


@pytest.fixture(scope="module")
def cover(defenses: dict[str, Defense]) -> list[tuple[str, ...]]:
    """Stacks of at most `LONGEST` stages in which every ordered pair of defenses stands that can."""
    names = [name for name in NAMES if not isinstance(defenses[name], Identity)]
    applied = Applied(defenses)

    def runs(stack: tuple[str, ...]) -> bool:
        return not applied.refusal(stack) and (len(stack) == 2 or applied.classifier(stack).passes <= DEAREST)

    found, hopeless = pairwise_cover(names, runs, longest=LONGEST)
    covered = set().union(*map(pairs_in, found))
    assert covered.isdisjoint(hopeless)
    assert covered | hopeless == set(product(names, repeat=2))
    assert all(applied.refusal(pair) for pair in hopeless)
    held = LONGEST * (LONGEST - 1) // 2
    assert len(found) <= 2.5 * len(covered) / held  # about one new pair in every two places
    return found


@pytest.mark.slow
def test_a_pairwise_cover_runs_and_is_scored(
    defenses: dict[str, Defense], cover: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _bands(tmp_path / "bands.npz")
    victims = {f"s{i}": _victim([defenses[name] for name in names]) for i, names in enumerate(cover)}
    lines = [f"{name} = '{text}'\n" for name, text in {"plain": TRAINED, **victims}.items()]
    (tmp_path / "board.toml").write_text(BOARD + "".join(lines), encoding="utf-8")
    board = rn.Leaderboard(tmp_path)
    board.add(*run(load_board(tmp_path).experiment(), Store(tmp_path / "store")))
    board.write_report()
    assert board.verify() == []

    frame = board.to_frame()
    assert set(zip(frame.victim, frame.attack, strict=True)) >= set(product(["plain", *victims], ATTACKS))
    assert frame.clean.between(0, 1).all()
    # Bands are easy: a trained net finds them, and defenses at their defaults leave most of that.
    assert frame[frame.victim == "plain"].clean.min() > 0.9
    trained = [name for name, text in victims.items() if text.startswith(TRAINED)]
    assert frame[frame.victim.isin(trained)].clean.median() > 0.9
    # Without draws, images that are handed in as they are keep their answers.
    stacks = zip(victims, cover, strict=True)
    still = [name for name, names in stacks if not any(defenses[n].traits.stochastic for n in names)]
    calm = frame[frame.victim.isin(still) & (frame.attack == "null")]
    assert len(calm) == len(still) > 0
    assert (calm["drop"] == 0).all()
