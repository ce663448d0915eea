"""A plugin is a frozen, validated dataclass; a `Spec` is its plain form, with a digest that is its identity.

The same configuration can be written as Python (``PGDTraining(eps=0.3) | Vote(16)``), as text (``pgd-training(eps=0.3)
| vote(16)``: command line and boards) and as JSON (records). This module holds the dataclass side and the grammar of
the text; `robustnoise.building` turns it into plugins.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from robustnoise.errors import BadParameter, BadSpec

T = TypeVar("T")
Scalar = bool | int | float | str | None


def parse_number(value: object) -> object:
    """Turn ``"8/255"``, ``"0.3"`` or ``"inf"`` into a float; leave anything else to the validator."""
    if not isinstance(value, str):
        return value
    top, slash, bottom = value.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is neither a number nor a fraction such as 8/255") from None


Number = Annotated[float, BeforeValidator(parse_number)]
"""A float field that also reads fractions: ``eps = "8/255"``."""


@dataclass(frozen=True)
class LaterField:
    """Marks a parameter that came after results did: at its default it stands in no spec, so that they stay found.

    ``hold_out: Annotated[int, Field(ge=0, description="..."), LaterField()] = 0``. At its default the plugin must do
    what it did before it had the parameter.
    """


@dataclass(frozen=True)
class Spec:
    """The identity of a configured plugin.

    Args:
        kind: ``"defense"``, ``"attack"``, ``"crafter"``, ``"substitute"`` or ``"model"``.
        name: the registered name, ``package/name`` for a third party's.
        version: the plugin's own version; it rises when the same parameters give other numbers.
        params: every parameter, defaults included; a `LaterField` where it isn't at its default.
        children: plugins that this one is built from.
        code: sha256 of the source file of a one-file plugin; None for an installed one.
    """

    kind: str
    name: str
    version: int
    params: Mapping[str, Scalar] = field(default_factory=dict)
    children: Mapping[str, Spec] = field(default_factory=dict)
    code: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; an infinite float is written as the string ``"inf"``."""
        plain: dict[str, Any] = {"kind": self.kind, "name": self.name, "version": self.version}
        plain["params"] = {k: str(v) if isinstance(v, float) and math.isinf(v) else v for k, v in self.params.items()}
        plain["children"] = {k: v.to_json() for k, v in self.children.items()}
        if self.code is not None:
            plain["code"] = self.code
        return plain

    def canonical(self) -> str:
        """One text per identity: JSON with sorted keys and no spaces."""
        return canonical_json(self.to_json())

    def digest(self) -> str:
        """sha256 of the canonical text, 64 hex digits."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: object) -> str:
    """sha256 of the canonical JSON of `value`, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def per_class(function: Callable[[type[Plugin]], T]) -> Callable[[type[Plugin]], T]:
    """`functools.cache` for functions of a plugin class, which mypy takes for unhashable."""
    return functools.cache(function)  # type: ignore[return-value]


class Plugin:
    """Base of every plugin: subclass it with ``@dataclass(frozen=True)`` and annotate ranges with pydantic's `Field`.

    ``sigma: Annotated[Number, Field(ge=0, le=1, description="standard deviation, pixels in [0, 1]")] = 0.1``

    The constructor validates every field and stores its arguments; nothing else happens there.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    reference: ClassVar[str] = ""
    """Where the method comes from: paper and section."""
    unlisted: ClassVar[str] = ""
    """The name of a class of ours that stands in no table, since no text can build it."""

    def __post_init__(self) -> None:
        adapters = _adapters(type(self))
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            try:
                object.__setattr__(self, f.name, adapters[f.name].validate_python(value))
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                allowed = allowed_values(type(self), f.name)
                raise BadParameter(
                    f"{type(self).__name__}: {f.name} = {value!r}: {_lower_first(reason)}. Expected {allowed}."
                ) from None
        self.check()

    def check(self) -> None:
        """Override to refuse combinations of parameters; raise BadParameter."""


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


@per_class
def field_types(cls: type[Plugin]) -> dict[str, Any]:
    """The annotated types of a plugin's fields, in order."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]


