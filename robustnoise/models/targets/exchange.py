"""One request and its answer, with limits on time, size and rate."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from robustnoise.errors import BadParameter, TargetFailed
from robustnoise.extras import require
from robustnoise.models.targets.address import auth_headers
from robustnoise.models.targets.base import Array, Output
from robustnoise.models.targets.codecs import CODECS

INSTALL = "robustnoise[http]"
REQUEST_LIMIT = 32 * 2**20
"""Bytes of a request's body."""
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class TryAgain(Exception):
    """This answer was none, the next may be; `wait` is the seconds that the endpoint asks for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class NotSent(Exception):
    """There was no connection, so nothing was sent."""


class Exchange:
    """Sends bodies to one address.

    Args:
        url: the only address that is asked.
        codec: ``"json"`` or ``"npy"``.
        auth_env: environment variable with the credential, or None.
        auth_header: the header that carries it.
        timeout: seconds until the whole answer must be there.
        requests_per_second: None is no limit.
        answer_limit: bytes of an answer.
    """

    def __init__(
        self,
        url: str,
        codec: str,
        auth_env: str | None,
        auth_header: str,
        timeout: float,
        requests_per_second: float | None,
        answer_limit: int,
    ) -> None:
        self.url = url
        self.codec = codec
        self.auth_env, self.auth_header = auth_env, auth_header
        self.timeout = timeout
        self.answer_limit = answer_limit
        self._gap = 0.0 if requests_per_second is None else 1 / requests_per_second
        self._next = 0.0
        self._client: Any = None
        self._stream: Any = None
        self._ends = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_client": None, "_stream": None, "_next": 0.0}

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def pace(self) -> None:
        """Wait until the next request may start."""
        now = time.monotonic()
        if self._next > now:
            self.sleep(self._next - now)
        self._next = max(now, self._next) + self._gap

    def encode(self, images: Array) -> bytes:
        """The body of a request.

        Raises:
            BadParameter: it would be too large, or there is no credential: both before anything is charged.
        """
        auth_headers(self.auth_env, self.auth_header)
        body = CODECS[self.codec].encode(images)
        if len(body) > REQUEST_LIMIT:
            raise BadParameter(
                f"{self.url}: a request of {len(images)} images has {len(body)} bytes; expected at most "
                f"{REQUEST_LIMIT}. Give a smaller batch, or codec = npy."
            )
        return body

    def send(self, body: bytes, output: Output) -> Array:
        """The array that `body` is answered with.

        Raises:
            NotSent: no connection.
            TryAgain: another try may help.
            TargetFailed: none will.
        """
        httpx = require("httpx", purpose="an HTTP target", install=INSTALL)
        kind = CODECS[self.codec].content_type
        headers = {"Content-Type": kind, "Accept": kind, "Accept-Encoding": "identity"}
        headers |= auth_headers(self.auth_env, self.auth_header)
        if self._client is None:
            # No redirects, and no proxies or passwords of the environment: the user named one address.
            # Certificates are loaded for https alone: it takes longer than an answer.
            secure = self.url.startswith("https:")
            self._client = httpx.Client(timeout=self.timeout, follow_redirects=False, trust_env=False, verify=secure)
            weakref.finalize(self, self._client.close)
        told = {"trace": self._connected}
        try:
            with (
                self._hanging_up(),
                self._client.stream("POST", self.url, content=body, headers=headers, extensions=told) as response,
            ):
                self._check_head(response)
                found = self._read(response)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotSent(f"no connection ({type(error).__name__})") from None
        except httpx.TimeoutException:
            raise TryAgain(f"no answer in {self.timeout:g} s") from None
        except httpx.HTTPError as error:
            if time.monotonic() > self._ends:
                raise TryAgain(f"no whole answer in {self.timeout:g} s") from None
            # The text of these may hold headers.
            raise TryAgain(f"the connection broke ({type(error).__name__})") from None
        try:
            return CODECS[self.codec].decode(found, output)
        except TargetFailed as error:
            raise TryAgain(str(error)) from None

    @contextmanager
    def _hanging_up(self) -> Iterator[None]:
        """End the connection when the time is up: httpx waits as long again for every byte of a head."""
        self._ends = time.monotonic() + self.timeout
        timer = threading.Timer(self.timeout, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _connected(self, event: str, info: dict[str, Any]) -> None:
        """Take one event of httpx's trace."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]
            if time.monotonic() > self._ends:
                self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # it is closed, or there was none yet
            self._stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _check_head(self, response: Any) -> None:
        status = response.status_code
        if status in TRANSIENT:
            raise TryAgain(f"HTTP status {status}", retry_after(response.headers.get("Retry-After")))
        if 300 <= status < 400:
            raise TargetFailed(f"{self.url}: redirects (HTTP status {status}), which isn't followed; name the address.")
        if status != 200:
            raise TargetFailed(f"{self.url}: refused with HTTP status {status}; check address, credential and codec.")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise TryAgain("the answer is compressed, though that was declined")

    def _read(self, response: Any) -> bytes:
        parts, size = [], 0
        for part in response.iter_raw():
            parts.append(part)
            size += len(part)
            if size > self.answer_limit:
                raise TryAgain(f"the answer has more than {self.answer_limit} bytes")
            if time.monotonic() > self._ends:
                raise TryAgain(f"no whole answer in {self.timeout:g} s")
        return b"".join(parts)


def retry_after(text: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number or a date; None where it can't be read."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
