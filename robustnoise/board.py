"""A board file: the protocol of a leaderboard as TOML, checked whole before any work starts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustnoise.blocks import BLOCK
from robustnoise.compose import Defense, split_stages
from robustnoise.data import SplitSizes, load_dataset
from robustnoise.errors import BadBoard, RobustnoiseError
from robustnoise.harness.experiment import Attack, Experiment, Victim, check_parts
from robustnoise.registry import build, spec_of
from robustnoise.spec import Number
from robustnoise.store import IDENTITY
from robustnoise.threat import Access, Budget, Norm, ThreatModel

SCHEMA = 1
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$")]
Size = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataPart(_Part):
    """Which images, and how they are split."""

    name: str
    seed: int = 0
    train: Size | None = None
    attacker: Size | None = None
    validation: Size | None = None
    evaluation: Annotated[int, Field(ge=1)] | None = None
    overlap: Literal["none", "same"] | float = "none"

    def sizes(self) -> SplitSizes:
        """For `load_dataset`."""
        return SplitSizes(
            train=self.train,
            attacker=self.attacker,
            validation=self.validation,
            evaluation=self.evaluation,
            overlap=self.overlap,
        )


class ThreatPart(_Part):
    """The attacker's ball and access."""

    norm: Norm
    eps: Number
    access: Literal["labels", "scores", "logits"] = "labels"


class BudgetPart(_Part):
    """The attacker's queries and labelled images; absent is no limit."""

    per_image: Size | None = None
    total: Size | None = None
    seed_examples: Size | None = None


class RunPart(_Part):
    """How a run is done; the seed and the threads are part of a row's identity, but not of the protocol."""

    model: str = "small-cnn"
    undefended: str | None = None
    draws: Annotated[int, Field(ge=1, le=10_000)] = 10
    seed: int = 0
    threads: Annotated[int, Field(ge=1, le=1024)] = 2


class VictimPart(_Part):
    """A victim with its own reference or architecture."""

    defense: str
    reference: str | None = None
    model: str | None = None


class BoardFile(_Part):
    """The whole file."""

    board_schema: Annotated[Literal[1], Field(alias="schema")]
    name: Name
    title: str = ""
    about: str = ""
    data: DataPart
    threat: ThreatPart
    budget: BudgetPart = BudgetPart()
    run: RunPart = RunPart()
    victims: Annotated[dict[Name, str | VictimPart], Field(min_length=1)]
    attacks: Annotated[dict[Name, str], Field(min_length=1)]