@per_class
def _adapters(cls: type[Plugin]) -> dict[str, TypeAdapter[Any]]:
    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    adapters: dict[str, TypeAdapter[Any]] = {}
    for name, hint in field_types(cls).items():
        if child_type(cls, name) is not None:
            # A child is checked by isinstance alone: pydantic would otherwise rebuild the dataclass.
            adapters[name] = TypeAdapter(Annotated[Any, BeforeValidator(functools.partial(_check_child, hint))])
        else:
            adapters[name] = TypeAdapter(hint, config=config)
    return adapters


def _check_child(hint: type[Plugin], value: object) -> object:
    if not isinstance(value, hint):
        raise ValueError(f"{type(value).__name__} is no {hint.__name__}")
    return value


def child_type(cls: type[Plugin], name: str) -> type[Plugin] | None:
    """The plugin type that field `name` holds, or None for a plain parameter."""
    hint = field_types(cls)[name]
    return hint if isinstance(hint, type) and issubclass(hint, Plugin) else None


def positional_fields(cls: type[Plugin]) -> list[str]:
    """The fields that may be given by position, in order."""
    return [f.name for f in dataclasses.fields(cls) if not f.kw_only]  # type: ignore[arg-type]


def parameter_names(cls: type[Plugin]) -> list[str]:
    """All fields, those that may be given by position first."""
    first = positional_fields(cls)
    return [*first, *(name for name in field_types(cls) if name not in first)]


def required_parameters(cls: type[Plugin]) -> list[str]:
    """The fields without a default, which must be given."""
    return [
        f.name
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]


def silent_fields(plugin: Plugin) -> set[str]:
    """The parameters of `plugin` marked as `LaterField` that are at their default."""
    cls = type(plugin)
    later = {n for n, hint in field_types(cls).items() if any(isinstance(m, LaterField) for m in get_args(hint)[1:])}
    return {f.name for f in dataclasses.fields(cls) if f.name in later and getattr(plugin, f.name) == f.default}  # type: ignore[arg-type]


def describe_field(cls: type[Plugin], name: str) -> str:
    """The description that the field was annotated with, or an empty text."""
    info = [m for m in get_args(field_types(cls)[name])[1:] if isinstance(m, FieldInfo)]
    return (info[0].description or "") if info else ""


def allowed_values(cls: type[Plugin], name: str) -> str:
    """What field `name` takes, in words: ``"a number, at least 0, at most 1"``."""
    child = child_type(cls, name)
    if child is not None:
        return f"{article(child.kind)} {child.kind}"
    hint = field_types(cls)[name]
    base, *metadata = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(base) is Literal:
        return "one of " + ", ".join(map(str, get_args(base)))
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "nothing"}
    kinds = " or ".join(words.get(option, "a value") for option in get_args(base) or (base,))
    return ", ".join([kinds, *_limits(metadata)])


def article(word: str) -> str:
    """``"a"`` or ``"an"``."""
    return "an" if word.startswith(tuple("aeiou")) else "a"


def _limits(metadata: list[Any]) -> list[str]:
    words = {Ge: ("at least", "ge"), Gt: ("more than", "gt"), Le: ("at most", "le"), Lt: ("less than", "lt")}
    constraints = [c for m in metadata if isinstance(m, FieldInfo) for c in m.metadata]
    return [f"{words[type(c)][0]} {getattr(c, words[type(c)][1]):g}" for c in constraints if type(c) in words]


# ---------------------------------------------------------------------------------------------------------------- text


