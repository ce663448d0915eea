"""Weights from strangers: safetensors files cut, changed and made up."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustnoise import tensorfile
from robustnoise.errors import BadData, CorruptArtifact
from robustnoise.models.files import classifier_bytes, load_classifier
from robustnoise.models.targets.factory import _load
from robustnoise.testing.toys import toy_model
from robustnoise.training import checkpoints
from robustnoise.training.checkpoints import Saved
from tests.hostile.bounds import bounded
from tests.hostile.mutations import NASTY, damaged, examples, nasty

REAL = classifier_bytes(toy_model())
HEADER, DATA = tensorfile.parts(REAL)
CARD = json.loads(HEADER["__metadata__"]["classifier"])


def file_of(header: Any, data: bytes = DATA, length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def described(card: Any) -> bytes:
    """The real weights with another description of their network."""
    text = card if isinstance(card, str) else json.dumps(card)
    return file_of(HEADER | {"__metadata__": HEADER["__metadata__"] | {"classifier": text}})


def refused_or_read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        with bounded():
            load_classifier(path)
    except BadData as error:
        assert str(path) in str(error)
        assert len(str(error)) < 5000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the file."""
    return tmp_path_factory.mktemp("weights") / "w.safetensors"


STRANGE = st.one_of(damaged(REAL), nasty(HEADER).map(file_of), nasty(CARD).map(described))


@given(content=STRANGE)
@examples(120)
def test_strange_weights_are_refused_or_read(path: Path, content: bytes) -> None:
    refused_or_read(path, content)


@pytest.mark.slow
@given(content=STRANGE)
@examples(5000)
def test_more_strange_weights_are_refused_or_read(path: Path, content: bytes) -> None:
    refused_or_read(path, content)


TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
MADE = {
    "no bytes": b"",
    "a length alone": struct.pack("<Q", 2**63),
    "a header of 16 EiB": file_of(HEADER, length=2**64 - 1),
    "a header of 100 MB": file_of(HEADER, length=100_000_000),
    "a huge tensor": file_of({"a": TENSOR | {"shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}),
    "a shape that overflows": file_of({"a": TENSOR | {"shape": [2**32, 2**32], "data_offsets": [0, 0]}}, b""),
    "a negative shape": file_of({"a": TENSOR | {"shape": [-1]}}),
    "offsets backwards": file_of({"a": TENSOR | {"data_offsets": [4, 0]}}),
    "offsets that overlap": file_of({"a": TENSOR, "b": TENSOR}, bytes(4)),
    "a hole": file_of({"a": TENSOR | {"data_offsets": [8, 12]}}, bytes(12)),
    "another dtype": file_of({"a": TENSOR | {"dtype": "O"}}),
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "a nested header": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "a header nested in a text": described("[" * 100_000),
    "no tensors": file_of({"__metadata__": HEADER["__metadata__"]}, b""),
    "metadata that is no text": file_of(HEADER | {"__metadata__": {"format": 1}}),
    "twice the same key": struct.pack("<Q", 200) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(200) + bytes(8),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_weights_that_are_made_up_are_refused(path: Path, name: str) -> None:
    path.write_bytes(MADE[name])
    with bounded(), pytest.raises(BadData) as caught:
        load_classifier(path)
    assert str(path) in str(caught.value)


def test_shapes_and_classes_that_are_no_counts_are_refused(path: Path) -> None:
    for value in NASTY:
        for changed in ({"input_shape": [1, 8, value]}, {"input_shape": value}, {"num_classes": value}):
            path.write_bytes(described(CARD | changed))
            with bounded(), pytest.raises(BadData, match="w.safetensors"):
                load_classifier(path)


def test_a_network_that_would_take_forever_to_build_is_refused(path: Path) -> None:
    architecture = CARD["architecture"]
    for name in architecture["params"]:
        for value in (2**31, 2**62, 10**30):
            params = architecture["params"] | {name: value}
            path.write_bytes(described(CARD | {"architecture": architecture | {"params": params}}))
            with bounded(), pytest.raises(BadData):
                load_classifier(path)


@given(content=damaged(REAL))
@examples(40)
def test_strange_weights_of_a_factory_are_refused_or_read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    net = toy_model().module
    try:
        with bounded():
            _load(net, path)
    except BadData as error:
        assert str(path) in str(error)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """The file of a training that was interrupted."""
    net = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    file = tmp_path_factory.mktemp("partial") / "key.safetensors"
    checkpoints.save(file, "mine", Saved(3, {"p": torch.ones(2)}, {"right": 5}), net, {"adam": optimizer})
    return file, file.read_bytes()


@given(data=st.data())
@examples(80)
def test_a_changed_checkpoint_is_never_used(checkpoint: tuple[Path, bytes], data: st.DataObject) -> None:
    path, whole = checkpoint
    content = data.draw(damaged(whole))
    if content == whole:
        return
    path.write_bytes(content)
    net = nn.Linear(3, 2)
    with bounded(), pytest.raises(CorruptArtifact) as caught:
        checkpoints.resume(path, "mine", net, {"adam": torch.optim.AdamW(net.parameters())})
    assert str(path) in str(caught.value)


def test_every_flipped_bit_of_a_checkpoint_is_found(checkpoint: tuple[Path, bytes]) -> None:
    path, whole = checkpoint
    tried = 0
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :]
        path.write_bytes(changed)
        net = nn.Linear(3, 2)
        try:
            checkpoints.resume(path, "mine", net, {"adam": torch.optim.AdamW(net.parameters())})
        except CorruptArtifact:
            tried += 1
        else:
            # A flip of the word "sha256" leaves a file without a seal, whose numbers are whole.
            assert tensorfile.SEAL not in tensorfile.metadata(changed)
            assert tensorfile.parts(changed)[1] == tensorfile.parts(whole)[1]
    assert tried >= len(whole) - 6
    path.write_bytes(whole)
