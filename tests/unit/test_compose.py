"""The algebra of defenses: neutral element, associativity, order of stages, one training run."""

from __future__ import annotations

from itertools import product

import pytest

from robustnoise.building import spec_of
from robustnoise.compose import Defense, Identity, Stack, compose, split_stages
from robustnoise.errors import BadSpec
from robustnoise.protocols import Stage
from robustnoise_defenses import GaussianInputNoise, LayerNoise, PGDTraining, PlainTraining, Vote

NOISE, LAYERS, VOTE, TRAIN = GaussianInputNoise(0.1), LayerNoise(20), Vote(4), PlainTraining()


@pytest.mark.parametrize("defense", [NOISE, VOTE, TRAIN, TRAIN | NOISE | VOTE], ids=str)
def test_identity_is_neutral(defense: Defense) -> None:
    assert Identity() | defense == defense == defense | Identity()
    assert compose() == Identity() == Identity() | Identity()


@pytest.mark.parametrize(("a", "b", "c"), list(product([Identity(), NOISE, LAYERS, VOTE], repeat=3)))
def test_composition_is_associative(a: Defense, b: Defense, c: Defense) -> None:
    assert (a | b) | c == a | (b | c)
    assert spec_of((a | b) | c).digest() == spec_of(a | (b | c)).digest()


def test_order_matters() -> None:
    assert NOISE | VOTE != VOTE | NOISE
    assert spec_of(NOISE | VOTE).digest() != spec_of(VOTE | NOISE).digest()


def test_training_after_inference_is_refused() -> None:
    with pytest.raises(BadSpec, match=r"Vote \| PlainTraining.*can't follow Vote"):
        VOTE | TRAIN
    with pytest.raises(BadSpec, match="Put training stages first"):
        TRAIN | NOISE | PGDTraining()


def test_two_leaders_are_refused() -> None:
    with pytest.raises(BadSpec, match=r"2 stages lead a training run \(PlainTraining, PGDTraining\)"):
        TRAIN | PGDTraining()


def test_a_defense_composes_with_defenses_alone() -> None:
    with pytest.raises(TypeError):
        NOISE | 3  # type: ignore[operator]


def test_stages_split_into_training_and_inference() -> None:
    assert split_stages(TRAIN | NOISE | VOTE) == (TRAIN, NOISE | VOTE)
    assert split_stages(TRAIN) == (TRAIN, Identity())
    assert split_stages(NOISE) == (Identity(), NOISE)
    assert split_stages(Identity()) == (Identity(), Identity())


def test_traits_of_a_stack_are_those_of_its_parts() -> None:
    stack = TRAIN | NOISE | VOTE
    assert isinstance(stack, Stack)
    assert stack.traits.stage is Stage.TRAINING
    assert stack.traits.stochastic
    assert not stack.traits.differentiable
    assert not stack.traits.abstains
    assert (TRAIN | NOISE).traits.differentiable
