"""The store: content-addressed files, written whole or not at all, re-hashed at every read.

``objects/<sha256>`` holds bytes under their own hash. ``cells/<stage>/<key>.json`` says which objects a piece of work
produced; its key is the digest of the stage, the identity version and the digests of all its inputs, so a finished cell
is found again by what it was made from. ``partial/`` holds training checkpoints. Arrays are npz without pickle, weights
safetensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from robustnoise import tensorfile
from robustnoise.errors import CorruptArtifact, StoreError
from robustnoise.spec import canonical_json, digest_of

IDENTITY = 1
"""Rises when the same inputs give other outputs; part of every key."""
REMADE = {"substitute": {"remade": 1}, "craft": {"remade": 1}}
"""Stages that alone give other outputs since: their older cells aren't found. To be dropped when `IDENTITY` rises."""
CELL_SCHEMA = 1
SHA256 = re.compile("[0-9a-f]{64}")


def atomic_write(path: Path, content: bytes) -> None:
    """The one function that writes files: to a temporary file, synced, renamed, and the folder synced.

    Raises:
        StoreError: disk full, folder read-only, ...; the old file, if any, is untouched and nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        _make_folder(path.parent)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"can't write {path}: {error.strerror or error}. Finished work is kept; free space or choose another "
            "folder (--output for results, ROBUSTNOISE_CACHE for the cache), then run the same command again."
        ) from error


def _make_folder(folder: Path) -> None:
    """With its parents, each synced: a power cut might else keep a cell's record and lose the folder of its object."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def pack_arrays(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """npz bytes, the same for the same arrays (no time stamps)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(arrays[name], order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue())
    return buffer.getvalue()


def unpack_arrays(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The inverse of `pack_arrays`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@dataclass(frozen=True)
class Cell:
    """A finished piece of work.

    Args:
        stage: ``"train"``, ``"substitute"``, ``"craft"`` or ``"score"``.
        key: the digest of its inputs.
        inputs: what it was made from, JSON.
        outputs: name to sha256 of an object.
        facts: small JSON results.
    """

    stage: str
    key: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, str]
    facts: Mapping[str, Any]


def cell_key(stage: str, inputs: Mapping[str, Any]) -> str:
    """The key of a cell: a digest over stage, identity version and inputs."""
    return digest_of({"stage": stage, "identity": IDENTITY, "inputs": inputs, **REMADE.get(stage, {})})


