"""docs/defenses.md shows stacks that exist, names every defense outside the network, and says what their traits say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from robustnoise import building, registry
from robustnoise.api import Context, Defense, Identity, SeedStream, Stage
from robustnoise.testing import toy_model, toy_split
from robustnoise_defenses.noise.inside import InsideDefense

TEXT = (Path(__file__).parents[2] / "docs" / "defenses.md").read_text(encoding="utf-8")
INFERENCE = TEXT.split("\n## Inference\n")[1].split("\n## ")[0]
STACKS = [line for block in re.findall(r"```text\n(.*?)```", INFERENCE, re.DOTALL) for line in block.splitlines()]
ROWS = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| [^|]+ \| (yes|no) \| [^|]+ \| ([^|]+) \|$", INFERENCE, re.MULTILINE)
NAMED = {name: (random, way) for names, random, way in ROWS for name in re.findall(r"`([\w-]+)`", names)}


@pytest.mark.parametrize("text", STACKS)
def test_its_stacks_build_and_answer(text: str) -> None:
    defense = building.build(text, "defense")
    assert building.build(building.describe(defense), "defense") == defense
    x = torch.from_numpy(toy_split(4).floats())
    victim = defense.apply(toy_model(), Context(train=toy_split(64)))
    assert victim.predict(x, noise=SeedStream(0)).labels.shape == (4,)


def test_its_table_names_every_defense_outside_the_network() -> None:
    found = [e for e in registry.registry().entries() if e.code is None and "/" not in e.name]
    outside = {
        e.name
        for e in found
        if issubclass(e.load(), Defense)
        and e.load().traits.stage is Stage.INFERENCE
        and not issubclass(e.load(), InsideDefense | Identity)
    }
    assert set(NAMED) == outside
    assert len(STACKS) == 7


@pytest.mark.parametrize("name", sorted(NAMED))
def test_its_table_says_what_the_traits_say(name: str) -> None:
    traits, (random, way) = registry.registry().find(name).traits, NAMED[name]
    assert traits.stochastic == (random == "yes")
    assert traits.differentiable == (way in ("flow", "straight through"))
    assert traits.softened == way.startswith("of the")
