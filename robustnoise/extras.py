"""Optional packages, imported only when something needs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from robustnoise.errors import MissingExtra


def require(module: str, *, purpose: str, install: str) -> ModuleType:
    """Import `module`, or say how to install it.

    Args:
        module: dotted name, such as ``"sklearn.datasets"``.
        purpose: what it is needed for, as the start of a sentence.
        install: the argument of ``pip install`` that brings it.

    Raises:
        MissingExtra: the package isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtra(
            f"{purpose} needs the package {package!r}, which can't be imported ({error}). "
            f"Install it: pip install '{install}'"
        ) from error
