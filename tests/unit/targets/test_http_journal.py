"""The journal of an endpoint's answers and the codecs that read them, spoilt or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from robustnoise.errors import BadParameter, CorruptArtifact, TargetFailed
from robustnoise.models.targets.codecs import CODECS
from robustnoise.models.targets.journal import Journal
from tests.unit.targets.server import NOISE, X, truth


def test_a_line_that_a_killed_writer_left_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(path, "t")
    journal.charge(2, 10)
    journal.keep({"a": b"1", "b": b"2"})
    whole = path.read_bytes()
    for cut in range(1, 30):
        path.write_bytes(whole + b'0123456789abcdef {"answers": {"c": "Mw=="'[:cut])
        again = Journal(path, "t")
        again.charge(1, 10)
        assert (again.charged, len(again), again.get("a")) == (3, 2, b"1")
        again.refresh()
        assert Journal(path, "t").get("b") is None
        path.unlink()


def test_a_damaged_or_foreign_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(path, "t")
    journal.charge(2, 10)
    journal.keep({"a": b"1"})
    with pytest.raises(BadParameter, match="another target"):
        Journal(path, "u").refresh()
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        spoilt = bytearray(content)
        spoilt[at] ^= 1
        path.write_bytes(spoilt)
        with pytest.raises((CorruptArtifact, BadParameter)):
            Journal(path, "t").refresh()


def test_no_spoilt_answer_breaks_a_codec() -> None:
    generator = NOISE.numpy("fuzz")
    good = {
        "json": json.dumps({"logits": truth(X.numpy()).tolist()}).encode(),
        "npy": CODECS["npy"].encode(truth(X.numpy())),
    }
    for name, body in good.items():
        for _ in range(400):
            spoilt = bytearray(body)
            for _ in range(int(generator.integers(1, 4))):
                spoilt[int(generator.integers(len(spoilt)))] = int(generator.integers(256))
            cut = bytes(spoilt[: int(generator.integers(len(spoilt) + 1))]) if generator.integers(2) else bytes(spoilt)
            try:
                found = CODECS[name].decode(cut, "logits")
            except TargetFailed:
                continue
            assert isinstance(found, np.ndarray)


def test_an_npy_header_can_not_claim_memory() -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }"
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 12
    with pytest.raises(TargetFailed, match="doesn't hold"):
        CODECS["npy"].decode(body, "logits")
    pickled = CODECS["npy"].encode(np.zeros(3)).replace(b"'<f8'", b"'|O' ")
    with pytest.raises(TargetFailed):
        CODECS["npy"].decode(pickled, "labels")
