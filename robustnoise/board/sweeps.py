"""The curves of a board as victims: one for every stack that isn't among them already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from robustnoise.board.file import CurvePart
from robustnoise.board.recipes import expand
from robustnoise.building import format_value, spec_of
from robustnoise.errors import BadBoard, did_you_mean
from robustnoise.harness.experiment import Victim
from robustnoise.report.curves import Curve, Line, Point, midpoint_name

Build = Callable[[str, str, str], Any]
"""(key, text, kind) to a plugin; raises BadBoard."""


class Swept(NamedTuple):
    """The curves, and the victims that they add to the listed ones."""

    curves: tuple[Curve, ...]
    victims: tuple[Victim, ...]


def sweep(
    parts: Sequence[CurvePart],
    listed: Sequence[Victim],
    recipes: Mapping[str, str],
    model: str,
    build: Build,
    origin: str,
) -> Swept:
    """Every point of every curve.

    A point whose stack and architecture are those of a listed victim, or of an earlier point, is that victim.

    Args:
        parts: as written.
        listed: the board's own victims.
        recipes: written out.
        model: the board's architecture, for curves without one.
        build: makes plugins of texts.
        origin: for messages.

    Raises:
        BadBoard: with file and key.
    """
    known = {_identity(v): v.name for v in reversed(listed) if v.target is None}
    added: list[Victim] = []
    curves: list[Curve] = []
    for part in parts:
        _unique_files(part, curves, origin)
        where = f"curves.{part.name}"
        architecture = build(
            f"{where}.model", expand(part.model or model, recipes, f"{origin}: {where}.model"), "model"
        )
        lines = []
        for label, line in part.parts().items():
            key = f"{where}.lines.{label}"
            stack = expand(line.stack, recipes, f"{origin}: {key}", keep_x=True)
            points = []
            for value in line.values:
                text = value if isinstance(value, str) else format_value(value)
                defense = build(f"{key} at {text}", stack.replace("{x}", text), "defense")
                victim = Victim(f"{part.name} | {label} | {text}", defense, architecture, clean_only=True)
                name = known.setdefault(_identity(victim), victim.name)
                if name == victim.name:
                    added.append(victim)
                points.append(Point(value, name))
            lines.append(Line(label, stack, tuple(points)))
        curves.append(
            Curve(part.name, part.title or part.name, part.x, part.log, part.x_is_passes, part.midpoint, tuple(lines))
        )
    return Swept(tuple(curves), tuple(added))


def check_published(victims: Sequence[str], known: Sequence[Victim], origin: str) -> None:
    """Refuse published figures that stand beside nobody.

    Raises:
        BadBoard: with file and key.
    """
    names = [v.name for v in known]
    for i, victim in enumerate(victims):
        if victim not in names:
            raise BadBoard(
                f"{origin}: published.{i}.victim: {victim!r} is none of the victims.{did_you_mean(victim, names)}"
            )


def _identity(victim: Victim) -> tuple[str, str]:
    assert victim.model is not None
    return spec_of(victim.defense).digest(), spec_of(victim.model).digest()


def _unique_files(part: CurvePart, earlier: Sequence[Curve], origin: str) -> None:
    taken = {c.name for c in earlier} | {midpoint_name(c) for c in earlier if c.midpoint}
    mine = {part.name, *([f"{part.name}-midpoint"] if part.midpoint else [])}
    for name in sorted(mine & taken):
        raise BadBoard(f"{origin}: curves.{part.name}: two pictures would be called {name!r}; rename the curve.")
