"""A model behind an HTTP endpoint: paid for row by row, and never twice for the same answer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from robustnoise.errors import BadParameter, TargetFailed
from robustnoise.extras import require
from robustnoise.models.targets.address import check_auth, check_url
from robustnoise.models.targets.base import Array, Output, Target, checked, named, to_answer
from robustnoise.models.targets.exchange import INSTALL, Exchange, NotSent, TryAgain
from robustnoise.models.targets.journal import Journal
from robustnoise.protocols import Answer
from robustnoise.seeds import SeedStream

FIRST_WAIT = 0.5
"""Seconds before the second try; twice as long before each further one."""
LONGEST_WAIT = 120.0
"""Seconds; an endpoint that asks for more stops the run."""


class HttpTarget(Target):
    """See `from_http`."""

    metered = True

    def __init__(
        self,
        url: str,
        *,
        name: str,
        input_shape: tuple[int, int, int],
        num_classes: int,
        output: Output,
        stochastic: bool,
        max_rows: int,
        journal: Path | None,
        batch: int,
        retries: int,
        exchange: Exchange,
    ) -> None:
        super().__init__(
            identity=[url, named(name)],
            input_shape=input_shape,
            num_classes=num_classes,
            output=output,
            stochastic=stochastic,
        )
        self.max_rows, self.batch, self.retries = max_rows, batch, retries
        self.exchange = exchange
        folder_or_file = journal or Path("journals")
        is_file = folder_or_file.suffix == ".jsonl"
        path = folder_or_file if is_file else folder_or_file / f"{self.digest[:16]}.jsonl"
        self.journal = Journal(path, self.digest)

    @property
    def charged(self) -> int:
        """Rows sent so far, earlier runs included."""
        self.journal.refresh()
        return self.journal.charged

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`.

        Rows that the journal answers aren't sent. A deterministic target is asked about an image once; a stochastic one
        once in each stream, so an interrupted run finds its own draws again and never another's.

        Raises:
            TargetFailed: no answer after all tries, a refusal, or `max_rows` are spent; all answers so far are kept.
        """
        return self._answer(x, [noise.root, *noise.path] if self.stochastic else [])

    def again(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """Asks anew what `predict` answers from the journal; the second answer is kept apart."""
        return self._answer(x, ["again", noise.root, *noise.path])

    def _answer(self, x: Tensor, salt: list[Any]) -> Answer:
        images = np.ascontiguousarray(x.detach().cpu().numpy(), np.float32)
        self.journal.refresh()
        keys = self._keys(images, salt)
        missing: dict[str, int] = {}
        for i, key in enumerate(keys):
            if self.journal.get(key) is None:
                missing.setdefault(key, i)
        rows = list(missing.values())
        for start in range(0, len(rows), self.batch):
            part = rows[start : start + self.batch]
            said = self._pay(images[part])
            self.journal.keep({keys[i]: row.tobytes() for i, row in zip(part, said, strict=True)})
        kind = np.int64 if self.output == "labels" else np.float32
        shape = (len(x),) if self.output == "labels" else (len(x), self.num_classes)
        found = np.frombuffer(b"".join(self.journal.get(key) or b"" for key in keys), kind).reshape(shape)
        return to_answer(found.copy(), self.output)

    def _keys(self, images: Array, salt: list[Any]) -> list[str]:
        """One a row; the same image twice in a batch is two draws of a stochastic target."""
        seen: dict[bytes, int] = {}
        keys = []
        for image in images:
            content = image.tobytes()
            nth = seen[content] = seen.get(content, -1) + 1
            which = repr([*salt, nth] if salt else []).encode()
            keys.append(hashlib.blake2b(content + which, digest_size=16).hexdigest())
        return keys

    def _pay(self, images: Array) -> Array:
        """Send until there is an answer; every sending is charged before it happens."""
        where, body = self.exchange.url, self.exchange.encode(images)
        for attempt in range(self.retries + 1):
            self.exchange.pace()
            self.journal.charge(len(images), self.max_rows)
            asked = None
            try:
                said = self.exchange.send(body, self.output)
            except NotSent as error:
                self.journal.refund(len(images))
                reason = str(error)
            except TryAgain as error:
                reason, asked = str(error), error.wait
            else:
                try:
                    return checked(said, self.output, len(images), self.num_classes, where)
                except TargetFailed as error:
                    reason = str(error).removeprefix(f"{where}: ")  # the next one may be whole
            wait = FIRST_WAIT * 2**attempt if asked is None else asked
            if wait > LONGEST_WAIT or attempt == self.retries:
                break
            self.exchange.sleep(wait)
        told = f", which asks to wait {wait:g} s" if wait > LONGEST_WAIT else ""
        raise TargetFailed(
            f"{where}: no answer after {attempt + 1} tries; the last: {reason.rstrip('.')}{told}. What is answered so "
            f"far is kept in {self.journal.path}; the same command goes on from there."
        )


def from_http(  # noqa: PLR0913 - an option is an argument
    url: str,
    *,
    name: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    output: Output,
    max_rows: int,
    journal: str | Path | None = None,
    codec: Literal["json", "npy"] = "json",
    batch: int = 128,
    stochastic: bool = False,
    auth_env: str | None = None,
    auth_header: str = "Authorization",
    timeout: float = 30.0,
    retries: int = 4,
    requests_per_second: float | None = None,
) -> HttpTarget:
    """A classifier behind an endpoint that takes POST requests; nothing is sent before the first question.

    Each row is charged when it is sent: one that timed out counts, and a retry counts again. Errors 408, 425, 429, 500,
    502, 503 and 504, time-outs, dropped connections and answers that are none are tried again, after a wait that
    doubles or that ``Retry-After`` asks for; other errors and redirects stop the run. Proxies of the environment
    aren't used.

    Args:
        url: http or https, without user, query or fragment; no other address is ever asked.
        name: name and version of what answers there; take another when it changes.
        input_shape: (C, H, W).
        num_classes: at least 2.
        output: what it answers: ``"labels"`` (-1 an abstention), ``"probabilities"`` or ``"logits"``.
        max_rows: rows that may be sent in all, over all runs with this journal.
        journal: a .jsonl file that keeps charges and answers, or a folder for one named by the digest; None is the
            folder ``journals``.
        codec: ``"json"``: ``{"images": ...}`` answered by ``{"labels": ...}`` and so on; ``"npy"``: files of
            numpy.save.
        batch: most rows of a request.
        stochastic: two answers to the same image may differ; if False an image is asked about once.
        auth_env: environment variable with the whole value of the header `auth_header`; it is in no record or message.
        auth_header: that header.
        timeout: seconds until an answer must be there whole.
        retries: tries after the first.
        requests_per_second: at most, in one process.

    Raises:
        BadParameter: a value is outside its range, or the address may not stand in records.
        MissingExtra: httpx isn't installed.
    """
    for key, value, low in (("max_rows", max_rows, 0), ("batch", batch, 1), ("retries", retries, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise BadParameter(f"{key} = {value!r}: expected a whole number of at least {low}.")
    for key, number in (("timeout", timeout), ("requests_per_second", requests_per_second)):
        if number is not None and not 0 < number < 1e6:
            raise BadParameter(f"{key} = {number!r}: expected a number above 0.")
    if codec not in ("json", "npy"):
        raise BadParameter(f"codec = {codec!r}: expected json or npy.")
    check_auth(auth_env, auth_header)
    httpx = require("httpx", purpose="an HTTP target", install=INSTALL)
    try:
        httpx.URL(check_url(url))
    except httpx.InvalidURL:
        raise BadParameter("the address of the HTTP target names no host that can be asked.") from None
    answer_limit = 2**16 + batch * num_classes * 64
    exchange = Exchange(
        url, codec, auth_env, auth_header, float(timeout), requests_per_second, answer_limit
    )  # fmt: skip
    return HttpTarget(
        url, name=name, input_shape=input_shape, num_classes=num_classes, output=output, stochastic=stochastic,
        max_rows=max_rows, journal=None if journal is None else Path(journal), batch=batch, retries=retries,
        exchange=exchange,
    )  # fmt: skip
