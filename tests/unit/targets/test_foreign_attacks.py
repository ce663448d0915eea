"""Attacks of other libraries on targets: both draw from global generators, one inside the other."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch

import robustnoise as rn
from robustnoise.building import build
from robustnoise.foreign import seeded_globals
from robustnoise.testing.toys import CLASSES, SHAPE, toy_dataset
from robustnoise.threat import Access


def draws() -> list[float]:
    """One of each global generator, and of a bare `RandomState`."""
    bare: Any = np.random.RandomState()
    assert isinstance(bare, np.random.RandomState)
    assert not isinstance(0, np.random.RandomState)
    return [random.random(), np.random.rand(), torch.rand(1).item(), bare.rand()]  # noqa: NPY002


def test_seeded_blocks_nest_and_each_goes_on_where_it_was() -> None:
    real = np.random.RandomState
    with seeded_globals(1):
        alone = [draws(), draws()]
    with seeded_globals(2):
        inside = draws()
    with seeded_globals(1):
        first = draws()
        with seeded_globals(2):
            assert draws() == inside
            with seeded_globals(1):
                assert draws() == alone[0]
        with pytest.raises(ZeroDivisionError), seeded_globals(3):
            _ = 1 / 0
        assert [first, draws()] == alone
    assert np.random.RandomState is real


def test_a_seeded_generator_can_be_copied() -> None:
    with seeded_globals(1):
        made = np.random.RandomState()
        assert pickle.loads(pickle.dumps(made)).rand() == made.rand()


def noisy_rows(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Probabilities by the mean of three parts of the image, with noise of numpy's global generator and of its own."""
    parts = np.stack([part.mean(1) for part in np.array_split(x.reshape(len(x), -1), CLASSES, axis=1)], axis=1)
    noise = np.random.rand(len(x), 1) + np.random.RandomState().rand(len(x), 1)  # noqa: NPY002
    scores = np.exp(20 * parts + 0.01 * noise)
    return scores / scores.sum(1, keepdims=True)


@pytest.mark.adapter
@pytest.mark.parametrize(
    ("text", "access"),
    [
        ("art(SquareAttack, 'max_iter=5')", Access.SCORES),
        ("foolbox(LinfAdditiveUniformNoiseAttack)", Access.LABELS),
        (
            "transfer(art-extraction(CopycatCNN, 'nb_epochs=1', model=mlp(hidden=8)), pgd(steps=2))",
            Access.LABELS,
        ),
    ],
)
def test_attacks_of_other_libraries_run_on_a_function(text: str, access: Access) -> None:
    victim = rn.models.from_callable(
        noisy_rows, name="noisy rows", output="probabilities", stochastic=True, input_shape=SHAPE, num_classes=CLASSES
    )
    threat, budget = rn.Linf(0.3, access), rn.Budget(per_image=30)
    data, state = toy_dataset(8), np.random.get_state()[1].tolist()  # noqa: NPY002
    record = rn.evaluate(victim, build(text, "attack"), data=data, threat=threat, budget=budget, threads=1)
    assert record.victim.queries > 0
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
