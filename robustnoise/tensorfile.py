"""The bytes of a safetensors file: 8 bytes of length, that much JSON, then the numbers. Ordered, and sealed.

safetensors checks no content: a flipped bit among the numbers would be read as another number. A sealed file holds its
own sha256, taken while 64 zeros stand in its place.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

UNSEALED = "0" * 64
"""Stands in the metadata under `SEAL` until a file is sealed."""
SEAL = "sha256"


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a file that safetensors reads, and the numbers that follow it."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def metadata(content: bytes) -> dict[str, str]:
    """The texts of a file that safetensors reads; it gives them itself for files on disk alone."""
    found: dict[str, str] = parts(content)[0].get("__metadata__", {})
    return found


def ordered(content: bytes) -> bytes:
    """`content` with its header in the order of the names: safetensors writes metadata in a random one."""
    header, data = parts(content)
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data that follow are aligned
    return struct.pack("<Q", len(text)) + text + data


def sealed(content: bytes) -> bytes:
    """`content`, whose metadata hold `UNSEALED` under `SEAL`, with its own hash there."""
    zeros = UNSEALED.encode()
    at = content.index(zeros)
    return content[:at] + hashlib.sha256(content).hexdigest().encode() + content[at + len(zeros) :]


def unbroken(content: bytes) -> bool:
    """Whether a file that safetensors reads is as it was sealed; one without a seal counts as such."""
    seal = metadata(content).get(SEAL)
    if seal is None:
        return True
    at = content.find(seal.encode())
    as_hashed = content[:at] + UNSEALED.encode() + content[at + len(seal) :]
    return hashlib.sha256(as_hashed).hexdigest() == seal
