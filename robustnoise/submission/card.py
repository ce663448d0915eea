"""The card of a submission: who hands in what, how it was made, and what is claimed of it. Bounded plain text."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from robustnoise.board.file import EntryName
from robustnoise.errors import BadSubmission
from robustnoise.records import HIDDEN
from robustnoise.spec import Number
from robustnoise.submission.folder import check_name, read_file
from robustnoise.threat import Norm

CARD = "card.toml"
MAX_BYTES = 64 * 1024
SCHEMA = 1


def _one_line(value: object) -> object:
    if not isinstance(value, str):
        return value
    line = " ".join(value.split())
    hidden = HIDDEN.search(line)
    if hidden is not None:
        raise ValueError(f"holds the invisible character U+{ord(hidden[0]):04X}; expected plain text")
    return line


def _file_name(value: object) -> object:
    if isinstance(value, str):
        try:
            check_name(value)
        except BadSubmission as error:
            raise ValueError(str(error)) from None
    return value


Plain = Annotated[str, BeforeValidator(_one_line)]
Line = Annotated[Plain, Field(max_length=200)]
Needed = Annotated[Plain, Field(min_length=1, max_length=200)]
Paragraph = Annotated[Plain, Field(max_length=2000)]
Authors = Annotated[list[Needed], Field(min_length=1, max_length=50)]
Key = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
Floats = Annotated[list[float], Field(max_length=16)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
CardFile = Annotated[str, BeforeValidator(_file_name)]
Count = Annotated[int, Field(ge=0, le=10**15)]


class Part(BaseModel):
    """A table of a card: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ThreatClaim(Part):
    """The ball that the images are in."""

    norm: Norm
    eps: Annotated[Number, Field(ge=0, allow_inf_nan=False)]


class QueryClaim(Part):
    """How often a victim was asked, as whoever hands in the images says."""

    per_image: Count | None = None
    total: Count | None = None


class Card(Part):
    """What every card holds."""

    card_schema: Annotated[Literal[1], Field(alias="schema")]
    name: EntryName
    authors: Authors
    reference: Line = ""
    description: Paragraph = ""
    date: datetime.date | None = None
    sha256: Annotated[dict[CardFile, Sha256], Field(max_length=1000)] = {}

    def to_json(self) -> dict[str, Any]:
        """For records."""
        return self.model_dump(mode="json", by_alias=True)


class AttackCard(Card):
    """Of adversarial images."""

    kind: Literal["attack"]
    threat: ThreatClaim
    data: Needed
    access: Literal["labels", "scores", "logits", "gradients"] = "labels"
    queries: QueryClaim | None = None


class DefenseCard(Card):
    """Of a defended classifier."""

    kind: Literal["defense"]
    target: Needed
    options: Annotated[dict[Key, Line | bool | int | float | Floats], Field(max_length=20)] = {}
    defense: Line = ""
    data: Needed


def read_card(folder: Path) -> AttackCard | DefenseCard:
    """The card of the folder.

    Raises:
        BadSubmission: absent, too large, no TOML, of a newer schema, or with keys that are wrong: one line each.
    """
    if not folder.is_dir():
        raise BadSubmission(f"{folder}: no such folder; expected one with a {CARD}.")
    content = read_file(folder, CARD, MAX_BYTES).content
    try:
        plain = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:  # of TOML, of UTF-8, or of a number with more digits than Python reads
        raise BadSubmission(f"{CARD}: can't be read as TOML: {error}.") from None
    except RecursionError:
        raise BadSubmission(f"{CARD}: is nested too deeply.") from None
    schema, kind = plain.get("schema"), plain.get("kind")
    if type(schema) is int and schema > SCHEMA:
        raise BadSubmission(
            f"{CARD}: schema {_short(schema)} is newer; this version reads {SCHEMA}. Upgrade robustnoise."
        )
    kinds: dict[object, type[AttackCard] | type[DefenseCard]] = {"attack": AttackCard, "defense": DefenseCard}
    if not isinstance(kind, str) or kind not in kinds:
        raise BadSubmission(f"{CARD}: kind: expected 'attack' or 'defense' (given: {_short(kind)}).")
    try:
        return kinds[kind].model_validate(plain)
    except ValidationError as error:
        raise BadSubmission("\n".join(_line(e) for e in error.errors())) from None


def _line(error: Any) -> str:
    where = ".".join(_short(p)[1:-1] if isinstance(p, str) else str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{CARD}: {where}: unknown key."
    if error["type"] == "missing":
        return f"{CARD}: {where}: must be given."
    message = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{CARD}: {where}: {message[:1].lower()}{message[1:]} (given: {_short(error['input'])})."


def _short(value: object) -> str:
    try:
        text = ascii(value)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"
