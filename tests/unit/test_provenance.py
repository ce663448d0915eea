"""Which commit a row names."""

from __future__ import annotations

import subprocess
from pathlib import Path

from robustnoise.harness.provenance import commit_of

NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")


def test_changed_code_is_marked_and_a_changed_document_is_not(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *NOBODY, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert commit_of(tmp_path) is None
    git("init")
    code, document = tmp_path / "attacks" / "code.py", tmp_path / "README.md"
    code.parent.mkdir()
    code.write_text("1")
    document.write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    document.write_text("2")
    assert commit_of(tmp_path) == git("rev-parse", "HEAD")
    code.write_text("2")
    assert commit_of(tmp_path) == git("rev-parse", "HEAD") + "+changes"
