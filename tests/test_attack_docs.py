"""docs/attacks.md says what the recipes and the fields are."""

from __future__ import annotations

import re
from pathlib import Path

from robustnoise.building import stands_for
from robustnoise.registry import registry
from robustnoise.spec import parameter_names
from robustnoise_attacks import Gradient

TEXT = (Path(__file__).parent.parent / "docs" / "attacks.md").read_text(encoding="utf-8")


def recipe_table() -> str:
    """The named attacks, from the recipes."""
    lines = ["| name | stands for | source |", "|---|---|---|"]
    lines += [
        f"| `{r.name}` | `{stands_for(r)}` | {r.reference} |" for r in registry().recipes() if r.plugin == "gradient"
    ]
    return "\n".join(lines)


def test_the_table_of_named_attacks_is_that_of_the_recipes() -> None:
    found = re.search(r"<!-- recipes -->\n(.*?)\n<!-- /recipes -->", TEXT, re.DOTALL)
    assert found is not None
    assert found[1] == recipe_table()


def test_every_field_is_explained() -> None:
    missing = [name for name in parameter_names(Gradient) if not re.search(rf"`{name}[`=]", TEXT)]
    assert missing == []
