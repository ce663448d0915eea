"""REPORT.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from robustnoise.report.contents import Contents
from robustnoise.report.curves import CurveView, midpoint_name
from robustnoise.report.shown import Table
from robustnoise.report.statistics import contrast_table, resolution_notes, variance_table, verdict_tables
from robustnoise.report.submitted import submitted_table
from robustnoise.report.tables import (
    curve_note,
    curve_table,
    midpoint_table,
    published_table,
    row_tables,
    summary_table,
)

HOW_TO_READ = """\
Accuracies are per cent of all n images with 95 % intervals over images (Wilson for a deterministic victim, bootstrap
otherwise). Deltas are paired differences in percentage points on the same images: Tango's score interval and McNemar's
exact test for two deterministic victims, bootstrap and sign-flip test otherwise. But for declared contrasts they are
unadjusted and exploratory. *Attack success* is over the images that are right at first, whose number stands beside it.
Victims that share a rank (1=) are not told apart by their paired differences from the best of them. A stochastic victim
is scored in fresh draws that no attack has seen. The null attack hands in the images as they are:
what is lost under it is lost to the draws. *Shared* attacks never ask the victim; *per-victim* attacks ask its
oracle, for a substitute's labels or image by image. The two are different threat models and are not ranked together."""
CLAIMED = """\
*Claimed: wrong* is how many images the attack takes for misclassified, and the share of wrong answers to them in the
scoring draws, which the attack has not seen."""
ABSTAINED = "*Abstained* is the share of answers that were none; an abstention counts as wrong."
ANY_FAIL = "*any_fail_5* is the accuracy against an attacker who may ask five times and wins once."
VERDICTS = """\
All verdicts are shares of all n images, right or wrong at first. *single* is the expected accuracy (any_fail_1),
*always_wrong* the share of images that are wrong in every draw."""
CONTRASTS = """\
*Declared contrasts* are those of board.toml. Their p values are Holm's over all that are declared; their intervals are
unadjusted. *Resolves* is the smallest delta, in points, that n images resolve at the discordance seen."""
VARIANCE = """\
*SD* is the part of the standard deviation of one measured accuracy, in points, that comes from other images, draws or
seeds."""

HOW_TO_READ_CLEAN = """\
Nothing attacks here: all images are clean. Accuracies are per cent of all n images with 95 % intervals over images
(Wilson for a deterministic victim, bootstrap otherwise); a stochastic victim's is the mean over its scoring draws.
Deltas are paired differences in percentage points on the same images; but for declared contrasts they are unadjusted
and exploratory. *Mean passes* are forward passes of the network that the average answer cost."""
ANY_FAIL_CLEAN = "*any_fail_5* is the expected share of images that are right in each of five draws."
HOW_TO_READ_MIDPOINT = """\
*Midpoint*: the value at which accuracy has fallen half way from that at the first, quietest value of the sweep to
chance (1 in the number of classes), interpolated linearly between neighbouring values along the axis as it is drawn. It
is given to about a tenth of the step between those two, which stand beside it."""


def report(*, title: str, about: str, protocol: Mapping[str, Any], contents: Contents) -> str:
    """The report of a board, a function of its file and rows alone.

    Args:
        title: heading.
        about: what the board is for.
        protocol: what its rows share.
        contents: worst cases are shown where the board has attacks, curves with pictures in the folder ``plots``.
    """
    parts = [f"# {title}", "Generated from the rows by `robustnoise board report`; do not edit."]
    if about.strip():
        parts.append(about.strip())
    parts.append(_protocol_line(protocol))
    attacked = protocol["threat"] is not None
    if attacked:
        parts.append(_section(summary_table(contents.summary)))
    if contents.contrasts:
        parts.append(_section(contrast_table(contents.contrasts)))
    parts += [_section(table) for table in [*row_tables(contents.rows), *verdict_tables(contents.rows)]]
    if contents.variance:
        parts.append(_section(variance_table(contents.variance)))
    if contents.published:
        parts.append(_section(published_table(contents.published)))
    if contents.submitted:
        parts.append(_section(submitted_table(contents.submitted)))
    parts += [_curve(view) for view in contents.curves]
    defenses = {r.victim: r.defense for r in contents.rows}
    attacks = {r.attack: r.attack_text for r in contents.rows if r.attack}
    heading = "Defenses and attacks" if attacked else "Defenses"
    parts.append(
        f"## {heading}\n\n" + "\n".join(f"- {_cell(k)}: {_code(v or '')}" for k, v in (defenses | attacks).items())
    )
    first, *more = reading(protocol, contents)
    parts += [f"## How to read this\n\n{first}", *more]
    return "\n\n".join(parts) + "\n"


