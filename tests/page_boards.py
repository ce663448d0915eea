"""Boards that nobody ran, for tests of their pages: counts drawn at random, names as hostile as they come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from robustnoise.examples import Examples, lost
from robustnoise.flags import FLAGS, Raised
from robustnoise.records import Arm, EvaluationRecord
from robustnoise.report.contents import Contents
from robustnoise.report.contrasts import Contrast, contrast_views
from robustnoise.report.curves import Curve, CurveView, Line, LineView, Point, PointView
from robustnoise.report.page import page_data
from robustnoise.report.views import Figure, RowView, row_view, summary
from robustnoise.tally import Tally

THREAT = {"norm": "linf", "eps": 0.3, "access": "labels"}
BUDGET = {"per_image": None, "total": 1000, "seed_examples": 100}
PROTOCOL: dict[str, Any] = {
    "data": {"name": "toy", "sizes": {"overlap": "none"}}, "threat": THREAT, "budget": BUDGET, "draws": 20,
}  # fmt: skip
SETTING = {
    "data": {"name": "toy", "splits": {"evaluation": "e"}, "sizes": {}}, "threat": THREAT, "budget": BUDGET,
    "block": 128, "identity": 1, "seed": 0, "threads": 1,
}  # fmt: skip
ATTACKS = {"null": "control", "noise": "control", "transfer": "shared", "asking": "per-victim"}
HOSTILE = "<img src=x onerror=window.hacked=1>"
BREAKOUT = "</script><script>window.hacked=2</script><!--"
BLOCKING = next(name for name, flag in FLAGS.items() if flag.blocks)
FORMULA = "=HYPERLINK(1)"


def tally(rng: np.random.Generator, accuracy: float, n: int, draws: int, *, select: bool = False) -> Tally:
    """Counts of a victim that is nearly sure about most images."""
    sure = rng.beta(8 * accuracy, 8 * (1 - accuracy), n)
    right = rng.binomial(draws, sure).astype(np.uint16)
    chosen = rng.binomial(draws, sure).astype(np.uint16) if select and draws > 1 else None
    return Tally(right, np.zeros(n, np.uint16), chosen, draws)


def records(
    victims: int = 3, attacks: int = 4, n: int = 200, draws: int = 20, names: dict[int, str] | None = None
) -> list[EvaluationRecord]:
    """Victims under attacks; every second victim is random, all but the first have the first as reference."""
    rng, found = np.random.default_rng(0), []
    names = names or {}
    kinds = list(ATTACKS.items())
    first: dict[str, Arm] = {}
    for v in range(victims):
        name, repeats = names.get(v, f"victim-{v}"), draws if v % 2 else 1
        identity = {"name": name, "text": f"plain-training(epochs={v})", "digest": f"{v:064x}", "model": None}
        clean = tally(rng, 0.96, n, repeats)
        for a in range(attacks):
            attack, scope = kinds[a % 4]
            attack = attack if a < 4 else f"{attack}-{a // 4}"
            adversarial = tally(rng, 0.95 - 0.12 * (a % 4) - 0.01 * (v % 9), n, repeats, select=True)
            arm = Arm(identity, repeats > 1, 1, clean, adversarial, 1000 if scope == "per-victim" else 0, None)
            first.setdefault(attack, arm)
            setting = {**SETTING, "draws": draws}
            reference = first[attack] if v else None
            about = {"name": attack, "text": f"{attack}()", "scope": scope, "null": attack == "null", "spec": {}}
            origin = {"commit": "0" * 40, "time": "2024-01-01"}
            found.append(EvaluationRecord(setting, about, arm, reference, reference, 0.0, origin))
    return found


def examples(record: EvaluationRecord, channels: int = 1) -> Examples:
    """Random images that fit the record."""
    rng, index = np.random.default_rng(1), lost(record)
    original = rng.integers(0, 256, (len(index), channels, 28, 28), dtype=np.uint8)
    noise = rng.integers(-76, 77, original.shape)
    adversarial = np.clip(original + noise, 0, 255).astype(np.uint8)
    label = rng.integers(0, 10, len(index))
    return Examples(record.digest, index, label, (label + 1) % 10, original, adversarial)


def curve(name: str, values: list[Any], *, log: bool = False) -> CurveView:
    """Two lines that fall."""
    lines, measured = [], []
    for label, top in (("one pass", 0.9), (HOSTILE, 0.95)):
        figures = [Figure(top - 0.1 * i, top - 0.1 * i - 0.02, top - 0.1 * i + 0.02) for i in range(len(values))]
        points = [PointView(v, v, "net", f, 200, 20, 1.0) for v, f in zip(values, figures, strict=True)]
        lines.append(Line(label, "net | noise({x})", tuple(Point(v, "net") for v in values)))
        measured.append(LineView(label, 0, tuple(points), None))
    return CurveView(Curve(name, f"Accuracy against {name}", name, log, False, False, tuple(lines)), tuple(measured), 0)


def views(found: list[EvaluationRecord]) -> list[RowView]:
    """Random victims have a flag; the last row is unranked, has a flag that blocks, and a hostile sentence."""
    texts = [f"scored in {r.victim.scored.draws} fresh draws." if r.victim.stochastic else "" for r in found]
    texts[-1] = f"{HOSTILE} {BREAKOUT}"
    flags = [(Raised("RANDOMISED", text),) if text else () for text in texts]
    flags[-1] += (Raised(BLOCKING, "it blocks."),)
    return [row_view(r, ranked=r is not found[-1], flags=f) for r, f in zip(found, flags, strict=True)]


def contents(found: list[EvaluationRecord]) -> Contents:
    """Rows with their worst cases, and two contrasts of which one has no row."""
    declared = [Contrast("noisy", "victim-0", "transfer", ("transfer",)), Contrast("gone", "noisy", "clean", ())]
    return Contents(views(found), summary(found), contrasts=contrast_views(declared, found, 0))


def data(
    found: list[EvaluationRecord], shown: Contents | None = None, images: dict[str, Examples] | None = None
) -> dict[str, Any]:
    """The page's data, with hostile texts."""
    return page_data(
        name="toy",
        title=f"A toy {HOSTILE}",
        about=f"What is asked. {BREAKOUT}\n\nMore.",
        protocol=PROTOCOL,
        contents=contents(found) if shown is None else shown,
        records=found,
        examples=images or {},
    )


def large(victims: int = 50, attacks: int = 10, n: int = 1000) -> dict[str, Any]:
    """A board of 500 rows with images. The statistics of a few small ones stand for all: resampling takes its time."""
    found, few = records(victims, attacks, n), records(2, 4, 100)
    known = views(few)
    rows = [
        replace(known[i % 8], victim=r.victim.victim["name"], attack=r.attack["name"], digest=r.digest, ranked=True)
        for i, r in enumerate(found)
        if r.attack
    ]
    images = {r.digest: examples(r, 3) for r in found[:100] if len(lost(r))}
    return data(found, Contents(rows, summary(few)), images)
