"""What may stand in a board.toml, key by key."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, model_validator

from robustnoise.data import SplitSizes
from robustnoise.spec import Number
from robustnoise.threat import Norm

SCHEMA = 1
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$")]
"""Of a board, whose runs get a folder of that name."""
EntryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+,=%()-]{0,63}$")]
"""Of a victim or an attack; without the | that parts the names of points."""
FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
RecipeName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
Label = Annotated[str, Field(pattern=r"^[^\s|][^|\n\r\t]{0,79}$")]
Size = Annotated[int, Field(ge=0)]
Values = Annotated[list[StrictInt | StrictFloat | StrictStr], Field(min_length=1)]


class WrongKey(ValueError):
    """A check of a whole table that is to be blamed on one of its keys."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")
        self.key, self.why = key, why


class Part(BaseModel):
    """A table of the file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataPart(Part):
    """Which images, and how they are split."""

    name: str
    seed: int = 0
    train: Size | None = None
    attacker: Size | None = None
    validation: Size | None = None
    evaluation: Annotated[int, Field(ge=1)] | None = None
    overlap: Literal["none", "same"] | float = "none"
    evaluate_on: Literal["test", "validation"] = "test"

    def identity(self) -> dict[str, Any]:
        """What a row says of the split."""
        # Rows from before the key don't have it.
        return self.model_dump(exclude={"name"} if self.evaluate_on != "test" else {"name", "evaluate_on"})

    def sizes(self) -> SplitSizes:
        """For `load_dataset`."""
        return SplitSizes(
            train=self.train,
            attacker=self.attacker,
            validation=self.validation,
            evaluation=self.evaluation,
            overlap=self.overlap,
            evaluate_on=self.evaluate_on,
        )


class ThreatPart(Part):
    """The attacker's ball and access."""

    norm: Norm
    eps: Number
    access: Literal["labels", "scores", "logits"] = "labels"


class BudgetPart(Part):
    """The attacker's queries and labelled images; absent is no limit."""

    per_image: Size | None = None
    total: Size | None = None
    seed_examples: Size | None = None
    stops: tuple[Annotated[int, Field(ge=1)], ...] = ()


class RunPart(Part):
    """How a run is done; seed, threads and precision are part of a row's identity, but not of the protocol.

    `headline` names the victims that are audited and shown with images; none names all that the board lists. `baseline`
    names the adversarially trained one, without noise, with which an audit compares the nets of noisy victims.
    """

    model: str = "small-cnn"
    undefended: str | None = None
    draws: Annotated[int, Field(ge=1, le=10_000)] = 10
    seed: int = 0
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    precision: Literal["float32", "bfloat16"] = "float32"
    headline: tuple[EntryName, ...] = ()
    baseline: str | None = None


class VictimPart(Part):
    """A victim with its own reference, architecture or training seed, or a target that somebody brings."""

    defense: str | None = None
    reference: str | None = None
    model: str | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    target: str | None = None
    options: dict[str, str | bool | int | float | list[float] | None] = {}

    def check(self, key: str) -> None:
        """Refuse keys that don't go together; `key` is where the table is."""
        if self.defense is None and self.target is None:
            raise WrongKey(f"{key}.defense", "give a defense, a target, or both")
        if self.target is not None and self.model is not None:
            raise WrongKey(f"{key}.model", "a target is a network already; leave one of the two out")
        if self.target is not None and self.seed is not None:
            raise WrongKey(f"{key}.seed", "a target is trained already; leave one of the two out")
        if self.target is None and self.options:
            raise WrongKey(f"{key}.options", "without a target they have no meaning")


class LinePart(Part):
    """A line of a curve with its own values."""

    stack: str
    values: Values


