"""What a page shows, as plain JSON: everything that the scripts read. Pure."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robustnoise.examples import Examples
from robustnoise.flags import FLAGS
from robustnoise.records import EvaluationRecord
from robustnoise.report.contents import Contents
from robustnoise.report.contrasts import ContrastView
from robustnoise.report.curves import CurveView, PointView
from robustnoise.report.flat import columns, flat_rows
from robustnoise.report.markdown import reading
from robustnoise.report.page.png import change, data_uri
from robustnoise.report.ranking import Rank
from robustnoise.report.statistics import variance_table
from robustnoise.report.submitted import submitted_table
from robustnoise.report.tables import curve_note, mean_passes, midpoint_table, number, published_table
from robustnoise.report.text import sentences
from robustnoise.report.views import CLEAN, Figure, RowView, Summary
from robustnoise.spec import canonical_json, digest_of
from robustnoise.tally import Tally

HELP = {
    "clean": "Expected accuracy on all n clean images, per cent, with its 95 % interval.",
    "robust": "Expected accuracy on all n images of the attack, per cent, over fresh draws that it has not seen.",
    "delta": (
        "Paired difference to the victim's reference on the same images, percentage points. Bars around 0 are drawn on "
        "a square-root scale, coloured where the interval leaves 0 out."
    ),
    "delta_undefended": "Paired difference to the undefended net on the same images, percentage points.",
    "any_fail_5": "Accuracy against an attacker who asks five times and wins once.",
    "queries": "Rows that the victim's oracle answered for the attack.",
    "agreement": "Share of validation images on which victim and substitute agree, per cent.",
    "claimed_wrong": "Share of wrong answers to the images that the attack takes for misclassified, per cent.",
    "passes": "Forward passes of the network that the average answer cost.",
    "flags": "Suspicions about the row; each badge explains itself.",
    "ranked": "Whether the row follows the board's protocol.",
    "shared": "Image by image the worst of the attacks that never ask the victim.",
    "per_victim": "Image by image the worst of the attacks that asked the victim: by labels or scores.",
    "null": "What the draws alone change: the images are handed in as they are.",
    "rank": (
        "1= is a shared rank: its victims are not told apart by their paired differences from the best of them, with a "
        "chance of at most 5 % to part equal ones anywhere. Each threat model has ranks of its own."
    ),
    "success": "Attack success over the images that are right at first, per cent.",
    "holm": "p values of Holm over all declared contrasts; intervals unadjusted.",
    "images": (
        "The first images, in the order of evaluation, that were right in every clean draw and wrong in every draw "
        "under attack. The change is scaled so that its largest pixel is black or white; mid-grey is no change. The "
        "answer is the victim's commonest in fresh draws."
    ),
}
DIGITS = 7
"""Of shares in the page: finer than any interval."""


def page_data(
    *,
    name: str,
    title: str,
    about: str,
    protocol: Mapping[str, Any],
    contents: Contents,
    records: Sequence[EvaluationRecord],
    examples: Mapping[str, Examples],
) -> dict[str, Any]:
    """A board's page as data.

    Args:
        name: of the board, for exported files.
        title: heading.
        about: paragraphs, parted by empty lines.
        protocol: what ranked rows share.
        contents: the parts.
        records: those of the rows, found by digest: counts to compare with, specs and provenance.
        examples: images that attacks won, by the digest of their row.
    """
    rows = contents.rows
    clean = [_clean(r) for r in rows if r.scope == CLEAN and r.ranked]
    lines = flat_rows(rows, contents.summary)
    names = columns(lines)
    tables = [published_table(contents.published)] if contents.published else []
    tables += [variance_table(contents.variance)] if contents.variance else []
    tables += [submitted_table(contents.submitted)] if contents.submitted else []
    parts = _Parts({r.digest: r for r in records}, examples)
    return {
        "name": name,
        "title": title,
        "about": [" ".join(part.split()) for part in about.strip().split("\n\n") if part.strip()],
        "facts": _facts(protocol, rows),
        "summary": [_summary(s) for s in contents.summary] or clean,
        "sentences": sentences(rows),
        "contrasts": [_contrast(view) for view in contents.contrasts],
        "columns": names,
        "rows": [
            {"values": [_plain(line.get(c)) for c in names], **parts.of(row)}
            for row, line in zip(rows, lines, strict=True)
        ],
        "pool": parts.pool.items,
        "counts": parts.counts.items,
        "left_out": 0,
        "curves": [_curve(view) for view in contents.curves],
        "tables": [table._asdict() for table in tables],
        "flags": {
            k: v._asdict() for k, v in FLAGS.items() if any(k == raised.flag for r in rows for raised in r.flags)
        },
        "legend": [" ".join(paragraph.replace("*", "").split()) for paragraph in reading(protocol, contents)],
        "stacks": list(_stacks(rows).items()),
        "help": HELP,
        "made": "Made from the rows by robustnoise board page. Every number follows from the counts in the row files.",
        "only": None,
        "back": None,
    }


class _Pool:
    """Values that many rows share, each once."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._places: dict[str, int] = {}

    def add(self, value: Any) -> int:
        """Where `value` stands."""
        place = self._places.setdefault(canonical_json(value), len(self.items))
        if place == len(self.items):
            self.items.append(value)
        return place


