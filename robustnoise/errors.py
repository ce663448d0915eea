"""Every error that robustnoise raises on purpose.

A message says what failed, the value given, what was expected and the next step. The command line prints it
as one line and exits with 2; anything that is not a `RobustnoiseError` is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RobustnoiseError(Exception):
    """Base of all expected errors."""


class BadParameter(RobustnoiseError, ValueError):
    """A parameter of a plugin, a threat model or a function is outside its range."""


class BadSpec(RobustnoiseError, ValueError):
    """A text such as ``pgd(steps=10) | vote(16)`` can't be read, or its parts don't fit together."""


class BadBoard(RobustnoiseError, ValueError):
    """A board file is invalid; the message starts with file and key."""


class BadSubmission(RobustnoiseError, ValueError):
    """A folder that was handed in is refused, before any work; every line names one thing that is wrong."""


class BadData(RobustnoiseError, ValueError):
    """A dataset or a batch of images is invalid: shape, dtype, range, NaN, classes, overlapping splits."""


class DataUnavailable(RobustnoiseError):
    """A dataset is neither on disk nor downloadable; the message says where to put its files."""


class UnknownPlugin(RobustnoiseError, LookupError):
    """No plugin of that name is registered."""


class BrokenPlugin(RobustnoiseError):
    """A registered plugin can't be imported, or is not what it claims to be."""


class DuplicatePlugin(RobustnoiseError):
    """Two packages register the same name; both origins are named."""


class MissingCapability(RobustnoiseError, TypeError):
    """A model lacks what a plugin needs (logits, gradients, an inner module) or the access level forbids it."""


class BudgetExceeded(RobustnoiseError):
    """The query was refused, before it was answered, because it would have gone over the budget."""


class AttackFailed(RobustnoiseError):
    """Somebody else's attack raised or handed in nonsense, or a cell failed otherwise; the rest of a run goes on."""


class TargetFailed(RobustnoiseError):
    """A target that somebody brings did not answer, or with nonsense; what was paid for is kept."""


class MissingExtra(RobustnoiseError, ImportError):
    """An optional dependency is absent; the message names the extra to install."""


class StoreError(RobustnoiseError):
    """A file of the store can't be written."""


class CorruptArtifact(StoreError):
    """A stored file is not what was written; the message names it and the repair command."""


class RowError(RobustnoiseError):
    """A leaderboard row is unreadable, edited, of a newer schema, or in conflict with another."""


def did_you_mean(given: str, options: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest option, or an empty string."""
    nearest = difflib.get_close_matches(given, list(options), n=1, cutoff=0.5)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def told(text: object, most: int = 300) -> str:
    """What a foreign file or library says, fit to be printed: one line, nothing that moves a cursor, cut off."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    return line if len(line) <= most else f"{line[:most]}..."


def shown(value: object) -> str:
    """What was given, as Python writes it, fit to be printed whatever it is."""
    try:
        return told(repr(value))
    except (ValueError, RecursionError):
        return "a number of thousands of digits, or lists without end"
