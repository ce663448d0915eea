"""The commands about what people hand in: submit, images, rescore, and the artifacts behind rows."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from robustnoise.board import find_board
from robustnoise.cli.caching import open_store
from robustnoise.cli.places import Place, show_plan
from robustnoise.cli.running import (
    journals,
    load_plugins,
    report_failures,
    target_options,
    write_board,
)
from robustnoise.data import load_dataset
from robustnoise.errors import BadParameter, RowError
from robustnoise.leaderboard import Leaderboard
from robustnoise.records import EvaluationRecord
from robustnoise.report.parts import board_parts
from robustnoise.report.plots import require_matplotlib
from robustnoise.report.terminal import print_parts, stdout
from robustnoise.report.text import delta
from robustnoise.report.views import Figure
from robustnoise.rowfiles import read_row
from robustnoise.store import atomic_write, pack_arrays
from robustnoise.submission.card import read_card
from robustnoise.submission.folder import check_name
from robustnoise.submission.rescoring import ALPHA, Opening, Rescored, absent, compare
from robustnoise.submission.standing import SUBMISSIONS
from robustnoise.submission.submit import prepare


def submit(
    folder: Path,
    name: str,
    output: Path | None,
    options: Sequence[str],
    *,
    trust_code: bool,
    device: str,
    place: Place,
    data_dir: Path | None,
    plugins: Sequence[Path],
    plan: bool,
) -> None:
    """Check a folder, score it, write its rows into a folder of their own."""
    load_plugins(plugins)
    board = Leaderboard(name)
    submission = prepare(
        folder, board, store=open_store(), data_dir=data_dir, device=device, plugin_files=plugins,
        trust_code=trust_code, journals=journals(), options=target_options(options),
    )  # fmt: skip
    for note in submission.notes:
        _say(note)
    if plan:
        show_plan(submission.experiment, place)
        return
    if board.board.curves or board.board.budget.stops:
        require_matplotlib()
    output = output or Path("runs") / f"{board.board.name}-{submission.name}"
    if (output / "board.toml").is_file():
        submission.check_names(Leaderboard(output))
    write_board(output, find_board(name))
    for file in submission.files.values():
        atomic_write(output / SUBMISSIONS / submission.name / file.name, file.content)
    failures: list[str] = []
    records = place.run(submission.experiment, failures)
    target = Leaderboard(output)
    target.add(*records)
    target.write_report()
    shown = target.contents(records, unranked=True)
    print_parts(stdout(), board_parts(f"{submission.name} on {board.board.name}", shown))
    _say(f"Rows, REPORT.md and what was handed in are in {output}.")
    _say(f"'robustnoise board publish {output} {name}' copies the rows.")
    report_failures(failures)


def write_images(name: str, file: Path, data_dir: Path | None) -> None:
    """The evaluation images of a board as npz: x uint8, y, ids."""
    if file.suffix != ".npz":
        raise BadParameter(f"{file}: expected a name that ends in .npz.")
    board = Leaderboard(name).board
    part = board.file.data
    split = load_dataset(part.name, sizes=part.sizes(), seed=part.seed, data_dir=data_dir).evaluation
    atomic_write(file, pack_arrays({"x": split.images, "y": split.labels, "ids": split.ids}))
    threat = board.threat
    ball = "" if threat is None else f" Change x within {threat.norm} {threat.eps:.6g} (pixels of [0, 1])."
    _say(f"{len(split):,} images, uint8 {split.images.shape}, in {file}.{ball}")


def _say(text: str) -> None:
    stdout().print(text, markup=False, highlight=False, soft_wrap=True)


HOLDS, FAILS, UNTOLD = 0, 1, 4
"""Exit codes of `rescore`."""


def rescore(
    row: str,
    board: str | None,
    scoring_seed: int,
    folder: Path | None,
    options: Sequence[str],
    *,
    trust_code: bool,
    place: Place,
    data_dir: Path | None,
    plugins: Sequence[Path],
    plan: bool,
    as_json: bool,
) -> int:
    """Score a row in fresh draws, show old beside fresh, and say whether the numbers hold."""
    load_plugins(plugins)
    home, record = find_row(row, board)
    opening = Opening(
        home.board, _folders(home, record, folder), data_dir, plugins, trust_code=trust_code, journals=journals(),
        options=target_options(options),
    )  # fmt: skip
    experiment = opening.experiment(record, scoring_seed)
    lacking = absent(experiment, open_store())
    for label in lacking:
        print(f"not in the store, made again: {label}", file=sys.stderr)
    if plan:
        show_plan(experiment, place)
        return HOLDS
    name = record.victim.victim["name"]
    fresh = next(r for r in place.run(experiment, None) if r.victim.victim["name"] == name)
    given = record.attack is not None and "submitted" in record.attack
    remade = not given and any(label.startswith(("substitute", "craft")) for label in lacking)
    found = compare(record, fresh, made_again=remade)
    if as_json:
        print(json.dumps(_plain(found), allow_nan=False))
    else:
        _show(record, found)
    return HOLDS if found.holds else FAILS if found.same_objects else UNTOLD


def find_row(row: str, board: str | None) -> tuple[Leaderboard, EvaluationRecord]:
    """A row by its file, or by the first digits of its digest on `board`.

    Raises:
        BadParameter: there is no such row, or more than one.
    """
    if board is None:
        path = Path(row)
        if not path.is_file():
            raise BadParameter(
                f"{row}: no such file. Give a row's file, or the first digits of its digest and a BOARD."
            )
        return Leaderboard(path.resolve().parent.parent), read_row(path)
    place = Leaderboard(board)
    paths = [p for p in sorted(place.rows_folder.glob("*.json")) if row and p.name.startswith(row)]
    if not paths:
        raise BadParameter(
            f"no row of {place.path} starts with {row!r}: 'robustnoise board show {board} --csv' tells the digests."
        )
    if len(paths) > 1:
        raise BadParameter(f"{len(paths)} rows of {place.path} start with {row!r}; expected one. Give more digits.")
    return place, read_row(paths[0])


def _folders(place: Leaderboard, record: EvaluationRecord, given: Path | None) -> dict[str, Path]:
    """Where what the row scored lies, by the names on the cards: beside the rows, or `given` for the one it is of.

    Raises:
        BadParameter: `given` is of nothing that the row scored.
    """
    names = _submitted_names(record)
    found = {name: path for name in names if (path := place.path / SUBMISSIONS / name).is_dir()}
    if given is not None:
        name = read_card(given).name
        if name not in names:
            raise BadParameter(f"--submission {given}: is {name!r}; the row scored {', '.join(names) or 'none'}.")
        found[name] = given
    return found


def _submitted_names(record: EvaluationRecord) -> list[str]:
    """Under which names the folders of a row's submissions may lie: plain ones alone.

    Raises:
        RowError: the row doesn't say.
    """
    parts = [record.attack or {}, record.victim.victim]
    try:
        names = [str(part["submitted"]["card"]["name"]) for part in parts if "submitted" in part]
    except (KeyError, TypeError):
        raise RowError("the row doesn't name what it scored as we write it.") from None
    return [check_name(name) for name in names]


def _show(record: EvaluationRecord, found: Rescored) -> None:
    attack = "clean images" if record.attack is None else record.attack["name"]
    images = {"adversarial": attack, "select": f"{attack}, to choose the worst", "clean": "clean"}
    table = Table("victim", "images", "in the row", "fresh draws", "fresh - row", "p (Holm)", title_justify="left")
    adjusted = iter(found.adjusted)
    for c in found.comparisons:
        if c.p is not None:
            test = f"{next(adjusted):.4f}"
        else:
            test = "equal" if not c.differing else f"{c.differing} images differ"
        change = delta(Figure(c.delta.estimate, c.delta.low, c.delta.high), record.n)
        cells = (c.name, images[c.on], f"{100 * c.old:.2f}", f"{100 * c.fresh:.2f}")
        table.add_row(*map(escape, (*cells, change, test)))
    stdout().print(table)
    _say(_sentence(found))


def _sentence(found: Rescored) -> str:
    if found.holds:
        others = [c.name for c in found.comparisons if not c.same_net]
        aside = f" ({', '.join(dict.fromkeys(others))} made again with other weights)" if others else ""
        return (
            f"The numbers hold{aside}: no difference beyond fresh draws (alpha {ALPHA:g}), none where there are none."
        )
    if found.same_objects:
        return "The numbers do NOT hold: the same nets give other answers about the same images."
    return (
        "It can't be told: the numbers differ, but nets or images were made again and may be others than the row's. "
        "Rescore with the store, torch version and machine of the row."
    )


def _plain(found: Rescored) -> dict[str, Any]:
    return {
        "holds": found.holds,
        "same_objects": found.same_objects,
        "alpha": ALPHA,
        "adjusted_p": found.adjusted,
        "comparisons": [dataclasses.asdict(c) | {"delta": c.delta._asdict()} for c in found.comparisons],
    }
