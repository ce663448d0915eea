"""Importing is cheap, and nothing pulls in what it doesn't need."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _loaded(code: str, *names: str) -> list[str]:
    report = f"\nimport sys\nprint(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("module", ["robustnoise", "robustnoise_attacks", "robustnoise_defenses"])
def test_importing_a_package_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "art", "foolbox", "pandas", "scipy", "sklearn", "torchvision", "numpy")
    assert _loaded(f"import {module}", *heavy) == []


def test_naming_a_threat_model_does_not_load_torch() -> None:
    assert _loaded("import robustnoise as rn; rn.Linf(0.3)", "torch", "art", "foolbox", "pandas") == []


def test_the_api_and_every_plugin_load_neither_torchvision_nor_the_references() -> None:
    code = (
        "import robustnoise.api\n"
        "from robustnoise.registry import registry\n"
        "assert not registry().broken, registry().broken\n"
        "classes = [entry.load() for entry in registry().entries()]\n"
        "assert len(classes) >= 19, classes"
    )
    assert _loaded(code, "torch", "torchvision", "art", "foolbox") == ["torch"]
