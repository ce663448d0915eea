"""An endpoint on loopback that misbehaves as told, and counts the rows that it receives."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch

import robustnoise as rn
from robustnoise.models.targets.http_target import HttpTarget
from robustnoise.seeds import SeedStream

SHAPE, CLASSES = (1, 2, 2), 3
NOISE = SeedStream(0, ("http",))
X = torch.rand(7, *SHAPE, generator=NOISE.generator("x"))
"""Images to ask about."""
Array = np.ndarray[Any, Any]


def truth(x: Array) -> Array:
    """The logits that the endpoint gives."""
    found: Array = x.reshape(len(x), -1)[:, :CLASSES].astype(np.float32)
    return found


class Endpoint:
    """What the server is told and what it saw.

    Attributes:
        script: what to do with each request, in order; ``"ok"`` when it is used up.
        rows: received so far.
        requests: (headers, rows) of each request.
        answer: makes the answer of an ``"ok"``.
    """

    def __init__(self) -> None:
        self.script: list[str] = []
        self.rows = 0
        self.requests: list[tuple[dict[str, str], int]] = []
        self.answer: Callable[[Array], Array] = truth
        self.output = "logits"
        self.url = ""


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else every answer waits 40 ms

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            endpoint.rows += 1_000_000  # a redirect was followed

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            npy = self.headers["Content-Type"] == "application/x-npy"
            x = np.load(io.BytesIO(body)) if npy else np.array(json.loads(body)["images"], np.float32)
            endpoint.rows += len(x)
            endpoint.requests.append((dict(self.headers), len(x)))
            self.act(endpoint.script.pop(0) if endpoint.script else "ok", x, npy)

        def drip(self, content: bytes) -> None:
            for byte in content:
                time.sleep(0.1)
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:
                    break
            self.close_connection = True

        def act(self, what: str, x: Array, npy: bool) -> None:
            said = endpoint.answer(x)
            if npy:
                buffer = io.BytesIO()
                np.save(buffer, said)
                good = buffer.getvalue()
            else:
                good = json.dumps({endpoint.output: said.tolist()}).encode()
            if what == "drop":
                self.connection.close()
                self.close_connection = True
            elif what == "stall":
                time.sleep(0.4)
                self.close_connection = True
            elif what == "truncate":
                self.reply(200, good[: len(good) // 2], length=len(good))
                self.close_connection = True
            elif what == "drip":
                self.reply(200, b"", length=len(good))
                self.drip(good)
            elif what == "drip head":
                self.drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 80)
            elif what == "huge":
                self.reply(200, b" " * 10_000_000)
                self.close_connection = True
            elif what.startswith("status"):
                _, status, *after = what.split()
                self.reply(int(status), good, after=after[0] if after else None)
            elif what.startswith("body "):
                self.reply(200, what[5:].encode())
            else:
                self.reply(200, good)

        def reply(self, status: int, body: bytes, *, length: int | None = None, after: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            if 300 <= status < 400:
                self.send_header("Location", endpoint.url + "/elsewhere")
            if after is not None:
                self.send_header("Retry-After", after)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

    return Handler


@contextmanager
def serving() -> Iterator[Endpoint]:
    """An endpoint that answers while the block runs."""
    endpoint = Endpoint()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(endpoint))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/predict"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def target(endpoint: Endpoint, journal: Path, **changes: Any) -> HttpTarget:
    """A victim that asks the endpoint; `changes` are options."""
    options: dict[str, Any] = {
        "name": "toy 1", "input_shape": SHAPE, "num_classes": CLASSES, "output": "logits", "max_rows": 1000,
        "journal": journal, "timeout": 0.2,
    }  # fmt: skip
    return rn.models.from_http(endpoint.url, **{**options, **changes})
