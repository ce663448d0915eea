"""The nets that ship: whole, as the documents say, and ready to be compared against."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import robustnoise as rn
from robustnoise.building import build, describe
from robustnoise.errors import BadData, BadParameter
from robustnoise_defenses.baselines import HERE, Baseline, Card, cards
from tools.baselines import SOURCES, document

ROOT = Path(__file__).parent.parent
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


@pytest.mark.parametrize("name", list(cards()))
def test_its_file_is_the_one_that_was_measured(name: str) -> None:
    card = cards()[name]
    assert hashlib.sha256((HERE / card.file).read_bytes()).hexdigest() == card.sha256
    fresh = rn.models.create(card.model, SHAPES[card.data])
    assert Baseline(name).apply(fresh, rn.Context()).input_shape == SHAPES[card.data]


@pytest.mark.parametrize("name", list(cards()))
def test_its_board_has_the_victim_that_it_is(name: str) -> None:
    card, source = cards()[name], SOURCES[name]
    board = rn.Leaderboard(ROOT / "leaderboards" / source.board)
    victim = next(v for v in board.board.victims if v.name == source.victim)
    assert describe(victim.defense) == card.training
    row = next(row for row in board.rows() if row.victim.victim["name"] == source.victim)
    assert round(100 * row.victim.clean.accuracy, 2) == card.clean


def test_the_document_lists_them() -> None:
    assert document() in (ROOT / "docs" / "defenses.md").read_text(encoding="utf-8")


def test_it_takes_the_place_of_a_training_in_a_stack() -> None:
    stack = build("baseline(mnist-pgd) | layer-noise(20)", "defense")
    digits = rn.load_dataset("mnist-5k")
    victim = stack.apply(rn.models.create("mlp"), rn.Context(train=digits.train))
    assert victim.stochastic


def test_an_unknown_name_and_other_images_are_refused() -> None:
    with pytest.raises(BadParameter, match="Did you mean 'mnist-pgd'"):
        Baseline("mnist-pdg")
    with pytest.raises(BadData, match="images"):
        Baseline("mnist-pgd").apply(rn.models.create("mlp", (3, 32, 32)), rn.Context())


def test_a_card_is_checked() -> None:
    with pytest.raises(ValueError, match="extra"):
        Card.model_validate({**next(iter(cards().values())).model_dump(), "extra": 1})
