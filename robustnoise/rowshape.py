"""Which types the parts of a row have: what is read from a file of somebody else's is held against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustnoise.errors import RowError

Whole = Annotated[int, Field(ge=0, lt=2**63)]
"""A larger one has no float either, in which costs are counted."""
Share = Annotated[float, Field(ge=0, le=1)]
Distance = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """Keys that aren't named here may be anything."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class SpecPart(Part):
    """A configured plugin."""

    kind: str
    name: str
    version: int
    params: dict[str, Any]
    children: dict[str, SpecPart]


class DataPart(Part):
    """The images."""

    name: str
    classes: Annotated[int, Field(gt=1)] | None = None
    sizes: dict[str, Any] = {}
    splits: dict[str, str] = {}


class ThreatPart(Part):
    """The ball."""

    norm: Literal["linf", "l2"]
    eps: Distance
    access: str


class BudgetPart(Part):
    """The queries."""

    per_image: Whole | None = None
    total: Whole | None = None
    seed_examples: Whole | None = None
    stops: list[int] = []


class SettingPart(Part):
    """What rows of a run share."""

    data: DataPart
    threat: ThreatPart | None
    budget: BudgetPart | None
    draws: Annotated[int, Field(ge=1)]
    seed: int
    block: int
    identity: int
    threads: int | None = None
    device: str | None = None
    precision: Literal["float32", "bfloat16"] = "float32"


class AttackPart(Part):
    """An attack."""

    name: str
    text: str
    scope: Literal["control", "shared", "per-victim", "audit"]
    null: bool
    spec: SpecPart


class TargetPart(Part):
    """A model that somebody brought."""

    text: str
    options: dict[str, Any]


class VictimPart(Part):
    """A victim."""

    name: str
    text: str
    digest: str
    defense: SpecPart
    model: SpecPart | None
    target: TargetPart | None = None


class IdentityPart(Part):
    """What was measured."""

    setting: SettingPart
    attack: AttackPart | None
    victim: VictimPart
    reference: VictimPart | None
    undefended: VictimPart | None


class ArmPart(Part):
    """What came out for a victim, counts aside."""

    stochastic: bool
    passes: Whole
    queries: Whole
    agreement: Share | None


class OutcomePart(Part):
    """What came out."""

    outside: Distance | None
    victim: ArmPart
    reference: ArmPart | None
    undefended: ArmPart | None


class ProvenancePart(Part):
    """Where and when."""

    versions: dict[str, Any] = {}


class RowPart(Part):
    """A row's file."""

    identity: IdentityPart
    outcome: OutcomePart
    provenance: ProvenancePart


def check_shape(plain: Mapping[str, Any]) -> None:
    """Refuse a row of which a part is missing or of another type than every row has.

    Raises:
        RowError: with the first part that is wrong.
    """
    try:
        RowPart.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        given = "" if first["type"] == "missing" else f" (given: {ascii(first['input'])[:80]})"
        raise RowError(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}{given}.") from None