@dataclass(frozen=True)
class Call:
    """A parsed ``name(argument, key=argument)``."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipe:
    """A parsed ``a | b | c``."""

    stages: tuple[Call, ...]


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"[^"]*"|'[^']*')
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?(?![\w./]))
    | (?P<word>[A-Za-z_][\w./-]*)
    | (?P<punct>[(),=|])
    )""",
    re.VERBOSE,
)
WORDS: dict[str, Scalar] = {"true": True, "false": False, "none": None, "inf": math.inf}


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                raise self.error(at, "expected a name, a number, a quoted text or one of ( ) , = |")
            self.tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        self.tokens.append(("end", "", len(text)))
        self.at = 0

    def error(self, position: int, expected: str) -> BadSpec:
        return BadSpec(
            f"can't read {self.text!r} at position {position + 1} ({self.text[position:][:12]!r}): {expected}."
        )

    def peek(self, text: str) -> bool:
        kind, value, _ = self.tokens[self.at]
        return kind == "punct" and value == text

    def take(self, text: str) -> bool:
        if not self.peek(text):
            return False
        self.at += 1
        return True

    def need(self, text: str) -> None:
        if not self.take(text):
            raise self.error(self.tokens[self.at][2], f"expected {text!r}")

    def pipe(self) -> Call | Pipe:
        stages = [self.call()]
        while self.take("|"):
            stages.append(self.call())
        return stages[0] if len(stages) == 1 else Pipe(tuple(stages))

    def call(self) -> Call:
        kind, name, position = self.tokens[self.at]
        if kind != "word":
            raise self.error(position, "expected the name of a plugin")
        self.at += 1
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        if self.take("("):
            while not self.take(")"):
                self.argument(args, kwargs)
                if not self.peek(")"):
                    self.need(",")
        return Call(name, tuple(args), kwargs)

    def argument(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        kind, key, position = self.tokens[self.at]
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else ("end", "", 0)
        if kind == "word" and following[:2] == ("punct", "="):
            if key in kwargs:
                raise self.error(position, f"{key!r} is given twice")
            self.at += 2
            kwargs[key] = self.value()
        elif kwargs:
            raise self.error(position, "a value without a key can't follow one with a key")
        else:
            args.append(self.value())

    def value(self) -> Any:
        kind, text, position = self.tokens[self.at]
        if kind == "string":
            self.at += 1
            return text[1:-1]
        if kind == "number":
            self.at += 1
            if "/" in text:
                try:
                    return parse_number(text)
                except ValueError as error:
                    raise self.error(position, str(error)) from None
            try:
                return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
            except ValueError:
                raise self.error(position, "expected a number of fewer digits") from None
        if kind == "word" and text.lower() in WORDS:
            self.at += 1
            return WORDS[text.lower()]
        return self.pipe()


def parse_text(text: str) -> Call | Pipe:
    """Read ``a(x, key=y) | b``.

    Raises:
        BadSpec: with the position and what was expected there.
    """
    parser = _Parser(text)
    try:
        tree = parser.pipe()
    except RecursionError:
        raise BadSpec(f"can't read {text[:40]!r}...: it is nested too deeply.") from None
    kind, _, position = parser.tokens[parser.at]
    if kind != "end":
        raise parser.error(position, "expected '|' or the end")
    return tree


def parse_options(text: str) -> dict[str, Scalar]:
    """Read ``key=value, key=value``, as the options of another library's function are given.

    A value is a number (``8/255`` too), ``inf``, true, false, none, a word or a quoted text.

    Raises:
        BadSpec: it is anything else.
    """
    tree = parse_text(f"options({text})")
    if not isinstance(tree, Call) or tree.args or tree.name != "options":
        raise BadSpec(f"options {text!r}: expected key=value, key=value.")
    found: dict[str, Scalar] = {}
    for key, value in tree.kwargs.items():
        word = isinstance(value, Call) and not value.args and not value.kwargs
        if isinstance(value, Call | Pipe) and not word:
            raise BadSpec(f"options {text!r}: {key} takes a number, a word or a quoted text, not a plugin.")
        found[key] = value.name if isinstance(value, Call) else value
    return found