class CurvePart(Part):
    """A sweep: every line is a stack in which ``{x}`` stands for each of the values."""

    name: FileName
    title: str = ""
    x: Annotated[str, Field(min_length=1)]
    values: Values | None = None
    log: bool = False
    x_is_passes: bool = False
    midpoint: bool = False
    model: str | None = None
    lines: Annotated[dict[Label, str | LinePart], Field(min_length=1)]

    def parts(self) -> dict[str, LinePart]:
        """The lines by label, each with its values."""
        return {
            label: line if isinstance(line, LinePart) else LinePart(stack=line, values=self.values or [])
            for label, line in self.lines.items()
        }

    @model_validator(mode="after")
    def _check(self) -> CurvePart:
        if self.values is None and any(isinstance(line, str) for line in self.lines.values()):
            raise WrongKey("values", "give them to the curve, or to each line as {stack = ..., values = [...]}")
        sweeps = [line.values for line in self.parts().values()]
        flat = [v for sweep in sweeps for v in sweep]
        numbers = [v for v in flat if not isinstance(v, str)]
        if numbers and len(numbers) != len(flat) and not self.x_is_passes:
            raise WrongKey("values", "expected numbers alone or texts alone, on all lines")
        for sweep in sweeps:
            if len(set(sweep)) != len(sweep):
                raise WrongKey("values", f"expected each once, not {sweep}")
        if not all(math.isfinite(v) for v in numbers):
            raise WrongKey("values", "expected finite numbers; write texts for an axis of names")
        if self.log and not self.x_is_passes and (not numbers or min(numbers) <= 0):
            raise WrongKey("log", "a logarithmic axis needs numbers above 0")
        if self.midpoint:
            self._check_midpoint(sweeps, numeric=bool(numbers))
        return self

    def _check_midpoint(self, sweeps: list[Values], *, numeric: bool) -> None:
        if not numeric or self.x_is_passes:
            raise WrongKey("midpoint", "needs an axis of numbers that the board sets")
        first = sweeps[0]
        if any(sweep != first for sweep in sweeps):
            raise WrongKey("midpoint", "needs the same values on all lines")
        if len(first) < 2 or first not in (sorted(first), sorted(first, reverse=True)):
            raise WrongKey("midpoint", "needs two or more values in order, the quietest first")


class PublishedPart(Part):
    """An accuracy on clean images that others have published, in per cent."""

    victim: str
    accuracy: Annotated[float, Field(ge=0, le=100)]
    source: Annotated[str, Field(min_length=1)]


class ContrastPart(Part):
    """A comparison that the board declares before its run; with a margin it asks for non-inferiority."""

    victim: EntryName
    against: EntryName
    on: EntryName
    margin: Annotated[float, Field(gt=0, lt=1)] | None = None


class BoardFile(Part):
    """The whole file. Without attacks there is no threat and no budget either: accuracy on clean images is measured."""

    board_schema: Annotated[Literal[1], Field(alias="schema")]
    name: Name
    title: str = ""
    about: str = ""
    data: DataPart
    threat: ThreatPart | None = None
    budget: BudgetPart | None = None
    run: RunPart = RunPart()
    recipes: dict[RecipeName, str] = {}
    victims: Annotated[dict[EntryName, str | VictimPart], Field(min_length=1)]
    attacks: Annotated[dict[EntryName, str], Field(min_length=1)] | None = None
    curves: list[CurvePart] = []
    published: list[PublishedPart] = []
    contrasts: Annotated[list[ContrastPart], Field(max_length=6)] = []

    @model_validator(mode="after")
    def _check(self) -> BoardFile:
        for name, victim in self.victims.items():
            if isinstance(victim, VictimPart):
                victim.check(f"victims.{name}")
        if self.attacks is not None and self.threat is None:
            raise WrongKey("threat", "attacks need it; give norm and eps, or leave out attacks and budget too")
        if self.attacks is None and (self.threat is not None or self.budget is not None):
            key = "threat" if self.threat is not None else "budget"
            raise WrongKey(key, "without attacks it has no meaning; add [attacks], or leave it out")
        return self
