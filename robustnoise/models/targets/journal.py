"""What was paid for, on disk: every row is charged before it is sent, and every answer is kept."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from robustnoise.errors import BadParameter, CorruptArtifact, StoreError, TargetFailed

FORMAT = "robustnoise-journal-1"


class Journal:
    """An append-only file of one line an event, each with its own hash; several processes may share it.

    The first line names the target. ``{"sent": n}`` charges n rows and is on disk before they are sent; a negative n
    takes back what could not be sent at all. ``{"answers": {key: bytes}}`` keeps what came back.

    Args:
        path: made at the first charge.
        target: the digest of what is asked.
    """

    def __init__(self, path: Path, target: str) -> None:
        self.path = path.absolute()  # a worker may run in another folder
        self.target = target
        self.charged = 0
        self._answers: dict[str, bytes] = {}
        self._read = 0

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> bytes | None:
        """The answer that is kept under `key`."""
        return self._answers.get(key)

    def refresh(self) -> None:
        """Read what was added since.

        Raises:
            CorruptArtifact: a line is damaged.
            BadParameter: it is the journal of another target.
        """
        if self.path.exists():
            with self._locked():
                pass

    def charge(self, rows: int, limit: int) -> None:
        """Charge `rows`, which are about to be sent.

        Raises:
            TargetFailed: more than `limit` would have been sent in all; nothing is charged.
        """
        with self._locked() as handle:
            if self.charged + rows > limit:
                raise TargetFailed(
                    f"{rows} rows not sent: {self.charged} of max_rows = {limit} are spent. Answers so far are in "
                    f"{self.path}: with a larger max_rows the same command goes on from there."
                )
            self._append(handle, {"sent": rows})

    def refund(self, rows: int) -> None:
        """Take back a charge for rows that never left: there was no connection."""
        with self._locked() as handle:
            self._append(handle, {"sent": -rows})

    def keep(self, answers: Mapping[str, bytes]) -> None:
        """Keep answers."""
        plain = {key: base64.b64encode(value).decode() for key, value in answers.items()}
        with self._locked() as handle:
            self._append(handle, {"answers": plain})

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise StoreError(f"can't open the journal {self.path}: {error.strerror or error}.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._catch_up(handle)
            if self._read == 0:
                self._append(handle, {"format": FORMAT, "target": self.target})
            yield handle
        finally:
            os.close(handle)  # which unlocks it

    def _catch_up(self, handle: int) -> None:
        size = os.fstat(handle).st_size
        content = b""
        while len(content) < size - self._read:
            content += os.pread(handle, size - self._read - len(content), self._read + len(content))
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            # Whoever writes holds the lock, so half a line is what a killed writer left: it was never acted on.
            os.ftruncate(handle, self._read + whole)
        for line in content[:whole].splitlines(keepends=True):
            self._take(line)

    def _take(self, line: bytes) -> None:
        digest, _, body = line.rstrip(b"\n").partition(b" ")
        if digest != _digest(body):
            raise self._damaged("doesn't match its hash")
        try:
            event = json.loads(body)
            sent = int(event.get("sent", 0))
            answers = {key: base64.b64decode(value) for key, value in event.get("answers", {}).items()}
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise self._damaged("is none that a journal holds") from None
        if self._read == 0 and event != {"format": FORMAT, "target": self.target}:
            raise BadParameter(
                f"{self.path} is the journal of another target, or of another declaration of this one (address, name, "
                "output, shape). Give each a journal of its own."
            )
        self.charged += sent
        self._answers |= answers
        self._read += len(line)

    def _damaged(self, how: str) -> CorruptArtifact:
        return CorruptArtifact(
            f"{self.path}: the line at byte {self._read} {how}. Without that line the file is whole again, and the "
            "rows it held are paid for anew."
        )

    def _append(self, handle: int, event: Mapping[str, object]) -> None:
        body = json.dumps(event, separators=(",", ":")).encode()
        line = _digest(body) + b" " + body + b"\n"
        try:
            written = 0
            while written < len(line):
                written += os.write(handle, line[written:])
            os.fsync(handle)
        except OSError as error:
            os.ftruncate(handle, self._read)
            raise StoreError(f"can't write the journal {self.path}: {error.strerror or error}.") from error
        self._take(line)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()
