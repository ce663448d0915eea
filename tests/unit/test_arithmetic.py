"""What the process has set about torch's arithmetic changes no result, and is there again afterwards."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from robustnoise.harness.arithmetic import arithmetic

backends: Any = torch.backends
LIBRARIES = {
    "cuda.matmul": backends.cuda.matmul,
    "cudnn.conv": backends.cudnn.conv,
    "cudnn.rnn": backends.cudnn.rnn,
    "mkldnn.matmul": backends.mkldnn.matmul,
    "mkldnn.conv": backends.mkldnn.conv,
    "mkldnn.rnn": backends.mkldnn.rnn,
}
SETTINGS = {
    "nothing": "",
    "the older interface": 'torch.set_float32_matmul_precision("medium")',
    "the newer interface": 'torch.backends.fp32_precision = "tf32"',
    "one library": 'torch.backends.mkldnn.conv.fp32_precision = "bf16"',
    "one library of two that the older interface takes as one": 'torch.backends.cudnn.conv.fp32_precision = "ieee"',
    "everything else": "torch.backends.cudnn.benchmark = True; torch.use_deterministic_algorithms(True)",
}


def precisions() -> dict[str, str]:
    return {name: library.fp32_precision for name, library in LIBRARIES.items()}


def settings() -> dict[str, object]:
    found: dict[str, object] = {
        # Since torch was told "highest" a library says "ieee" where it said nothing before: the same.
        name: value.replace("none", "ieee")
        for name, value in precisions().items()
    }
    for name in ("deterministic", "benchmark"):
        found[name] = getattr(backends.cudnn, name)
    found["strict"] = torch.are_deterministic_algorithms_enabled()
    found["warns"] = torch.is_deterministic_algorithms_warn_only_enabled()
    found["threads"] = torch.get_num_threads()
    return found


def test_inside_is_exact_and_outside_as_before() -> None:
    """In a process of its own: what torch has once been told it doesn't wholly forget."""
    code = "import tests.unit.test_arithmetic as t\nfor name in t.SETTINGS: t.enter_and_leave(name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def enter_and_leave(name: str) -> None:
    exec(SETTINGS[name])
    before = settings()
    with arithmetic(3, "cpu"):
        assert set(precisions().values()) == {"ieee"}, name
        assert (torch.get_num_threads(), backends.cudnn.deterministic, backends.cudnn.benchmark) == (3, True, False)
        # A library that looks or sets something itself would get an error if torch's two interfaces disagreed.
        assert (torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32) == ("highest", False), name
        with backends.cudnn.flags(enabled=False):
            pass
    assert settings() == before, name


def test_products_have_all_bits() -> None:
    a = torch.rand(200, 200, generator=torch.Generator().manual_seed(0))
    wanted = (a.double() @ a.double()).float()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with arithmetic(1, "cpu"):
            torch.testing.assert_close(a @ a, wanted, rtol=1e-5, atol=0)
    finally:
        torch.set_float32_matmul_precision(before)


def test_what_fails_inside_changes_nothing_outside() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), arithmetic(1, "cpu"):
        1 / 0  # noqa: B018
    assert settings() == before
    assert torch.get_float32_matmul_precision() == "highest"


def test_kernels_of_a_gpu_add_in_one_order() -> None:
    """Nothing here starts CUDA."""
    assert not torch.are_deterministic_algorithms_enabled()
    with arithmetic(1, "cuda"):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
