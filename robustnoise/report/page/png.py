"""Images as PNG data URIs. A few lines of zlib do: pages then need neither Pillow nor its decoder's bugs."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


def png(image: Image) -> bytes:
    """`image`, uint8 (C, H, W) with one or three channels, as the bytes of a PNG file (8 bit, no filters)."""
    channels, height, width = image.shape
    rows = np.moveaxis(image, 0, -1).reshape(height, width * channels)
    unfiltered = np.pad(rows, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(unfiltered, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def data_uri(image: Image) -> str:
    """``data:image/png;base64,...``."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def change(original: Image, adversarial: Image) -> tuple[Image, int, float]:
    """The perturbation as a picture, mid-grey where nothing changed.

    Returns:
        the picture; the largest change in levels of 255; the factor that stretches it to the whole range.
    """
    delta = adversarial.astype(np.int16) - original
    largest = int(np.abs(delta).max())
    scale = 127 / max(largest, 1)
    return (128 + np.rint(delta * scale)).astype(np.uint8), largest, scale
