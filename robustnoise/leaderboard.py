"""A leaderboard is a folder: board.toml, one JSON file a row and an audit under its digest, a generated REPORT.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustnoise import examples as example_files
from robustnoise.audits import AuditRecord
from robustnoise.board import Board, find_board, load_board
from robustnoise.errors import RowError
from robustnoise.examples import Examples
from robustnoise.flags import Raised, blocks, raised, raised_by
from robustnoise.protocols import Progress, Silent
from robustnoise.records import EvaluationRecord, row_bytes
from robustnoise.report import views
from robustnoise.report.contents import Contents
from robustnoise.report.contrasts import contrast_views
from robustnoise.report.curves import CurveView, curve_view, flat_points
from robustnoise.report.flat import columns, flat_rows, plain
from robustnoise.report.markdown import report
from robustnoise.report.page import page_data
from robustnoise.report.plots import pictures
from robustnoise.report.published import published_views
from robustnoise.report.queries import query_views
from robustnoise.report.radii import radii_views
from robustnoise.report.submitted import submitted
from robustnoise.report.variance import variance_views
from robustnoise.report.views import RowView
from robustnoise.rowfiles import known_outcome, read_audit, read_row
from robustnoise.spec import digest_of
from robustnoise.store import atomic_write
from robustnoise.verification import problems_of

if TYPE_CHECKING:
    import pandas as pd


class Leaderboard:
    """Rows of one board.

    Args:
        path: a folder with a board.toml, or the name of a board that ships with robustnoise.
        progress: where statistics report; those of a hundred rows of 10,000 images take ten seconds.
    """

    def __init__(self, path: str | Path, progress: Progress | None = None) -> None:
        self.path = find_board(path)
        self.progress = progress or Silent()
        self._known: dict[tuple[str, bool, tuple[Raised, ...]], RowView] = {}
        self._parsed: dict[str, EvaluationRecord] = {}
        self.board: Board = load_board(self.path)

    @property
    def rows_folder(self) -> Path:
        """Where the row files lie."""
        return self.path / "rows"

    @property
    def audits_folder(self) -> Path:
        """Where the files of audits lie."""
        return self.path / "audits"

    def audits(self) -> list[AuditRecord]:
        """All audits, by digest.

        Raises:
            RowError: one is damaged, edited or of a newer schema; the message names the file.
        """
        return [read_audit(path) for path in sorted(self.audits_folder.glob("*.json"))]

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
            yield path, self._row(path)

    def _row(self, path: Path) -> EvaluationRecord:
        """The row in `path`, which is read at every call and parsed once."""
        return read_row(path, self._parsed)

    def add(self, *found: EvaluationRecord | AuditRecord) -> list[Path]:
        """Write rows and audits, or none of them where one is in conflict; adding one again changes nothing.

        Returns:
            their files, in the order given.

        Raises:
            RowError: files of the same identity hold another outcome or are damaged; the message names each.
        """
        paths = [self._place(record) for record in found]
        fresh, conflicts = dict[Path, EvaluationRecord | AuditRecord](), list[str]()
        for path, record in zip(paths, found, strict=True):
            try:
                known = fresh[path].outcome if path in fresh else self._outcome(path, record)
            except RowError as error:
                conflicts.append(str(error))
                continue
            if known is None:
                fresh[path] = record
            elif known != record.outcome:
                conflicts.append(f"{path}: holds another outcome of {_what(record)}.")
        if conflicts:
            raise RowError(
                f"none of these is written to {self.path}, since files there are in the way:\n"
                + "\n".join(conflicts)
                + "\nResults must repeat on one machine. Where the new ones are to replace them, as those of another "
                "machine or version may, remove these files and give the command again."
            )
        for path, record in fresh.items():
            atomic_write(path, row_bytes(record.to_json()))
        return paths

    def _place(self, record: EvaluationRecord | AuditRecord) -> Path:
        folder = self.audits_folder if isinstance(record, AuditRecord) else self.rows_folder
        return folder / f"{record.digest}.json"

    def _outcome(self, path: Path, record: EvaluationRecord | AuditRecord) -> Mapping[str, Any] | None:
        """What the file in the place of `record` says, if there is one."""
        return known_outcome(path, read_audit) if isinstance(record, AuditRecord) else known_outcome(path, self._row)

    def add_examples(self, found: Iterable[Examples]) -> None:
        """Write images that attacks won beside their rows."""
        for examples in found:
            atomic_write(self.path / "examples" / f"{examples.row}.npz", examples.to_bytes())

    def examples(self, records: Sequence[EvaluationRecord]) -> dict[str, Examples]:
        """Those that lie beside `records`, by the digest of the row.

        Raises:
            RowError: a file is damaged or doesn't belong to its row; the message names it.
        """
        paths = {record.digest: example_files.path_of(self.path, record) for record in records}
        present = [record for record in records if paths[record.digest].exists()]
        return {record.digest: example_files.of(paths[record.digest], record) for record in present}

    def ranked(self, record: EvaluationRecord) -> bool:
        """Whether the row follows the board's protocol; a flag may keep it out of the ranking all the same."""
        return self.board.ranks(record.setting, record.attack, record.victim.victim)

    def flags(self, rows: Sequence[EvaluationRecord]) -> dict[str, tuple[Raised, ...]]:
        """The flags of `rows` by digest: those that follow from the rows, and those of audits of their victims."""
        of_audits: dict[str, list[Raised]] = {}
        for audit in self.audits():
            of_audits.setdefault(_audited(audit.victim, audit.setting["threat"]), []).extend(raised_by(audit))
        groups: dict[str, list[EvaluationRecord]] = {}
        for record in rows:
            groups.setdefault(digest_of([record.victim.victim, record.setting]), []).append(record)
        found: dict[str, tuple[Raised, ...]] = {}
        for group in groups.values():
            for record in group:
                own = raised(record, group)
                names = {r.flag for r in own}
                threat = record.setting["threat"] if record.attack is not None else None
                theirs = of_audits.get(_audited(record.victim.victim, threat), []) if threat else []
                more = {r.flag: r for r in theirs if r.flag not in names}
                found[record.digest] = tuple(sorted((*own, *more.values()), key=lambda r: not blocks([r])))
        return found

    def _views(self, rows: Sequence[EvaluationRecord], flags: Mapping[str, tuple[Raised, ...]]) -> list[RowView]:
        """The views of `rows`, each computed once."""
        keys = [(r.digest, self.ranked(r) and not blocks(flags[r.digest]), flags[r.digest]) for r in rows]
        missing = [(key, r) for key, r in zip(keys, rows, strict=True) if key not in self._known]
        if missing:
            meter = self.progress.start(f"statistics of {self.board.name}", len(missing))
            for key, record in missing:
                _, ranked, raised_here = key
                self._known[key] = views.row_view(record, ranked=ranked, flags=raised_here)
                meter.advance()
        return [self._known[key] for key in keys]

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
        """The rows as a data frame: one line a row, intervals in columns of their own (docs/reading-a-row.md)."""
        import pandas as pd

        lines = self.flat()
        return pd.DataFrame(lines, columns=columns(lines))

    def flat(self) -> list[dict[str, Any]]:
        """The rows as plain values, one level of columns, each with the rank of its victim.

        Raises:
            RowError: there is none.
        """
        rows = self.rows_or_advice()
        flags = self.flags(rows)
        summary = views.summary([r for r in rows if self.ranked(r)], flags)
        return flat_rows(self._views(rows, flags), summary)

    def to_json(self) -> dict[str, Any]:
        """Rows as in `flat`, and the summary, contrasts and variances of the report, as plain values.

        Raises:
            RowError: there is no row.
        """
        lines, contents = self.flat(), self.contents()
        return {
            "rows": lines,
            **{name: [plain(v) for v in getattr(contents, name)] for name in ("summary", "contrasts", "variance")},
        }

    def curves(self) -> list[CurveView]:
        """The board's curves, from the rows that follow its protocol."""
        return list(self.contents().curves)

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
        board, flags = self.board, self.flags(rows)
        ranked = [r for r in rows if unranked or self.ranked(r)]
        usual = sorted(ranked, key=self._unusual)
        # A point is shown on its curve; the tables are for the listed victims.
        listed = [r for r in rows if r.victim.victim["name"] not in board.points]
        return Contents(
            rows=self._views(listed, flags),
            summary=views.summary([r for r in ranked if r.victim.victim["name"] not in board.points], flags),
            curves=[*(curve_view(curve, usual) for curve in board.curves), *query_views(usual)],
            published=published_views(board.published, usual),
            contrasts=contrast_views(board.contrasts, usual, board.file.run.seed, flags),
            variance=variance_views([r for r in usual if r.victim.victim["name"] not in board.points]),
            submitted=submitted(listed),
        )

    def _unusual(self, record: EvaluationRecord) -> tuple[bool, ...]:
        """Orders the rows of one victim and seed: the first, run as the board says and on the CPU, is shown."""
        setting, run = record.setting, self.board.file.run
        other = setting.get("threads") != run.threads, setting.get("precision", "float32") != run.precision
        return (*other, setting.get("device") != "cpu")

    def report(self, contents: Contents | None = None) -> str:
        """REPORT.md, a function of board and rows."""
        contents = self.contents() if contents is None else contents
        return report(
            title=self.board.file.title or self.board.name,
            about=self.board.file.about,
            protocol=self.board.protocol(),
            contents=contents,
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
                atomic_write(self.picture(name), content)
        path = self.path / "REPORT.md"
        atomic_write(path, self.report(contents).encode())
        return path

    def page_data(self) -> dict[str, Any]:
        """What the board's page shows.

        Raises:
            RowError: no rows, or a damaged file; the message names it.
        """
        records = self.rows_or_advice()
        contents = self.contents(records)
        audits = [audit for audit in self.audits() if self.board.audits(audit.setting, audit.victim)]
        contents = contents._replace(curves=[*contents.curves, *radii_views(audits)])
        return page_data(
            name=self.board.name,
            title=self.board.file.title or self.board.name,
            about=self.board.file.about,
            protocol=self.board.protocol(),
            contents=contents,
            records=records,
            examples=self.examples([r for r in records if self.board.shown(r.victim.victim["name"])]),
        )

    def picture(self, name: str) -> Path:
        """Where the picture of a curve lies."""
        return self.path / "plots" / f"{name}.svg"

    def verify(self) -> list[str]:
        """What is wrong with the board's files; none if they follow from each other (`robustnoise.verification`)."""
        return problems_of(self)


def _audited(victim: Mapping[str, Any], threat: Mapping[str, Any]) -> str:
    """What an audit and the rows that it speaks of share: the victim as it answers, and the ball."""
    return digest_of([victim["digest"], threat["norm"], threat["eps"]])


def _what(record: EvaluationRecord | AuditRecord) -> str:
    """Of what it tells, in a few words."""
    if isinstance(record, AuditRecord):
        return f"the audit of {record.victim['name']}"
    under = f" under {record.attack['name']}" if record.attack else ""
    return f"{record.victim.victim['name']}{under}, seed {record.setting['seed']}"