class _Parts:
    """What a row's detail and comparisons need beside its numbers."""

    def __init__(self, records: Mapping[str, EvaluationRecord], examples: Mapping[str, Examples]) -> None:
        self.records, self.examples = records, examples
        self.pool, self.counts = _Pool(), _Pool()

    def of(self, row: RowView) -> dict[str, Any]:
        """For one row."""
        record = self.records[row.digest]
        victim, reference, shown = record.victim, record.reference, self.examples.get(row.digest)
        return {
            "flags": [list(raised) for raised in row.flags],
            "setting": self.pool.add(dict(record.setting)),
            "attack": None if record.attack is None else self.pool.add(dict(record.attack)),
            "victim": self.pool.add(dict(victim.victim)),
            "reference": None if reference is None else self.pool.add(dict(reference.victim)),
            "provenance": self.pool.add(dict(record.provenance)),
            "protocol": _same_images(record) if row.ranked else None,
            "images": None if shown is None else _images(shown),
            "page": None,
            "counts": {
                "clean": self._packed(victim.clean) if row.ranked else None,
                "robust": self._packed(victim.adversarial) if row.ranked and victim.adversarial is not None else None,
            },
        }

    def _packed(self, tally: Tally) -> int:
        return self.counts.add(packed(tally))


def packed(tally: Tally) -> dict[str, Any]:
    """Right answers for ``counts.js``: bits for one draw, else bytes or 16-bit numbers; zlib; base64."""
    right = tally.right
    if tally.draws == 1:
        raw = np.packbits(right.astype(bool)).tobytes()
    else:
        raw = right.astype("u1" if tally.draws < 256 else "<u2").tobytes()
    return {"draws": tally.draws, "n": len(right), "packed": base64.b64encode(zlib.compress(raw, 9)).decode()}


def _same_images(record: EvaluationRecord) -> str:
    """The same for rows that can be compared image by image."""
    setting = record.setting
    images = setting["data"].get("splits", {}).get("evaluation", setting["data"])
    shared = [images, setting["threat"], setting["budget"], setting["draws"], record.attack is None]
    return digest_of(shared)[:16]


def _images(found: Examples) -> list[dict[str, Any]]:
    shown = []
    for i in range(len(found.index)):
        original, adversarial = found.original[i], found.adversarial[i]
        picture, largest, scale = change(original, adversarial)
        shown.append(
            {
                "index": int(found.index[i]),
                "label": int(found.label[i]),
                "answer": int(found.answer[i]),
                "original": data_uri(original),
                "change": data_uri(picture),
                "adversarial": data_uri(adversarial),
                "largest": largest,
                "scale": scale,
            }
        )
    return shown


