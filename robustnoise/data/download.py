"""Download of one file from the first mirror that has it, verified before it gets its name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from robustnoise.errors import CorruptArtifact, DataUnavailable, StoreError
from robustnoise.extras import require

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
CHUNK = 1 << 16


class _Bar:
    """The progress bar that pooch drives (``total``, ``update``, ``reset``, ``close``), drawn by rich on stderr."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task(label, total=None)

    @property
    def total(self) -> float | None:
        return self._progress.tasks[self._task].total

    @total.setter
    def total(self, total: int) -> None:
        # Pooch gives 0 where the server doesn't say; rich shows None as "unknown".
        self._progress.update(self._task, total=total or None)

    def update(self, amount: int) -> None:
        self._progress.advance(self._task, amount)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop()


class _Capped:
    """A file that refuses to grow beyond `limit` bytes, whatever the server sends."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._left = limit

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("the server sends more than the file can hold")
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _reason(error: BaseException) -> str:
    """The innermost cause: requests wraps "name not known" into three layers of retries and pools."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, BaseException):
            return str(error).rpartition("): ")[2]
        error = inner


def _download(url: str, target: IO[bytes], *, limit: int, label: str, progress: bool) -> None:
    pooch = require("pooch", purpose="Downloading a dataset", install="robustnoise")
    options = {
        "chunk_size": CHUNK,
        "timeout": (CONNECT_SECONDS, READ_SECONDS),
        # Some servers would unpack a .gz on the way.
        "headers": {"Accept-Encoding": "identity"},
    }
    output = _Capped(target, limit)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    # Leaving the block stops the drawing, also when the download breaks off. A log file gets no bar.
    with Progress(*columns, console=console, disable=not (progress and console.is_terminal)) as bar:
        pooch.HTTPDownloader(progressbar=_Bar(bar, label), **options)(url, output, None)


def fetch(
    file: str,
    *,
    mirrors: Sequence[str],
    folder: Path,
    limit: int,
    check: Callable[[Path], object],
    advice: str,
    progress: bool = True,
) -> Path:
    """Download `file` into `folder`, from the first mirror whose content passes `check`.

    The download goes to a temporary file in the same folder and gets its name only after the check, so a download
    that breaks off leaves nothing, and two processes can fetch the same file at once.

    Args:
        file: name of the file, on the mirrors and in the folder.
        mirrors: addresses of folders, each with a closing slash, tried in turn.
        folder: made where it's absent.
        limit: most bytes that are accepted.
        check: called with the temporary file; raises CorruptArtifact where its content is wrong.
        advice: what the user can do where no mirror works; closes the message.
        progress: whether to draw a progress bar on stderr.

    Returns:
        The path of the verified file.

    Raises:
        DataUnavailable: every mirror failed; the message has one reason for each, then the advice.
        StoreError: the folder can't be written to.
    """
    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{file}.", suffix=".part", dir=folder)
    except OSError as error:
        raise StoreError(
            f"can't write to the cache folder {folder}: {error.strerror or error}. "
            "Set ROBUSTNOISE_CACHE to a folder that can be written to"
        ) from error
    temporary = Path(name)
    try:
        os.close(handle)
        for mirror in mirrors:
            try:
                with temporary.open("wb") as target:
                    _download(mirror + file, target, limit=limit, label=file, progress=progress)
                    target.flush()
                    os.fsync(target.fileno())
                check(temporary)
                # mkstemp makes files private; a cache may be shared.
                temporary.chmod(0o644)
                return temporary.replace(folder / file)
            except CorruptArtifact as error:
                # The message names the temporary file, which is gone when the user reads it.
                reason = str(error).replace(str(temporary), file).partition(". Delete it")[0]
                reasons.append(f"{mirror}: {reason}")
            except (OSError, ValueError) as error:
                # requests' errors are OSErrors; a broken address is a ValueError.
                reasons.append(f"{mirror}: {_reason(error)}")
    finally:
        temporary.unlink(missing_ok=True)
    raise DataUnavailable(f"can't download {file}. Tried {'; '.join(reasons)}. {advice}")
