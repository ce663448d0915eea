"""The store of finished work, from the command line."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import asdict

import typer

from robustnoise.cache import store_root
from robustnoise.errors import BadParameter, StoreError
from robustnoise.store import Store


def open_store() -> Store:
    """The user's store: ``ROBUSTNOISE_CACHE``, else the user's cache folder."""
    return Store(store_root())


def list_cells() -> None:
    """Finished cells by stage, and bytes."""
    store = open_store()
    counts = Counter(path.parent.name for path in store.cells())
    size = sum(p.stat().st_size for p in store.root.rglob("*") if p.is_file()) if store.root.exists() else 0
    for stage, count in sorted(counts.items()):
        print(f"{stage:12} {count:6}")
    print(f"{sum(counts.values())} cells, {size / 1e6:.1f} MB in {store.root}")


def explain(key: str) -> None:
    """The inputs and outputs of the cells whose key starts with `key`."""
    store = open_store()
    found = [path for path in store.cells() if path.stem.startswith(key)]
    if not found or not key:
        raise BadParameter(
            f"no cell's key starts with {key!r}; the keys are the file names below {store.root / 'cells'}."
        )
    for path in found:
        print(json.dumps(asdict(store.read_cell(path)), indent=2, sort_keys=True))


def repair() -> None:
    """Remove what can't be used, saying what. Not to be run beside a run of the same store."""
    store = open_store()
    removed = 0
    for path, reason in list(store.damaged()):
        path.unlink()  # its objects, but for those that another cell has too, are left over now
        print(f"removed: {reason.split('. Nothing')[0]}")
        removed += 1
    for path in [*store.leftovers(), *store.damaged_checkpoints()]:
        path.unlink(missing_ok=True)
        removed += 1
    print(f"{removed} files removed; the next run makes again what it needs.")


def clear(*, yes: bool) -> None:
    """Delete the store, after asking."""
    store = open_store()
    if not yes:
        typer.confirm(f"Delete all finished work in {store.root}?", abort=True)
    try:
        # What is in it, not the folder: that may be a link to a larger disk.
        for path in list(store.root.iterdir()) if store.root.exists() else ():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise StoreError(
            f"can't delete {error.filename or store.root}: {error.strerror or error}. Some of the store is still "
            "there; check permissions, end what runs on it, and run the same command again."
        ) from error
    print(f"deleted {store.root}")