def reading(protocol: Mapping[str, Any], contents: Contents) -> list[str]:
    """How to read what is shown, in paragraphs."""
    rows, attacked = contents.rows, protocol["threat"] is not None
    legend = [HOW_TO_READ if attacked else HOW_TO_READ_CLEAN]
    if any(r.draws >= 5 for r in rows):
        legend.append(ANY_FAIL if attacked else ANY_FAIL_CLEAN)
    if any(r.draws > 1 for r in rows):
        legend.append(VERDICTS)
    if contents.contrasts:
        legend.append(CONTRASTS)
    if contents.variance:
        legend.append(VARIANCE)
    paragraphs = ["\n".join([*legend, *resolution_notes(rows)])]
    if any(r.claimed is not None for r in rows):
        paragraphs.append(CLAIMED)
    if any(r.scored.abstained for r in rows):
        paragraphs.append(ABSTAINED)
    if any(view.curve.midpoint for view in contents.curves):
        paragraphs.append(HOW_TO_READ_MIDPOINT)
    return paragraphs


def _protocol_line(protocol: Mapping[str, Any]) -> str:
    threat, data = protocol["threat"], protocol["data"]
    draws = f"{protocol['draws']} scoring draws for a stochastic victim."
    name = data["name"]
    if data.get("sizes", {}).get("evaluate_on") == "validation":
        name += ", validation images"
    if threat is None:
        return f"Protocol: {name}, clean images, no attack, {draws}"
    budget = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in protocol["budget"].items() if v is not None)
    return (
        f"Protocol: {name}, {threat['norm']} eps {threat['eps']:.6g}, access to {threat['access']}, budget: "
        f"{budget or 'none'}, attacker's overlap with the training data: {data['sizes']['overlap']}, {draws}"
    )


def _curve(view: CurveView) -> str:
    curve = view.curve
    parts = [f"## {curve.title}"]
    if view.lines:
        parts += [_picture(f"Accuracy against {curve.x}", curve.name), markdown_table(curve_table(view))]
    parts.append(curve_note(view))
    if view.lines and curve.midpoint:
        parts += [_picture(f"Midpoints: {curve.x}", midpoint_name(curve)), markdown_table(midpoint_table(view))]
    parts.append("\n".join(f"- {line.label}: `{line.stack}`" for line in curve.lines))
    return "\n\n".join(parts)


def _picture(alternative: str, name: str) -> str:
    escaped = alternative.replace("[", "\\[").replace("]", "\\]")
    return f"![{escaped}](plots/{name}.svg)"


def _section(table: Table) -> str:
    return f"## {table.heading}\n\n{markdown_table(table)}"


def markdown_table(table: Table) -> str:
    """Its head and lines, without the heading."""
    rows = [table.head, ["---"] * len(table.head), *table.lines]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


HARMLESS = {"|": "\\|", "<": "&lt;", "`": "\\`", "](": "]\\("}
"""Names and cards are somebody else's: no cell ends early, opens a tag, or becomes a link or a picture."""


def _cell(text: str) -> str:
    text = text.replace("\\", "\\\\")
    for what, harmless in HARMLESS.items():
        text = text.replace(what, harmless)
    return text


def _code(text: str) -> str:
    """A span of code, with as many ticks around it as none of its own can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    ticks, space = "`" * (longest + 1), " " if longest else ""
    return f"{ticks}{space}{text}{space}{ticks}"