@dataclass(frozen=True)
class Board:
    """A checked board.

    Args:
        file: its content.
        origin: for messages.
    """

    file: BoardFile
    origin: str

    @property
    def name(self) -> str:
        """The board's name."""
        return self.file.name

    def protocol(self) -> dict[str, Any]:
        """What a row must share with the board to be ranked, beside an attack of the board's list."""
        return {
            "data": {"name": self.file.data.name, "sizes": self.file.data.model_dump(exclude={"name"})},
            "threat": self.threat.to_json(),
            "budget": self.budget.to_json(),
            "draws": self.file.run.draws,
            "block": BLOCK,
            "identity": IDENTITY,
        }

    @property
    def threat(self) -> ThreatModel:
        """The threat model."""
        part = self.file.threat
        return ThreatModel(part.norm, part.eps, Access.parse(part.access))

    @property
    def budget(self) -> Budget:
        """The budget."""
        return Budget(**self.file.budget.model_dump())

    @cached_property
    def attacks(self) -> tuple[Attack, ...]:
        """The attacks, built.

        Raises:
            BadBoard: with file and key.
        """
        return tuple(
            Attack(name, self._build(f"attacks.{name}", text, "attack")) for name, text in self.file.attacks.items()
        )

    @cached_property
    def victims(self) -> tuple[Victim, ...]:
        """The victims, built, each with its reference.

        The reference defaults to the stack less its inference stages, which is added where the board doesn't list it;
        a stack without inference stages is compared with the undefended net.
        """
        built = [self._victim(name, part) for name, part in self.file.victims.items()]
        undefended = self.file.run.undefended
        complete: list[Victim] = []
        for victim in built:
            training, inference = split_stages(victim.defense)
            reference = victim.reference
            if reference is None and inference.stages():
                same = [v.name for v in built if v.defense == training and v.model == victim.model]
                reference = same[0] if same else f"{victim.name} less inference"
                if not same:
                    complete.append(Victim(reference, training, victim.model, undefended))
            elif reference is None and victim.name != undefended:
                reference = undefended
            complete.append(Victim(victim.name, victim.defense, victim.model, reference))
        return tuple(complete)

    def _victim(self, name: str, part: str | VictimPart) -> Victim:
        part = VictimPart(defense=part) if isinstance(part, str) else part
        defense: Defense = self._build(f"victims.{name}", part.defense, "defense")
        model = self._build(f"victims.{name}.model", part.model or self.file.run.model, "model")
        return Victim(name, defense, model, part.reference)

    def _build(self, key: str, text: str, kind: str) -> Any:
        try:
            return build(text, kind)
        except RobustnoiseError as error:
            raise BadBoard(f"{self.origin}: {key}: {error}") from None

    def experiment(
        self,
        *,
        data_dir: Path | None = None,
        device: str = "cpu",
        plugin_files: Sequence[Path] = (),
        progress: bool = True,
    ) -> Experiment:
        """Everything checked, data loaded, nothing run.

        Raises:
            BadBoard: with file and key; and the errors of `load_dataset`.
        """
        dataset = load_dataset(
            self.file.data.name,
            sizes=self.file.data.sizes(),
            seed=self.file.data.seed,
            data_dir=data_dir,
            progress=progress,
        )
        try:
            return Experiment(
                dataset=dataset,
                sizes=self.file.data.model_dump(exclude={"name"}),
                threat=self.threat,
                budget=self.budget,
                victims=self.victims,
                attacks=self.attacks,
                undefended=self.file.run.undefended,
                draws=self.file.run.draws,
                seed=self.file.run.seed,
                threads=self.file.run.threads,
                device=device,
                plugin_files=tuple(plugin_files),
            )
        except RobustnoiseError as error:
            raise BadBoard(f"{self.origin}: {error}") from None

    def ranks(self, setting: Mapping[str, Any], attack: Mapping[str, Any], victim: Mapping[str, Any]) -> bool:
        """Whether a row follows the board's protocol; one that bears a listed victim's name must be that victim."""
        data = setting["data"]
        theirs = {k: setting[k] for k in ("threat", "budget", "draws", "block", "identity")}
        theirs["data"] = {k: data.get(k) for k in ("name", "sizes")}
        known = [spec_of(a.attack).to_json() for a in self.attacks]
        namesakes = [v for v in self.victims if v.name == victim["name"]]
        if any(v.identity(victim["digest"]) != victim for v in namesakes):
            return False
        return theirs == self.protocol() and attack["spec"] in known


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
    shipped = Path(__file__).parent / "boards"
    if (shipped / str(name_or_path) / "board.toml").is_file():
        return shipped / str(name_or_path)
    names = ", ".join(sorted(p.parent.name for p in shipped.glob("*/board.toml")))
    raise BadBoard(
        f"no board {str(name_or_path)!r}: expected a folder with a board.toml, that file, or a shipped board ({names})."
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
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadBoard(f"{file}: can't be read as TOML: {error}.") from None
    for override in overrides:
        _set(content, override)
    return board_from(content, str(file))


def board_from(content: Mapping[str, Any], origin: str) -> Board:
    """A board from parsed TOML.

    Raises:
        BadBoard: with origin and key.
    """
    try:
        file = BoardFile.model_validate(content)
        board = Board(file, origin)
        check_parts(board.victims, board.attacks, board.threat, file.run.undefended)
        file.data.sizes()
    except ValidationError as error:
        raise BadBoard("\n".join(f"{origin}: {_where(e)}: {_why(e)}" for e in error.errors())) from None
    except BadBoard:
        raise
    except RobustnoiseError as error:
        raise BadBoard(f"{origin}: {error}") from None
    return board


def _where(error: Any) -> str:
    return ".".join(str(p) for p in error["loc"] if p not in ("str", "VictimPart"))


def _why(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key."
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]} (given: {error['input']!r})."


def _set(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise BadBoard(f"--set {override}: expected key=value, such as run.seed=3.")
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        value = text
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
