"""'robustnoise new' writes packages that keep their contracts at once, and nothing over what is there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustnoise.cli.authoring import check, new_package
from robustnoise.errors import BadParameter
from tests.contracts.made import registered_for_now


@pytest.fixture
def forgotten() -> Iterator[None]:
    """See `registered_for_now`."""
    with registered_for_now():
        yield


@pytest.mark.parametrize(("kind", "name"), [("defense", "fresh-noise"), ("attack", "fresh-search")])
def test_it_keeps_its_contracts_before_it_is_installed(
    kind: str, name: str, tmp_path: Path, forgotten: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / name
    new_package(kind, name, folder)
    assert f"robustnoise check {folder}" in capsys.readouterr().out
    assert check(str(folder), as_json=False) == 0
    package = name.replace("-", "_")
    assert f"{package}/{name} ({kind}): keeps all" in capsys.readouterr().out
    assert "$" not in "".join(p.read_text() for p in folder.rglob("*") if p.suffix in (".py", ".toml", ".md"))


def _run(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    paths = [str(path) if path else "", os.environ.get("PYTHONPATH", "")]
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_tidy(tmp_path: Path) -> None:
    for kind in ("defense", "attack"):
        new_package(kind, f"tidy-{kind}", tmp_path / kind)
        rules = ["--isolated", "--line-length", "120"]
        _run("-m", "ruff", "check", *rules, "--select", "E,F,I,B,UP", ".", cwd=tmp_path / kind)
        _run("-m", "ruff", "format", *rules, "--check", ".", cwd=tmp_path / kind)


@pytest.mark.slow
def test_it_installs_and_its_own_tests_pass(tmp_path: Path) -> None:
    new_package("defense", "fresh-noise", tmp_path / "defense")
    new_package("attack", "fresh-search", tmp_path / "attack")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    site = tmp_path / "site"
    _run("-m", "pip", "install", *offline, "--target", str(site), "./defense", "./attack", cwd=tmp_path)
    for kind, passed in (("defense", "4 passed"), ("attack", "3 passed")):
        assert passed in _run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path / kind, path=site)
    for arguments, said in ((["check", "fresh-noise"], "keeps all"), (["plugins", "attacks"], "fresh_search/")):
        assert said in _run("-c", "from robustnoise.cli import main; main()", *arguments, cwd=tmp_path, path=site)


def test_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(BadParameter, match="is there already and stays as it is"):
        new_package("defense", "fresh-noise", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("defence", "fresh-noise", "expected defense or attack. Did you mean 'defense'?"),
        ("crafter", "fresh-step", "expected defense or attack"),
        ("defense", "FreshNoise", "Did you mean 'fresh-noise'?"),
        ("defense", "fresh_noise", "Did you mean 'fresh-noise'?"),
        ("defense", "../fresh", "expected small letters"),
        ("defense", "2fast", "expected small letters"),
        ("defense", "", "expected small letters"),
        ("defense", "lambda", "would hide something"),
        ("defense", "context", "would hide something"),
        ("defense", "tests", "would hide something"),
        ("defense", "torch", "there is a module 'torch' already"),
        ("attack", "robustnoise-attacks", "there is a module 'robustnoise_attacks' already"),
        ("attack", "random", "there is a module 'random' already. Add a word, such as 'my-random'"),
    ],
)
def test_what_cannot_be_a_package_is_refused(
    kind: str, name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadParameter) as refused:
        new_package(kind, name, None)
    assert words in str(refused.value)
    assert list(tmp_path.iterdir()) == []
