"""The example plugin package is installed for real, found by the registry, and passes its own tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_defense"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package; the source is copied first, since a build writes into it."""
    folder = tmp_path_factory.mktemp("example")
    ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    source = shutil.copytree(EXAMPLE, folder / "source", ignore=ignored)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    _run("-m", "pip", "install", *offline, "--target", str(folder / "site"), str(source))
    return folder


def _run(*args: str, path: Path | None = None, cwd: Path | None = None) -> str:
    paths = [str(path) if path else "", os.environ.get("PYTHONPATH", "")]
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, *args], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


LIST_AND_BUILD = """
from robustnoise.building import build, describe, spec_of
from robustnoise.registry import registry
entry = next(e for e in registry().entries() if e.name == "my_defense/median-filter")
assert not registry().broken, registry().broken
plugin = build("plain-training | my_defense/median-filter(size=5)", "defense").parts[1]
assert describe(plugin) == "my_defense/strong-median(size=5)", describe(plugin)
assert spec_of(plugin).code is None
strong = build("my_defense/strong-median", "defense")
assert strong.size == 5 and describe(strong) == "my_defense/strong-median(size=5)", describe(strong)
assert spec_of(strong).name == "my_defense/median-filter"
from my_defense import STRONGMEDIAN
assert STRONGMEDIAN() == strong and STRONGMEDIAN(7) == build("my_defense/strong-median(7)", "defense")
print(entry.origin, type(plugin).__module__)
"""


def test_the_registry_lists_and_builds_it(installed: Path) -> None:
    assert _run("-c", LIST_AND_BUILD, path=installed / "site", cwd=installed).split() == [
        "my-defense",
        "0.1.0",
        "my_defense.median",
    ]


def test_its_own_tests_pass(installed: Path) -> None:
    # Tests are copied away from the source, so that only the installed package can be imported.
    tests = shutil.copytree(installed / "source" / "tests", installed / "tests")
    out = _run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests), path=installed / "site", cwd=installed)
    assert "5 passed" in out


def test_the_guide_shows_the_code_as_it_is() -> None:
    guide = (EXAMPLE.parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
    files = [p.read_text(encoding="utf-8") for p in [*EXAMPLE.rglob("*.py"), *EXAMPLE.rglob("*.toml")]]
    blocks: list[str] = re.findall(r"```(?:python|toml)\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 8
    assert [b for b in blocks if not any(b in text for text in files)] == []


def test_as_one_file(tmp_path: Path) -> None:
    code = (EXAMPLE / "my_defense" / "median.py").read_text(encoding="utf-8")
    path = tmp_path / "mine.py"
    path.write_text(code + '\nPLUGINS = {"median-filter": "MedianFilter"}\n', encoding="utf-8")
    out = _run(
        "-c",
        "from pathlib import Path; from robustnoise.building import build, spec_of\n"
        "from robustnoise.registry import registry; from robustnoise.testing import check_plugin\n"
        f"registry().add_file(Path({str(path)!r})); plugin = build('mine/median-filter', 'defense')\n"
        "check_plugin(plugin); print(spec_of(plugin).name, len(spec_of(plugin).code))",
        cwd=tmp_path,
    )
    assert out.split() == ["mine/median-filter", "64"]
