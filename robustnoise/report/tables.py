"""Every table of a report as texts, the same for REPORT.md and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from robustnoise.flags import Raised, blocks
from robustnoise.report.curves import CurveView, Midpoint, Value
from robustnoise.report.published import PublishedView
from robustnoise.report.ranking import Rank
from robustnoise.report.shown import Table
from robustnoise.report.text import delta, percent, points, share
from robustnoise.report.views import CLEAN, RowView, Summary, Verdicts


def table(heading: str, head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> Table:
    """A table without the columns in which no line says anything."""
    shown = [i for i in range(len(head)) if not lines or any(line[i] != "-" for line in lines)]
    return Table(heading, tuple(head[i] for i in shown), [tuple(line[i] for i in shown) for line in lines])


SCOPES = {
    CLEAN: "Clean images",
    "control": "Controls",
    "shared": "Shared attacks",
    "per-victim": "Per-victim attacks",
    "audit": "Audit, with the gradients of the victim: not ranked",
}
CLEAN_HEAD = (
    "victim",
    "n",
    "draws",
    "accuracy",
    "abstained",
    "delta",
    "against",
    "delta to undefended",
    "flags",
    "ranked",
)
ATTACK_HEAD = (
    "victim",
    "attack",
    "clean",
    "robust",
    "abstained",
    "attack success",
    "delta",
    "against",
    "delta to undefended",
    "queries",
    "agreement",
    "claimed: wrong",
    "flags",
    "ranked",
)


def summary_table(summary: Sequence[Summary]) -> Table:
    """One line a victim."""
    head = (
        "victim", "n", "clean", "null control", "worst shared", "rank shared", "worst per-victim", "rank per-victim",
    )  # fmt: skip
    lines = [
        (
            s.victim,
            str(s.n),
            percent(s.clean),
            delta(s.null),
            percent(s.shared),
            _place(s.rank_shared, s.why_shared),
            percent(s.per_victim),
            _place(s.rank_per_victim, s.why_per_victim),
        )
        for s in summary
    ]
    return table("Victims", head, lines)


def _place(rank: Rank | None, why: str) -> str:
    """A rank, or why there is none."""
    return rank.text if rank else f"no: {why}" if why else "-"


def row_tables(rows: Sequence[RowView]) -> Iterator[Table]:
    """One table a scope, one line a row; mean passes are a column where they aren't 1 throughout.

    Tables of attacks tell the number of images in the heading, or in a column where it differs.
    """
    for scope, heading in SCOPES.items():
        chosen = [r for r in rows if r.scope == scope]
        if not chosen:
            continue
        head = CLEAN_HEAD if scope == CLEAN else ATTACK_HEAD
        lines = [_clean_line(r) if scope == CLEAN else _attack_line(r) for r in chosen]
        if any(r.passes != 1 for r in chosen):
            head = (*head[:-1], "mean passes", head[-1])
            lines = [(*line[:-1], mean_passes(r.passes), line[-1]) for line, r in zip(lines, chosen, strict=True)]
        sizes = {r.n for r in chosen}
        if scope != CLEAN and len(sizes) > 1:
            head = (*head[:-1], "n", head[-1])
            lines = [(*line[:-1], str(r.n), line[-1]) for line, r in zip(lines, chosen, strict=True)]
        elif scope != CLEAN:
            heading = f"{heading} (n = {sizes.pop()})"
        if len({r.seed for r in chosen}) > 1:
            head = (*head[:-1], "seed", head[-1])
            lines = [(*line[:-1], str(r.seed), line[-1]) for line, r in zip(lines, chosen, strict=True)]
        yield table(heading, head, lines)


def _ranked(r: RowView) -> str:
    """Whether, and which flag is against it."""
    if r.ranked:
        return "yes"
    return ": ".join(["no", *[flag.flag for flag in r.flags if blocks([flag])][:1]])


def _clean_line(r: RowView) -> tuple[str, ...]:
    return (
        r.victim,
        str(r.n),
        str(r.draws),
        percent(r.clean.single, r.n),
        abstentions(r.clean),
        delta(r.delta, r.n),
        r.against or "-",
        delta(r.delta_undefended, r.n),
        flag_names(r.flags),
        _ranked(r),
    )


def _attack_line(r: RowView) -> tuple[str, ...]:
    return (
        r.victim,
        r.attack or "-",
        percent(r.clean.single),
        percent(r.scored.single),
        abstentions(r.scored),
        "-" if r.success is None else f"{percent(r.success)} of {number(round(r.initially or 0.0, 1))}",
        delta(r.delta),
        r.against or "-",
        delta(r.delta_undefended),
        str(r.queries or "-"),
        share(r.agreement),
        "-" if r.claimed is None else f"{r.claimed}: {share(r.claimed_wrong)}",
        flag_names(r.flags),
        _ranked(r),
    )


def abstentions(verdicts: Verdicts) -> str:
    """The share of answers that were none; ``"-"`` where there was none such."""
    return share(verdicts.abstained or None)


def flag_names(flags: Sequence[Raised]) -> str:
    """The names of raised flags in one cell; ``"-"`` for none."""
    return " ".join(raised.flag for raised in flags) or "-"


def published_table(views: Sequence[PublishedView]) -> Table:
    """Published accuracies beside ours."""
    head = ("victim", "published", "ours", "difference", "n", "draws", "mean passes", "seed", "source")
    lines = [
        (
            v.published.victim,
            share(v.published.accuracy),
            percent(v.ours, v.n or 0),
            points(v.difference),
            *("-" if number is None else str(number) for number in (v.n, v.draws)),
            "-" if v.passes is None else mean_passes(v.passes),
            "-" if v.seed is None else str(v.seed),
            v.published.source,
        )
        for v in views
    ]
    return table("Published beside ours", head, lines)


def curve_table(view: CurveView) -> Table:
    """Values down, lines across, where all lines have the same values; else one line a point."""
    values = {tuple(p.value for p in line.points) for line in view.curve.lines}
    if len(values) > 1 or view.curve.x_is_passes:
        return _long_table(view)
    lines = []
    for value in values.pop():
        cells = [next((percent(p.accuracy, p.n) for p in line.points if p.value == value), "-") for line in view.lines]
        lines.append((number(value), *cells))
    return table(view.curve.title, (view.curve.x, *(line.label for line in view.lines)), lines)


def _long_table(view: CurveView) -> Table:
    head = ("line", "value", "mean passes", "accuracy", "n", "draws")
    lines = [
        (line.label, number(p.value), mean_passes(p.passes), percent(p.accuracy, p.n), str(p.n), str(p.draws))
        for line in view.lines
        for p in line.points
    ]
    return table(view.curve.title, head, lines)


def curve_note(view: CurveView) -> str:
    """What holds for all points of a curve: images, draws, passes, and how many are missing."""
    measured = [p for line in view.lines for p in line.points]
    if not measured:
        return "No point has a row yet that follows the board's protocol."
    parts = [f"n = {_span(p.n for p in measured)}", f"scoring draws: {_span(p.draws for p in measured)}"]
    if not view.curve.x_is_passes and any(p.passes != 1 for p in measured):
        each = [f"{line.label} {_span(p.passes for p in line.points)}" for line in view.lines]
        parts.append(f"mean passes: {', '.join(each)}")
    text = "; ".join(parts) + "."
    if view.missing:
        text += f" {view.missing} of {view.missing + len(measured)} points have no row yet."
    return text


def midpoint_table(view: CurveView) -> Table:
    """Where each line has lost half of what it had above chance."""
    lines = []
    for line in view.lines:
        if line.midpoint is not None:
            m = line.midpoint
            lines.append((line.label, share(m.level), _crossing(m)))
    return table(f"{view.curve.title}: midpoints", ("line", "accuracy half way", view.curve.x), lines)


def _crossing(m: Midpoint) -> str:
    if m.between is None:
        return m.text
    first, second = map(number, m.between)
    return f"{m.text} (between {first} and {second})"


def number(value: Value) -> str:
    """A value of an axis: up to 6 digits, texts as they are."""
    return value if isinstance(value, str) else f"{value:.6g}"


def mean_passes(passes: float) -> str:
    """Forward passes: whole where they are, else with two decimals."""
    return str(int(passes)) if passes == int(passes) else f"{passes:.2f}"


def _span(values: Iterable[float]) -> str:
    distinct = sorted(set(values))
    ends = [mean_passes(distinct[0]), mean_passes(distinct[-1])]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
