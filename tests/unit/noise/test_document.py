"""docs/noise.md shows stacks that exist, and what they are when they are off."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robustnoise import building, registry
from robustnoise_defenses.noise.inside import InsideDefense
from tests.unit.noise.nets import CTX, every_kind

DOCUMENT = (Path(__file__).parents[3] / "docs" / "noise.md").read_text(encoding="utf-8")
STACKS = [line for block in re.findall(r"```text\n(.*?)```", DOCUMENT, re.DOTALL) for line in block.splitlines()]
OFF = re.findall(r"^\| `([\w-]+)` \|.*\| `(\w+)=([\w.]+)` \|$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("text", STACKS)
def test_its_stacks_build(text: str) -> None:
    defense = building.build(text, "defense")
    assert building.build(building.describe(defense), "defense") == defense


def test_its_table_is_whole_and_says_when_an_object_is_off() -> None:
    inside = [e.name for e in registry.registry().entries() if e.code is None and issubclass(e.load(), InsideDefense)]
    assert sorted(name for name, _, _ in OFF) == sorted(inside)
    net = every_kind()
    for name, field, value in OFF:
        assert building.build(f"{name}({field}={value})", "defense").apply(net, CTX) is net
    assert len(STACKS) == 9
