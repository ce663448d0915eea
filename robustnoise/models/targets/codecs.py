"""How images and answers look on the wire: JSON or npy."""

from __future__ import annotations

import io
import json
import math
from typing import Any, Protocol

import numpy as np

from robustnoise.errors import TargetFailed
from robustnoise.models.targets.base import Array, Output
from robustnoise.npy import read_header


class Codec(Protocol):
    """Bytes from images, an array from bytes."""

    content_type: str

    def encode(self, x: Array) -> bytes:
        """The body of a request for `x`, float32 (n, C, H, W)."""
        ...

    def decode(self, body: bytes, output: Output) -> Array:
        """The array of a response, of any shape and type.

        Raises:
            TargetFailed: the body holds none.
        """
        ...


class Json:
    """``{"images": [[[[0.5, ...]]]]}`` answered by ``{"labels": [3, ...]}``, probabilities or logits, as declared."""

    content_type = "application/json"

    def encode(self, x: Array) -> bytes:
        """See `Codec.encode`; every float32 comes through unchanged."""
        return json.dumps({"images": x.tolist()}, separators=(",", ":")).encode()

    def decode(self, body: bytes, output: Output) -> Array:
        """See `Codec.decode`."""
        try:
            said: Any = json.loads(body)
        except (ValueError, RecursionError):
            raise TargetFailed("the answer is no JSON") from None
        if not isinstance(said, dict) or not isinstance(said.get(output), list):
            raise TargetFailed(f'the answer has no list "{output}"')
        try:
            array = np.array(said[output])
        except (ValueError, OverflowError):
            raise TargetFailed(f'the rows of "{output}" have different lengths') from None
        return array


class Npy:
    """A file of ``numpy.save`` each way: float32 (n, C, H, W) to (n,) integers or (n, num_classes) numbers."""

    content_type = "application/x-npy"

    def encode(self, x: Array) -> bytes:
        """See `Codec.encode`."""
        buffer = io.BytesIO()
        np.save(buffer, x, allow_pickle=False)
        return buffer.getvalue()

    def decode(self, body: bytes, output: Output) -> Array:
        """See `Codec.decode`; the size is held against the header before any memory is taken."""
        file = io.BytesIO(body)
        try:
            shape, fortran, dtype = read_header(file)
        except ValueError:
            raise TargetFailed("the answer is no npy file") from None
        data = body[file.tell() :]
        if dtype.kind not in "fiu" or fortran or math.prod(shape) * dtype.itemsize != len(data):
            raise TargetFailed(f"the npy answer of {len(data)} bytes doesn't hold {dtype} {shape} in rows")
        return np.frombuffer(data, dtype).reshape(shape)


CODECS: dict[str, Codec] = {"json": Json(), "npy": Npy()}
