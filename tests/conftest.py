"""Settings that must be in place before any test module is imported."""

from __future__ import annotations

import os

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # Foolbox imports GitPython, which wants a git binary
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests already run in parallel, and a fixed count fixes the sums

from hypothesis import settings

settings.register_profile("robustnoise", deadline=None, derandomize=True)
settings.load_profile("robustnoise")
