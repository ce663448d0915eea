"""docs/substitutes.md names every substitute and explains every field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robustnoise.registry import registry
from robustnoise.spec import parameter_names

TEXT = (Path(__file__).parents[3] / "docs" / "substitutes.md").read_text(encoding="utf-8")
BUILT_IN = [e for e in registry().entries() if e.code is None and "/" not in e.name]


@pytest.mark.parametrize("name", [e.name for e in BUILT_IN if e.load().kind == "substitute"])
def test_every_substitute_and_field_is_explained(name: str) -> None:
    assert f"| `{name}` |" in TEXT
    fields = parameter_names(registry().find(name))
    missing = [f for f in fields if not re.search(rf"`[^`]*\b{f}\b[^`]*`", TEXT)]
    assert missing == []
