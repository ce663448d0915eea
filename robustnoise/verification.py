"""What `board verify` checks: that rows, audits, report, pictures and examples of a board follow from each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from robustnoise import examples as example_files
from robustnoise.errors import RowError
from robustnoise.records import EvaluationRecord, check_written
from robustnoise.report.curves import CurveView
from robustnoise.report.plots import picture_names, shows
from robustnoise.rowfiles import read_audit, read_row
from robustnoise.spec import digest_of

if TYPE_CHECKING:
    from robustnoise.leaderboard import Leaderboard


def problems_of(board: Leaderboard) -> list[str]:
    """Check every row file, the report and its pictures; each problem as a line, none if all is well.

    A picture must show the present numbers. Its bytes may be those of another matplotlib.
    """
    problems, found = [], []
    for path in sorted(board.rows_folder.glob("*")):
        if path.suffix != ".json":
            problems.append(f"{path}: not a row file.")
            continue
        try:
            record = read_row(path)
        except RowError as error:
            problems.append(str(error))
            continue
        try:
            check_written(path.read_bytes())
        except RowError as error:
            problems.append(f"{path}: {error}")
        if record.digest != path.stem:
            problems.append(f"{path}: the file's name is not the row's digest {record.digest}.")
        found.append(record)
    problems += _audits(board)
    if not problems and board.rows_folder.exists():
        contents = board.contents()
        problems += _pictures(board, contents.curves)
        written = board.path / "REPORT.md"
        if not written.is_file():
            problems.append(f"{written}: absent; 'robustnoise board report {board.path}' writes it.")
        elif written.read_bytes() != board.report(contents).encode():
            problems.append(
                f"{written}: doesn't follow from the rows; 'robustnoise board report {board.path}' rewrites it."
            )
    problems += _examples(board, found)
    problems += _strays(board, found)
    if not any(board.rows_folder.glob("*.json")):
        problems.append(f"{board.path}: the board has no rows yet. 'robustnoise run {board.path}' makes them.")
    return problems


def _examples(board: Leaderboard, records: Sequence[EvaluationRecord]) -> Iterator[str]:
    known = {example_files.path_of(board.path, record): record for record in records}
    for path in sorted((board.path / "examples").glob("*")):
        if path not in known:
            yield f"{path}: belongs to no row of the board; remove it."
            continue
        try:
            example_files.of(path, known[path])
        except RowError as error:
            yield str(error)


def _audits(board: Leaderboard) -> Iterator[str]:
    for path in sorted(board.audits_folder.glob("*")):
        if path.suffix != ".json":
            yield f"{path}: not an audit."
            continue
        try:
            audit = read_audit(path)
        except RowError as error:
            yield str(error)
            continue
        if audit.digest != path.stem:
            yield f"{path}: the file's name is not the audit's digest {audit.digest}."
        elif not board.board.audits(audit.setting, audit.victim):
            yield f"{path}: audits no victim of the board on its data in its ball; remove it."


def _strays(board: Leaderboard, records: Sequence[EvaluationRecord]) -> Iterator[str]:
    """Rows that nothing on the board shows, and rows of which a curve could show one alone."""
    names = {v.name for v in board.board.victims}
    first: dict[str, EvaluationRecord] = {}
    for record in records:
        path, name = board.rows_folder / f"{record.digest}.json", record.victim.victim["name"]
        if record.attack is None and name not in names and "submitted" not in record.victim.victim:
            yield (
                f"{path}: {name!r} is no victim and no point of the board. Remove the row, or give the victim, the "
                "curve or the line its old name in board.toml."
            )
        if not board.ranked(record):
            continue
        other = first.setdefault(_same_measurement(record), record)
        if other is not record:
            yield (
                f"{path}: same victim, attack and seed as {other.digest}.json, with other "
                f"{_what_differs(record, other)}. Remove one of the two."
            )


def _pictures(board: Leaderboard, curves: Sequence[CurveView]) -> Iterator[str]:
    wanted = {board.picture(name): view for view in curves for name in picture_names(view)}
    advice = f"'robustnoise board report {board.path}' draws it."
    for path, view in wanted.items():
        if not path.is_file():
            yield f"{path}: absent; {advice}"
        elif not shows(path.read_bytes(), view):
            yield f"{path}: doesn't show the numbers of the rows; {advice}"
    for path in sorted((board.path / "plots").glob("*")):
        if path not in wanted:
            yield f"{path}: belongs to no curve of the board; remove it."


def _same_measurement(record: EvaluationRecord) -> str:
    """What a row measures, whatever it was measured with: names, stack, architecture, attack and seed."""
    victim = {k: v for k, v in record.victim.victim.items() if k != "digest"}
    return digest_of([victim, record.attack, record.setting["seed"]])


def _what_differs(record: EvaluationRecord, other: EvaluationRecord) -> str:
    """In two rows of the same measurement."""
    keys = [k for k, v in record.setting.items() if v != other.setting.get(k)]
    if record.victim.victim != other.victim.victim:
        keys.append("weights")
    return ", ".join(keys) or "nets to compare with"
