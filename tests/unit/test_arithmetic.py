"""What the process has set about torch's arithmetic changes no result, and is there again afterwards."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
import torch

from robustnoise.harness.arithmetic import arithmetic, precisions

backends: Any = torch.backends
SETTINGS = {
    "nothing": "",
    "the older interface": 'torch.set_float32_matmul_precision("medium")',
    "the newer interface": 'backends.fp32_precision = "tf32"',
    "a library": 'backends.cudnn.fp32_precision = "tf32"',
    "one kind": 'backends.mkldnn.conv.fp32_precision = "bf16"',
    "one kind of two that the older interface takes as one": 'backends.cudnn.conv.fp32_precision = "ieee"',
    "convolutions of the older interface": "backends.cudnn.allow_tf32 = False",
    "everything else": "backends.cudnn.benchmark = True; torch.use_deterministic_algorithms(True)",
}


def settings() -> dict[str, object]:
    # Since torch was told "highest" a library says "ieee" where it said nothing before: the same.
    found: dict[str, object] = {name: value.replace("none", "ieee") for name, value in precisions().items()}
    found["threads"] = torch.get_num_threads()
    found["strict"] = torch.are_deterministic_algorithms_enabled()
    for name in ("deterministic", "benchmark", "allow_tf32"):
        with suppress(RuntimeError):
            found[name] = getattr(backends.cudnn, name)
    with suppress(RuntimeError):
        found["older"] = torch.get_float32_matmul_precision()
    return found


def test_inside_is_exact_and_outside_as_before() -> None:
    """Each in a process of its own: what torch has once been told it doesn't wholly forget."""
    code = "import tests.unit.test_arithmetic as t\nt.enter_and_leave_each()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def enter_and_leave_each() -> None:
    forking = multiprocessing.get_context("fork")
    for name in SETTINGS:
        child = forking.Process(target=enter_and_leave, args=(name,))
        child.start()
        child.join()
        assert child.exitcode == 0, name


def enter_and_leave(name: str) -> None:
    exec(SETTINGS[name])
    before = settings()
    with arithmetic(3, "cpu"):
        assert (torch.get_num_threads(), backends.cudnn.deterministic, backends.cudnn.benchmark) == (3, True, False)
        # A library that looks or sets something itself would get an error if torch's two interfaces disagreed.
        assert (torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32) == ("highest", False)
        with backends.cudnn.flags(enabled=False):
            pass
        assert set(precisions().values()) == {"ieee"}
    assert settings() == before


def test_products_are_those_with_all_bits() -> None:
    """Where a processor has no others, all three are the same."""
    a = torch.rand(200, 200, generator=torch.Generator().manual_seed(0))
    wanted = a @ a
    torch.set_float32_matmul_precision("medium")
    try:
        with arithmetic(1, "cpu"):
            found = a @ a
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, wanted)


def test_what_fails_inside_changes_nothing_outside() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), arithmetic(1, "cpu"):
        1 / 0  # noqa: B018
    assert settings() == before


@pytest.mark.parametrize("strict", [False, True])
def test_a_gpu_adds_up_in_one_order_or_warns(strict: bool) -> None:
    """Nothing here starts CUDA."""
    torch.use_deterministic_algorithms(strict)
    try:
        with arithmetic(1, "cuda"):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.are_deterministic_algorithms_enabled() == strict
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
