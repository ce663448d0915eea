"""docs/trainings.md names every training and explains every field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robustnoise.api import Stage
from robustnoise.building import build
from robustnoise.registry import registry
from robustnoise.spec import parameter_names

TEXT = (Path(__file__).parents[3] / "docs" / "trainings.md").read_text(encoding="utf-8")
BUILT_IN = [e for e in registry().entries() if e.code is None and "/" not in e.name]
DEFENSES = {e.name: e.load() for e in BUILT_IN if e.load().kind == "defense"}
ELSEWHERE = {"noise-training"}  # docs/noise.md


@pytest.mark.parametrize("name", [n for n, d in DEFENSES.items() if d.traits.stage is Stage.TRAINING])  # type: ignore[attr-defined]
def test_every_training_and_field_is_explained(name: str) -> None:
    assert f"| `{name}` |" in TEXT
    fields = [] if name in ELSEWHERE else parameter_names(registry().find(name))
    missing = [f for f in fields if not re.search(rf"`[^`]*\b{f}\b[^`]*`", TEXT)]
    assert missing == []


def test_its_stacks_can_be_built() -> None:
    (block,) = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
    stacks = [build(line, "defense") for line in block.strip().splitlines()]
    assert len(stacks) == 3
