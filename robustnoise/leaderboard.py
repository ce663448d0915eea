"""A leaderboard is a folder: board.toml, one JSON file a row under its digest, and a generated REPORT.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from robustnoise.board import Board, find_board, load_board
from robustnoise.errors import RowError
from robustnoise.flags import raised
from robustnoise.records import EvaluationRecord, check_written, row_bytes
from robustnoise.report import views
from robustnoise.report.curves import CurveView, curve_view, flat_points
from robustnoise.report.markdown import report
from robustnoise.report.plots import picture_names, pictures, shows
from robustnoise.report.published import PublishedView, published_views
from robustnoise.report.queries import query_views
from robustnoise.report.submitted import Submitted, submitted
from robustnoise.spec import digest_of
from robustnoise.store import atomic_write

if TYPE_CHECKING:
    import pandas as pd


class Contents(NamedTuple):
    """What a report shows: rows and worst cases of the listed victims, curves, published figures, submissions."""

    rows: list[views.RowView]
    summary: list[views.Summary]
    curves: list[CurveView]
    published: list[PublishedView]
    submitted: list[Submitted]


class Leaderboard:
    """Rows of one board.

    Args:
        path: a folder with a board.toml, or the name of a board that ships with robustnoise.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = find_board(path)
        self.board: Board = load_board(self.path)

    @property
    def rows_folder(self) -> Path:
        """Where the row files lie."""
        return self.path / "rows"

    def rows(self) -> list[EvaluationRecord]:
        """All rows, in the order of the board's victims and attacks.

        Raises:
            RowError: a row is damaged, edited or of a newer schema; the message names the file.
        """
        found = [record for _, record in self._read()]
        victims = [v.name for v in self.board.victims]
        attacks = [a.name for a in self.board.attacks]

        def order(record: EvaluationRecord) -> tuple[int, str, int, str, str]:
            victim, attack = record.victim.victim["name"], record.attack["name"] if record.attack else ""
            places = (
                (victims.index(victim) if victim in victims else len(victims)),
                (attacks.index(attack) if attack in attacks else len(attacks)),
            )
            return places[0], victim, places[1], attack, record.digest

        return sorted(found, key=order)

    def _read(self) -> Iterator[tuple[Path, EvaluationRecord]]:
        for path in sorted(self.rows_folder.glob("*.json")):
            yield path, read_row(path)

    def add(self, record: EvaluationRecord) -> Path:
        """Write a row; adding it again changes nothing.

        Raises:
            RowError: a row of the same identity has another outcome.
        """
        path = self.rows_folder / f"{record.digest}.json"
        if path.exists():
            known = read_row(path)
            if known.outcome != record.outcome:
                raise RowError(
                    f"{path}: holds another outcome for the same victim, attack, data and seed. Results must repeat on "
                    "one machine; remove the old row if it comes from another machine or version."
                )
            return path
        atomic_write(path, row_bytes(record.to_json()))
        return path

    def ranked(self, record: EvaluationRecord) -> bool:
        """Whether the row follows the board's protocol."""
        return self.board.ranks(record.setting, record.attack, record.victim.victim)

    def views(self) -> list[views.RowView]:
        """Every row with its statistics computed.

        Raises:
            RowError: there is none.
        """
        return [views.row_view(r, ranked=self.ranked(r), flags=raised(r)) for r in self.rows_or_advice()]

    def rows_or_advice(self) -> list[EvaluationRecord]:
        """The rows, at least one.

        Raises:
            RowError: there is none; the message says how to make them.
        """
        rows = self.rows()
        if not rows:
            raise RowError(f"{self.path}: the board has no rows yet. 'robustnoise run {self.path}' makes them.")
        return rows

    def to_frame(self) -> pd.DataFrame:
        """The rows as a data frame: one line a row, intervals in columns of their own."""
        import pandas as pd

        return pd.DataFrame([views.flat(v) for v in self.views()])

    def curves(self) -> list[CurveView]:
        """The board's curves, from the rows that follow its protocol."""
        return self.contents().curves

    def curves_to_frame(self) -> pd.DataFrame:
        """The points of all curves as a data frame: one line a point and line, accuracies as shares of 1."""
        import pandas as pd

        return pd.DataFrame([line for view in self.curves() for line in flat_points(view)])

    def contents(self, rows: Sequence[EvaluationRecord] | None = None, *, unranked: bool = False) -> Contents:
        """What the report shows.

        Args:
            rows: those to show; None takes the board's.
            unranked: worst cases, curves and published figures take rows that don't follow the protocol too.
        """
        rows = self.rows() if rows is None else rows
        board, ranked = self.board, [r for r in rows if unranked or self.ranked(r)]
        usual = sorted(ranked, key=self._unusual)
        # A point is shown on its curve; the tables are for the listed victims.
        listed = [r for r in rows if r.victim.victim["name"] not in board.points]
        return Contents(
            rows=[views.row_view(r, ranked=self.ranked(r), flags=raised(r)) for r in listed],
            summary=views.summary([r for r in ranked if r.victim.victim["name"] not in board.points]),
            curves=[*(curve_view(curve, usual) for curve in board.curves), *query_views(usual)],
            published=published_views(board.published, usual),
            submitted=submitted(listed),
        )

    def _unusual(self, record: EvaluationRecord) -> tuple[bool, bool]:
        """Orders the rows of one victim and seed: the first, with the board's threads and on the CPU, is shown."""
        return record.setting.get("threads") != self.board.file.run.threads, record.setting.get("device") != "cpu"

    def report(self) -> str:
        """REPORT.md, a function of board and rows."""
        return self._report(self.contents())

    def _report(self, contents: Contents) -> str:
        return report(
            title=self.board.file.title or self.board.name,
            about=self.board.file.about,
            protocol=self.board.protocol(),
            **contents._asdict(),
        )

    def write_report(self, contents: Contents | None = None) -> Path:
        """Write REPORT.md and the pictures that it shows.

        Args:
            contents: those of all rows, where they are known already; None computes them.

        Raises:
            MissingExtra: the board has curves, and matplotlib isn't installed.
        """
        contents = self.contents() if contents is None else contents
        for view in contents.curves:
            for name, content in pictures(view).items():
                atomic_write(self._picture(name), content)
        path = self.path / "REPORT.md"
        atomic_write(path, self._report(contents).encode())
        return path

    def _picture(self, name: str) -> Path:
        return self.path / "plots" / f"{name}.svg"

    def verify(self) -> list[str]:
        """Check every row file, the report and its pictures; each problem as a line, none if all is well.

        A picture must show the present numbers. Its bytes may be those of another matplotlib.
        """
        problems, found = [], []
        for path in sorted(self.rows_folder.glob("*")):
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
        if not problems and self.rows_folder.exists():
            contents = self.contents()
            problems += self._verify_pictures(contents.curves)
            written = self.path / "REPORT.md"
            if not written.exists():
                problems.append(f"{written}: absent; 'robustnoise board report {self.path}' writes it.")
            elif written.read_bytes() != self._report(contents).encode():
                problems.append(
                    f"{written}: doesn't follow from the rows; 'robustnoise board report {self.path}' rewrites it."
                )
        problems += self._strays(found)
        if not any(self.rows_folder.glob("*.json")):
            problems.append(f"{self.path}: the board has no rows yet. 'robustnoise run {self.path}' makes them.")
        return problems

    def _strays(self, records: Sequence[EvaluationRecord]) -> Iterator[str]:
        """Rows that nothing on the board shows, and rows of which a curve could show one alone."""
        names = {v.name for v in self.board.victims}
        first: dict[str, EvaluationRecord] = {}
        for record in records:
            path, name = self.rows_folder / f"{record.digest}.json", record.victim.victim["name"]
            if record.attack is None and name not in names and "submitted" not in record.victim.victim:
                yield (
                    f"{path}: {name!r} is no victim and no point of the board. Remove the row, or give the victim, the "
                    "curve or the line its old name in board.toml."
                )
            if not self.ranked(record):
                continue
            other = first.setdefault(_same_measurement(record), record)
            if other is not record:
                yield (
                    f"{path}: same victim, attack and seed as {other.digest}.json, with other "
                    f"{_what_differs(record, other)}. Remove one of the two."
                )

    def _verify_pictures(self, curves: Sequence[CurveView]) -> Iterator[str]:
        wanted = {self._picture(name): view for view in curves for name in picture_names(view)}
        advice = f"'robustnoise board report {self.path}' draws it."
        for path, view in wanted.items():
            if not path.exists():
                yield f"{path}: absent; {advice}"
            elif not shows(path.read_bytes(), view):
                yield f"{path}: doesn't show the numbers of the rows; {advice}"
        for path in sorted((self.path / "plots").glob("*")):
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


def read_row(path: Path) -> EvaluationRecord:
    """The row in `path`.

    Raises:
        RowError: it is damaged, edited or of a newer schema; the message names the file.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RowError(f"{path}: can't be read as JSON: {error}.") from None
    try:
        return EvaluationRecord.from_json(plain)
    except RowError as error:
        raise RowError(f"{path}: {error}") from None
