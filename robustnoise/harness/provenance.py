"""Where and when a record was made; outside of every digest."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("robustnoise", "torch", "numpy", "scipy")
CODE = ("robustnoise", "attacks", "defenses")
"""What a result can depend on; documents and tests may change meanwhile."""


def provenance() -> dict[str, Any]:
    """Commit, versions, hardware and time of now: to be asked at the start of a run, which may outlast them."""
    return {
        "commit": commit_of(Path(__file__).resolve().parents[2]),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit_of(root: Path) -> str | None:
    """The commit of the checkout `root`, marked where its `CODE` was changed since; None where it is no checkout."""
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", *CODE],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
