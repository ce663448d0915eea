"""Where downloads and finished work are kept."""

from __future__ import annotations

import os
from pathlib import Path

from robustnoise.extras import require

CACHE_VARIABLE = "ROBUSTNOISE_CACHE"


def cache_root() -> Path:
    """ROBUSTNOISE_CACHE, else the user's cache folder: downloads and the store of finished work lie below it."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser()
    pooch = require("pooch", purpose="The download cache", install="robustnoise")
    return Path(pooch.os_cache("robustnoise"))


def store_root() -> Path:
    """The user's store of finished work."""
    return cache_root() / "store"