class Store:
    """A folder of finished work, safe for several processes at once.

    Args:
        root: made at the first write; the same folder for a worker that runs in another one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def object_path(self, sha256: str) -> Path:
        """Where the object of that hash lies."""
        return self.root / "objects" / sha256[:2] / sha256

    def cell_path(self, stage: str, key: str) -> Path:
        """Where the record of that cell lies."""
        return self.root / "cells" / stage / f"{key}.json"

    def partial_path(self, key: str) -> Path:
        """Where a training of that key keeps its checkpoint."""
        return self.root / "partial" / f"{key}.safetensors"

    def put(
        self,
        stage: str,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, bytes],
        facts: Mapping[str, Any] | None = None,
    ) -> Cell:
        """Keep a finished piece of work. The record is written last, so a cell is there whole or not at all."""
        hashes = {}
        for name, content in outputs.items():
            sha256 = hashlib.sha256(content).hexdigest()
            hashes[name] = sha256
            path = self.object_path(sha256)
            if not _holds(path, content):
                atomic_write(path, content)
        cell = Cell(stage, cell_key(stage, inputs), inputs, hashes, facts or {})
        body = {"schema": CELL_SCHEMA, "stage": stage, "key": cell.key, "inputs": inputs, "outputs": hashes}
        body["facts"] = dict(cell.facts)
        body["sha256"] = digest_of(body)
        atomic_write(self.cell_path(stage, cell.key), canonical_json(body).encode())
        return cell

    def get(self, stage: str, inputs: Mapping[str, Any]) -> Cell | None:
        """The finished cell of those inputs, or None.

        Raises:
            CorruptArtifact: its record is damaged.
            StoreError: the disk doesn't give it.
        """
        path = self.cell_path(stage, cell_key(stage, inputs))
        content = _content(path)
        return None if content is None else _cell(path, content)

    def read_cell(self, path: Path) -> Cell:
        """The cell recorded in `path`.

        Raises:
            CorruptArtifact: the record is not what was written, or not there.
            StoreError: the disk doesn't give it.
        """
        content = _content(path)
        if content is None:
            raise _corrupt(path, "it isn't there")
        return _cell(path, content)

    def read(self, cell: Cell, name: str) -> bytes:
        """The content of an output.

        Raises:
            CorruptArtifact: the object is absent or changed.
            StoreError: the disk doesn't give it.
        """
        path = self.object_path(cell.outputs[name])
        content = _content(path)
        if content is None:
            raise _corrupt(path, "it isn't there")
        if hashlib.sha256(content).hexdigest() != cell.outputs[name]:
            raise _corrupt(path, "its content doesn't match its hash")
        return content

    def cells(self) -> Iterator[Path]:
        """The records of all finished cells, sorted."""
        yield from sorted((self.root / "cells").glob("*/*.json"))

    def damaged(self) -> Iterator[tuple[Path, str]]:
        """Every record that can't be used: (its path, the reason)."""
        for path in self.cells():
            try:
                cell = self.read_cell(path)
            except CorruptArtifact as error:
                yield path, str(error)
                continue
            for name in cell.outputs:
                try:
                    self.read(cell, name)
                except CorruptArtifact as error:
                    yield path, str(error)
                    break

    def damaged_checkpoints(self) -> Iterator[Path]:
        """Checkpoints that aren't as they were written; a training starts anew without its checkpoint."""
        for path in sorted(p for p in (self.root / "partial").glob("*") if not p.name.startswith(".")):
            content = _content(path)
            if content is not None and not _whole_checkpoint(content):
                yield path

    def leftovers(self) -> Iterator[Path]:
        """Files that no finished cell refers to: unreferenced objects, temporary files of killed writers."""
        used: set[str] = set()
        for path in self.cells():
            with contextlib.suppress(CorruptArtifact):
                used.update(self.read_cell(path).outputs.values())
        yield from (p for p in sorted(self.root.glob("objects/*/*")) if p.name not in used)
        yield from (p for p in sorted(self.root.glob("**/.*.tmp")) if p.parent.name and p.name not in used)


def _cell(path: Path, content: bytes) -> Cell:
    try:
        body = json.loads(content)
        claimed = body.pop("sha256")
        if digest_of(body) != claimed:
            raise ValueError("its content doesn't match its hash")
        if body["schema"] != CELL_SCHEMA:
            raise ValueError(f"schema {body['schema']} is not {CELL_SCHEMA}")
        if (body["stage"], body["key"]) != (path.parent.name, path.stem):
            raise ValueError(f"it is the record of the cell {body['stage']} {body['key']}")
        if not all(SHA256.fullmatch(sha256) for sha256 in body["outputs"].values()):
            raise ValueError("its outputs aren't named by hashes")
        return Cell(body["stage"], body["key"], body["inputs"], body["outputs"], body["facts"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _corrupt(path, error) from None


def _holds(path: Path, content: bytes) -> bool:
    """Whether `content` is there already; a damaged object is to be written anew, or its cell would never be whole."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _content(path: Path) -> bytes | None:
    """What is in a file of the store; None where there is none.

    Raises:
        StoreError: the disk doesn't give it, which is no damage: nothing is to be removed for it.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"can't read {path}: {error.strerror or error}. Check its permissions and the disk."
        ) from error


def _whole_checkpoint(content: bytes) -> bool:
    try:
        deserialize(content)  # type: ignore[no-untyped-call]
        return "checkpoint" in tensorfile.metadata(content) and tensorfile.unbroken(content)
    except (SafetensorError, ValueError):
        return False


def _corrupt(path: Path, reason: object) -> CorruptArtifact:
    return CorruptArtifact(
        f"{path}: {reason}. Nothing is recomputed silently; 'robustnoise cache repair' removes what is damaged, "
        "and the next run makes it again."
    )
