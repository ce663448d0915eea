"""Files of rows and audits: JSON under the record's digest, written once and checked as it is read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from robustnoise.audits import AuditRecord
from robustnoise.errors import RowError
from robustnoise.records import EvaluationRecord, check_written
from robustnoise.regular import read_regular

Record = TypeVar("Record", EvaluationRecord, AuditRecord)
MAX_BYTES = 1 << 30
"""Of a row or an audit; one of ten million images has 100 MB."""
MEND = "Remove the file: the run that made it writes it again."


def known_outcome(path: Path, read: Callable[[Path], Record]) -> Mapping[str, Any] | None:
    """The outcome in a file that may be there already, to be kept as it is.

    Raises:
        RowError: it isn't to the byte as it was written: it won't be taken for a finished one.
    """
    if not path.exists():
        return None
    found = read(path)
    try:
        check_written(path.read_bytes())
    except RowError as error:
        raise RowError(f"{path}: {error} {MEND}") from None
    return found.outcome


def read_row(path: Path, parsed: dict[str, EvaluationRecord] | None = None) -> EvaluationRecord:
    """The row in `path`.

    Args:
        path: the file.
        parsed: rows by the sha256 of their files; what isn't there is parsed and put there. None for none.

    Raises:
        RowError: it is damaged, edited or of a newer schema; the message names the file.
    """
    parsed = {} if parsed is None else parsed
    content = _content(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 not in parsed:
        parsed[sha256] = _load(path, content, EvaluationRecord.from_json)
    return parsed[sha256]


def read_audit(path: Path) -> AuditRecord:
    """The audit in `path`.

    Raises:
        RowError: as `read_row`.
    """
    return _load(path, _content(path), AuditRecord.from_json)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> RowError:
    return RowError(f"{path}: can't be read as JSON: {error}. {MEND}")


def _load(path: Path, content: bytes, load: Callable[[Mapping[str, Any]], Record]) -> Record:
    try:
        plain = json.loads(content.decode("utf-8"), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    try:
        return load(plain)
    except RowError as error:
        raise RowError(f"{path}: {error}") from None