def _facts(protocol: Mapping[str, Any], rows: Sequence[RowView]) -> list[list[str]]:
    """The protocol in a line of names and values."""
    threat, data, budget = protocol["threat"], protocol["data"], protocol["budget"]
    images = sorted({r.n for r in rows})
    found = {"data": data["name"], "images": " / ".join(f"{n:,}" for n in images)}
    if threat is None:
        found["attacks"] = "none: clean images"
    else:
        told = [f"{k.replace('_', ' ')} {v:,}" for k, v in budget.items() if isinstance(v, int)]
        found["ball"] = f"{threat['norm']} {threat['eps']:.6g}"
        found["access"] = threat["access"]
        found["budget"] = ", ".join(told) or "none"
        found["attacker's overlap with training data"] = str(data["sizes"]["overlap"])
    if data.get("sizes", {}).get("evaluate_on") == "validation":
        found["evaluated on"] = "validation images"
    found["scoring draws of a random victim"] = str(protocol["draws"])
    ranked = sum(r.ranked for r in rows)
    found["rows"] = f"{len(rows)}, all ranked" if ranked == len(rows) else f"{len(rows)}, {ranked} ranked"
    return [[k, v] for k, v in found.items() if v]


def _summary(s: Summary) -> dict[str, Any]:
    figures = {k: _figure(getattr(s, k)) for k in ("clean", "null", "shared", "per_victim")}
    return {
        "victim": s.victim,
        "seed": s.seed,
        "n": s.n,
        "ranks": {"shared": _rank(s.rank_shared), "per_victim": _rank(s.rank_per_victim)},
        "why": {"shared": s.why_shared, "per_victim": s.why_per_victim},
        **figures,
    }


def _clean(row: RowView) -> dict[str, Any]:
    """A line of the answer where nothing attacks."""
    figures = {"clean": _figure(row.clean.single), "null": None, "shared": None, "per_victim": None}
    return {"victim": row.victim, "seed": row.seed, "n": row.n, "ranks": {}, "why": {}, **figures}


def _rank(rank: Rank | None) -> str | None:
    return None if rank is None else rank.text


def _contrast(view: ContrastView) -> dict[str, Any]:
    contrast, delta, resolution = view.contrast, view.delta, view.resolution
    margin = contrast.margin
    return {
        "victim": contrast.victim,
        "against": contrast.against,
        "on": contrast.on,
        "asked": "difference" if margin is None else f"not worse by {number(100 * margin)} points",
        "delta": None if delta is None else _figure(Figure(delta.estimate, delta.low, delta.high)),
        "n": None if delta is None else delta.n,
        "bounds": None if view.bounds is None else [round(bound, DIGITS) for bound in view.bounds],
        "p_holm": view.p_holm,
        "smallest": None if resolution is None else resolution.smallest,
        "finding": view.finding,
    }


def _figure(figure: Figure | None) -> list[float] | None:
    if figure is None:
        return None
    p = [] if figure.p is None else [figure.p]
    return [round(v, DIGITS) for v in (figure.value, figure.low, figure.high, *p)]


def _plain(value: Any) -> Any:
    return round(value, DIGITS) if isinstance(value, float) else value


def _curve(view: CurveView) -> dict[str, Any]:
    curve = view.curve
    stacks = {line.label: line.stack for line in curve.lines}
    return {
        "title": curve.title,
        "x": curve.x,
        "log": curve.log,
        "categorical": curve.categories or None,
        "note": curve_note(view),
        "lines": [
            {"label": line.label, "stack": stacks.get(line.label), "points": [_point(p, view) for p in line.points]}
            for line in view.lines
        ],
        "midpoints": midpoint_table(view)._asdict() if view.lines and curve.midpoint else None,
    }


def _point(p: PointView, view: CurveView) -> list[Any]:
    note = f"{p.value}" if view.curve.x_is_passes else f"{mean_passes(p.passes)} passes" if p.passes != 1 else None
    return [p.x, *(round(v, DIGITS) for v in (p.accuracy.value, p.accuracy.low, p.accuracy.high)), note]


def _stacks(rows: Sequence[RowView]) -> dict[str, str]:
    defenses = {r.victim: r.defense for r in rows}
    attacks = {r.attack: r.attack_text for r in rows if r.attack and r.attack_text}
    return defenses | attacks
