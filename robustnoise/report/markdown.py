"""REPORT.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustnoise.report.text import delta, percent, share
from robustnoise.report.views import RowView, Summary

HOW_TO_READ = """\
Accuracies are per cent of all n images with 95 % intervals over images (Wilson for a deterministic victim, bootstrap
otherwise). Deltas are paired differences in percentage points on the same images: Tango's score interval and McNemar's
exact test for two deterministic victims, bootstrap and sign-flip test otherwise. They are unadjusted and exploratory.
A stochastic victim is scored in fresh draws that no attack has seen. The null attack hands in the images as they are:
what is lost under it is lost to the draws. *Shared* attacks never ask the victim; *per-victim* attacks label their
substitute's data through the victim's own oracle. The two are different threat models and are not ranked together.
*any_fail_5* is the accuracy against an attacker who may ask five times and wins once."""


def report(
    *, title: str, about: str, protocol: Mapping[str, Any], rows: Sequence[RowView], summary: Sequence[Summary]
) -> str:
    """The report of a board, a function of its file and rows alone."""
    parts = [f"# {title}", "Generated from the rows by `robustnoise board report`; do not edit."]
    if about.strip():
        parts.append(about.strip())
    threat, data = protocol["threat"], protocol["data"]
    budget = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in protocol["budget"].items() if v is not None)
    parts.append(
        f"Protocol: {data['name']}, {threat['norm']} eps {threat['eps']:.6g}, access to {threat['access']}, budget: "
        f"{budget or 'none'}, attacker's overlap with the training data: {data['sizes']['overlap']}, "
        f"{protocol['draws']} scoring draws for a stochastic victim."
    )
    parts.append("## Victims\n\n" + _table(SUMMARY_HEAD, [summary_line(s) for s in summary]))
    for scope, heading in SCOPES.items():
        chosen = [r for r in rows if r.scope == scope]
        if chosen:
            parts.append(f"## {heading}\n\n" + _table(ROW_HEAD, [row_line(r) for r in chosen]))
    defenses = {r.victim: r.defense for r in rows}
    attacks = {r.attack: r.attack_text for r in rows}
    parts.append("## Defenses and attacks\n\n" + "\n".join(f"- {k}: `{v}`" for k, v in (defenses | attacks).items()))
    parts.append("## How to read this\n\n" + HOW_TO_READ)
    return "\n\n".join(parts) + "\n"


SCOPES = {"control": "Controls", "shared": "Shared attacks", "per-victim": "Per-victim attacks"}
SUMMARY_HEAD = ("victim", "n", "clean", "null control", "worst shared", "worst per-victim")
ROW_HEAD = (
    "victim",
    "attack",
    "clean",
    "robust",
    "delta",
    "against",
    "delta to undefended",
    "any_fail_5",
    "queries",
    "agreement",
    "ranked",
)


def summary_line(s: Summary) -> tuple[str, ...]:
    """The cells of a victim."""
    return (s.victim, str(s.n), percent(s.clean), delta(s.null), percent(s.shared), percent(s.per_victim))


def row_line(r: RowView) -> tuple[str, ...]:
    """The cells of a row."""
    return (
        r.victim,
        r.attack,
        percent(r.clean),
        percent(r.robust),
        delta(r.delta),
        r.against or "-",
        delta(r.delta_undefended),
        share(r.any_fail_5),
        str(r.queries),
        share(r.agreement),
        "yes" if r.ranked else "no",
    )


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
