"""What the adapters share: a class of another library by name, its options as text, its crashes as `AttackFailed`.

Names and options are checked when a plugin is built, which imports the library (3 to 5 seconds, once a process): a typo
is found before anything is trained, and the run would pay for the import anyway.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    AttackFailed,
    BadParameter,
    RobustnoiseError,
    Scalar,
    did_you_mean,
    parse_options,
    seeded_globals,
)

Options = Annotated[str, Field(description="arguments of the attack, such as 'max_iter=50, norm=inf'")]
Release = Annotated[
    str, Field(description="version of the library; empty takes the installed one, and another one is refused")
]
KINDS: tuple[tuple[type, ...], ...] = ((bool,), (int, float), (str,))
"""Types that may stand for each other."""


@dataclass(frozen=True)
class Library:
    """A library and where its attacks are.

    Args:
        title: as people call it.
        distribution: as pip calls it.
        given: arguments that the adapters give themselves.
    """

    title: str
    distribution: str
    given: frozenset[str]

    @property
    def installed(self) -> str:
        """Its version."""
        return version(self.distribution)

    def release(self, wanted: str) -> str:
        """The installed version, if it is the one wanted or none is.

        Raises:
            BadParameter: it is another: its numbers may be others.
        """
        if wanted not in ("", self.installed):
            raise BadParameter(
                f"release = {wanted!r}: installed is {self.title} {self.installed}, whose numbers may be others. "
                f"Install {self.distribution}=={wanted}, or leave release out."
            )
        return self.installed

    def find(self, name: str, classes: Mapping[str, type]) -> type:
        """The class `name`.

        Raises:
            BadParameter: there is none.
        """
        if name not in classes:
            raise BadParameter(
                f"attack = {name!r}: no such attack in {self.title} {self.installed}.{did_you_mean(name, classes)} "
                f"It has: {', '.join(sorted(classes))}."
            )
        return classes[name]

    def arguments(self, cls: type, text: str) -> dict[str, Scalar]:
        """The options of `cls`, read and checked by name and kind.

        Raises:
            BadSpec: the text can't be read.
            BadParameter: an unknown option, a value of another kind, an argument that no text can give.
        """
        options, known = parse_options(text), parameters(cls)
        who = f"{self.title}'s {cls.__name__}"
        free = [name for name in known if name not in self.given]
        for name, value in options.items():
            if name in self.given:
                raise BadParameter(f"{who}: option {name!r} is the adapter's to give; leave it out.")
            if name not in known:
                raise BadParameter(
                    f"{who}: unknown option {name!r}.{did_you_mean(name, free)} It has: {', '.join(free) or 'none'}."
                )
            default = known[name].default
            kind = next((kind for kind in KINDS if type(default) in kind), None)
            if kind is not None and type(value) not in kind:
                raise BadParameter(f"{who}: {name} = {value!r}: expected a value like its default, {default!r}.")
        missing = [n for n in free if known[n].default is inspect.Parameter.empty and n not in options]
        if missing:
            raise BadParameter(f"{who} needs {', '.join(missing)}, which this adapter can't give: write a plugin.")
        return options


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The named arguments of a constructor."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    return {p.name: p for p in found if p.kind in named}


def only_known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that the constructor of `cls` takes."""
    known = parameters(cls)
    return {name: value for name, value in values.items() if name in known}


@contextmanager
def third_party(library: Library, attack: str, seed: int, *, noisy: bool) -> Iterator[None]:
    """Run another library's code: its randomness seeded, its warnings silenced, its crashes named.

    Raises:
        AttackFailed: it raised. Errors of robustnoise itself, such as a spent budget, go through.
    """
    try:
        with seeded_globals(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except RobustnoiseError:
        raise
    except Exception as error:
        said = str(error).strip().splitlines()[:1]
        what = ": ".join([type(error).__name__, *(line.rstrip(".") for line in said)])
        raise failed(library, attack, what, noisy=noisy) from error


def failed(library: Library, attack: str, what: str, *, noisy: bool) -> AttackFailed:
    """The error that names library, version, attack, what happened, and what to try."""
    if "removed in the NumPy 2" in what or "np.mat" in what:
        hint = "It was written for NumPy 1: take another attack"
    elif "No module named" in what:
        hint = f"{library.title} doesn't declare that package: install it, or take another attack"
    elif noisy:
        hint = "The victim is noisy, for which most attacks elsewhere aren't made: take one of robustnoise's own"
    else:
        hint = "Try other options, or one of robustnoise's own attacks"
    return AttackFailed(f"{library.title} {library.installed}: {attack}: {what}. {hint} ('robustnoise plugins').")


def as_images(found: Any, like: Tensor, library: Library, attack: str, *, noisy: bool) -> Tensor:
    """What an attack handed in, as float32 images in [0, 1].

    Raises:
        AttackFailed: another shape, or NaN.
    """
    try:
        x = torch.as_tensor(found).detach().cpu().to(torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise failed(library, attack, f"it handed in {type(found).__name__}: {error}", noisy=noisy) from None
    if x.shape != like.shape:
        what = f"it handed in {tuple(x.shape)} for images of {tuple(like.shape)}"
        raise failed(library, attack, what, noisy=noisy)
    if not bool(x.isfinite().all()):
        raise failed(library, attack, "it handed in pixels that are NaN or infinite", noisy=noisy)
    return x.clamp(0, 1)
