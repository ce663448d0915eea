"""Boards from files, from parsed TOML and from the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from robustnoise.board.checked import Board
from robustnoise.board.file import SCHEMA, BoardFile, BudgetPart, DataPart, RunPart, ThreatPart, VictimPart, WrongKey
from robustnoise.board.sweeps import check_published
from robustnoise.errors import BadBoard, RobustnoiseError, did_you_mean, shown, told
from robustnoise.harness.experiment import check_parts

CREDENTIAL = "ROBUSTNOISE_AUTH"
"""How every environment variable begins that a board may send to an endpoint."""


def find_board(name_or_path: str | Path) -> Path:
    """The folder of a board: a path, or the name of a board that ships with robustnoise.

    Raises:
        BadBoard: neither.
    """
    path = Path(name_or_path)
    if path.is_file() and path.name == "board.toml":
        return path.parent
    if (path / "board.toml").is_file():
        return path
    shipped = Path(__file__).parents[1] / "boards"
    if (shipped / str(name_or_path) / "board.toml").is_file():
        return shipped / str(name_or_path)
    names = ", ".join(sorted(p.parent.name for p in shipped.glob("*/board.toml")))
    near = sorted(p.parent for p in Path().glob("*/*/board.toml") if p.parent.name == path.name)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise BadBoard(
        f"no board {str(name_or_path)!r}: expected a folder with a board.toml, that file, or a shipped board ({names})."
        + hint
    )


def load_board(path: Path, overrides: Sequence[str] = ()) -> Board:
    """Read and check ``path/board.toml``.

    Args:
        path: the board's folder.
        overrides: ``"run.seed=3"``: dotted key and TOML value; a text needs no quotes.

    Raises:
        BadBoard: with file and key.
    """
    file = path / "board.toml"
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # of TOML, UTF-8, or a number with too many digits
        raise BadBoard(f"{file}: can't be read as TOML: {told(error)}.") from None
    for override in overrides:
        _set(content, override)
    board = board_from(content, str(file))
    for name, part in board.file.victims.items():
        if not isinstance(part, str):
            _check_options(f"{file}: victims.{name}.options", part.options)
    return board


def _check_options(key: str, options: Mapping[str, Any]) -> None:
    """Refuse what a file that may be anybody's must not decide."""
    variable = options.get("auth_env")
    if variable is not None and not str(variable).startswith(CREDENTIAL):
        raise BadBoard(
            f"{key}.auth_env = {told(variable)}: a board may be anybody's, so it sends no variable but one whose name "
            f"begins with {CREDENTIAL}. Copy the credential into such a one."
        )
    if "journal" in options:
        raise BadBoard(f"{key}.journal: a board names no place to write; leave it out.")


def board_from(content: Mapping[str, Any], origin: str) -> Board:
    """A board from parsed TOML.

    Raises:
        BadBoard: with origin and key.
    """
    try:
        file = BoardFile.model_validate(content)
        board = Board(file, origin)
        check_parts(board.victims, board.attacks, board.threat, file.run.undefended)
        check_published([p.victim for p in file.published], board.victims, origin)
        file.data.sizes()
        _ = board.contrasts
        _check_headline(board)
    except ValidationError as error:
        raise BadBoard("\n".join(f"{origin}: {_where(e)}: {_why(e)}" for e in error.errors())) from None
    except BadBoard:
        raise
    except RobustnoiseError as error:
        raise BadBoard(f"{origin}: {error}") from None
    return board


def _check_headline(board: Board) -> None:
    names = [v.name for v in board.listed]
    baseline = board.file.run.baseline
    named = [("headline", name) for name in board.headline] + ([("baseline", baseline)] if baseline else [])
    for key, name in named:
        if name not in names:
            raise BadBoard(
                f"{board.origin}: run.{key}: {name!r} is none of the listed victims.{did_you_mean(name, names)}"
            )


def _where(error: Any) -> str:
    places = [str(p) for p in error["loc"] if p not in UNION]
    wrong = _wrong_key(error)
    return ".".join([*places, wrong.key] if wrong else places)


def _wrong_key(error: Any) -> WrongKey | None:
    found = error.get("ctx", {}).get("error")
    return found if isinstance(found, WrongKey) else None


UNION = ("str", "VictimPart", "LinePart", "int", "float")
"""What pydantic puts into the path of an error to tell which of several types it tried."""


def _why(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        *above, key = error["loc"]
        return f"unknown key.{did_you_mean(str(key), _keys(above))}"
    wrong = _wrong_key(error)
    if wrong:
        return f"{wrong.why}."
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]} (given: {shown(error['input'])})."


def _keys(path: Sequence[int | str]) -> list[str]:
    """The keys of the table at that path of a board."""
    table: type[BaseModel] = BoardFile
    for place in path:
        if place in table.model_fields:  # else it is a name that the board's author gave, or a number
            table = next(_tables(table.model_fields[str(place)].annotation), table)
    return list(table.model_fields)


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _tables(part)


def _set(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise BadBoard(f"--set {override}: expected key=value, such as run.seed=3.")
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        value = text
    except (ValueError, RecursionError) as error:
        raise BadBoard(f"--set {told(override, 100)}: can't be read: {told(error)}.") from None
    *parents, last = key.split(".")
    place: Any = content
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise BadBoard(f"--set {override}: {parent!r} holds a value, no table.")
    place[last] = value


def adhoc_board(
    *, data: DataPart, threat: ThreatPart, victims: Mapping[str, VictimPart], attacks: Mapping[str, str], run: RunPart,
    budget: BudgetPart | None = None,
) -> Board:  # fmt: skip
    """A board for one evaluation from the command line."""
    content = {
        "schema": SCHEMA,
        "name": "evaluate",
        "data": data.model_dump(),
        "threat": threat.model_dump(),
        "budget": (budget or BudgetPart()).model_dump(),
        "run": run.model_dump(),
        "victims": {k: v.model_dump() for k, v in victims.items()},
        "attacks": dict(attacks),
    }
    return board_from(content, "command line")
