"""Boards on a GPU, and on a device that has the manners of one and the bits of the processor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import elsewhere

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
NOWHERE = pytest.mark.skipif(not elsewhere.AVAILABLE, reason="this torch takes no device made in Python")


@pytest.mark.parametrize("device", [pytest.param("elsewhere", marks=NOWHERE), pytest.param("cuda", marks=NO_GPU)])
@pytest.mark.parametrize(
    ("words", "lines"),
    [
        pytest.param(("training fast", "lstm, weights", "one's own", "refuses"), (3, 4), id="some"),
        pytest.param((), (22, 23), marks=pytest.mark.slow, id="everything"),
    ],
)
def test_a_device_computes_what_the_processor_does(
    device: str, words: tuple[str, ...], lines: tuple[int, int], tmp_path: Path
) -> None:
    """In a process of its own: a device that is known to torch stays so."""
    command = [sys.executable, "-m", "tests.e2e.on_device", device, str(tmp_path), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    found = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert len(found) == lines[device == "elsewhere"]
    assert [line for line in found.items() if not line[1].startswith("same")] == []
