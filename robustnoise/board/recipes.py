"""Recipes: named texts of a board that stacks are written with, as ``{name}``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from robustnoise.errors import BadBoard, did_you_mean

PLACE = re.compile(r"\{([^{}]*)\}")
X = "x"
"""What stands for the value of a curve; no recipe may take the name."""


def expand_recipes(recipes: Mapping[str, str], origin: str) -> dict[str, str]:
    """Every recipe with the earlier ones that it uses written out.

    Raises:
        BadBoard: a recipe uses an unknown or a later one, or is called x.
    """
    found: dict[str, str] = {}
    for name, text in recipes.items():
        where = f"{origin}: recipes.{name}"
        if name == X:
            raise BadBoard(f"{where}: {{x}} stands for the value of a curve; give the recipe another name.")
        for used in PLACE.findall(text):
            if used in recipes and used not in found:
                raise BadBoard(f"{where}: uses {{{used}}}, which isn't above it. Put {used} first.")
        found[name] = expand(text, found, where)
    return found


def expand(text: str, recipes: Mapping[str, str], where: str, *, keep_x: bool = False) -> str:
    """`text` with every ``{name}`` replaced by that recipe.

    Args:
        text: a stack.
        recipes: written out already.
        where: file and key, for messages.
        keep_x: ``{x}`` stays, for a curve to put its values there.

    Raises:
        BadBoard: a name is no recipe.
    """

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name == X and keep_x:
            return match[0]
        if name not in recipes:
            advice = (
                " It stands for a value in the lines of curves alone." if name == X else did_you_mean(name, recipes)
            )
            known = ", ".join(recipes) or "none"
            raise BadBoard(f"{where}: {{{name}}} is no recipe of this board (known: {known}).{advice}")
        return recipes[name]

    return PLACE.sub(replaced, text)
