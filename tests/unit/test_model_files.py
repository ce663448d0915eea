"""Classifier files: the same weights are the same bytes, and come back."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load, save

from robustnoise import tensorfile
from robustnoise.errors import BadData
from robustnoise.models import create
from robustnoise.models.files import classifier_bytes, classifier_from_bytes

MAKE = (
    "import hashlib; from robustnoise.models import create; from robustnoise.models.files import classifier_bytes; "
    "print(hashlib.sha256(classifier_bytes(create('norm-cnn(width=2)', (1, 8, 8), 3))).hexdigest())"
)


def test_the_same_weights_are_the_same_bytes() -> None:
    net = create("norm-cnn(width=2)", (1, 8, 8), 3)
    assert len({classifier_bytes(net) for _ in range(20)}) == 1


def test_another_process_writes_the_same_bytes() -> None:
    found = {subprocess.run([sys.executable, "-c", MAKE], capture_output=True, check=True).stdout for _ in range(3)}
    assert len(found) == 1


def test_a_file_comes_back_and_its_header_is_in_order_and_aligned() -> None:
    net = create("norm-cnn(width=2)", (1, 8, 8), 3)
    content = classifier_bytes(net)
    assert classifier_from_bytes(content).digest == net.digest
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert list(header) == sorted(header)
    assert list(header["__metadata__"]) == sorted(header["__metadata__"])
    weights = classifier_from_bytes(content).module.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in net.module.state_dict().items())


@pytest.mark.parametrize("value", [torch.tensor(1e300, dtype=torch.float64), torch.tensor(torch.nan)])
def test_weights_that_are_no_numbers_where_they_are_used_are_refused(value: torch.Tensor) -> None:
    content = classifier_bytes(create("mlp(hidden=8)", (1, 8, 8), 10))
    tensors = load(content)
    name = min(tensors)
    tensors[name] = value.expand_as(tensors[name]).clone()
    with pytest.raises(BadData, match="NaN or infinite"):
        classifier_from_bytes(save(tensors, metadata=tensorfile.metadata(content)))
