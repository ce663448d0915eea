"""Registered plugins, built: most have defaults for everything, some can't."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from robustnoise.api import Plugin, create
from robustnoise.models.files import save_classifier
from robustnoise.registry import Entry, registry
from robustnoise.testing import toy_model
from robustnoise_defenses.baselines import Card, cards


def _pretrained(folder: Path) -> Plugin:
    path = folder / "tiny.safetensors"
    save_classifier(toy_model(seed=1), path)
    found: Plugin = create("defense", "pretrained", path=str(path))
    return found


def _baseline(folder: Path) -> Plugin:
    """A shipped net for the images of the contracts, which are smaller than those of the nets that really ship."""
    path = folder / "tiny.safetensors"
    save_classifier(toy_model(seed=1), path)
    card = Card(
        file=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), model="mlp", training="plain-training",
        data="toy", train=1, seed=0, eps=0.1, n=1, clean=100.0, attack="pgd", robust=0.0,
    )  # fmt: skip
    cards()[f"toy-{card.sha256[:8]}"] = card
    found: Plugin = create("defense", "baseline", net=f"toy-{card.sha256[:8]}")
    return found


def _given(kind: str, name: str, **params: object) -> Callable[[Path], Plugin]:
    return lambda _: create(kind, name, **params)  # type: ignore[no-any-return]


MADE: dict[str, Callable[[Path], Plugin]] = {
    "art": _given("attack", "art", attack="SimBA", options="max_iter=60, epsilon=0.1"),
    "art-crafter": _given("crafter", "art-crafter", attack="ProjectedGradientDescent", options="max_iter=20"),
    "art-extraction": _given("substitute", "art-extraction", attack="CopycatCNN", options="nb_epochs=1"),
    "audit": _given("attack", "audit", crafter="apgd"),
    "baseline": _baseline,
    "both": _given("substitute", "both", first="independent(copies=2)", second="jacobian"),
    "foolbox": _given("attack", "foolbox", attack="LinfAdditiveUniformNoiseAttack"),
    "foolbox-crafter": _given("crafter", "foolbox-crafter", attack="LinfPGD", options="steps=20"),
    "pretrained": _pretrained,
    "smoothing": _given("defense", "smoothing", sigma=1.0),
    "transfer": _given("attack", "transfer", substitute="jacobian", crafter="pgd"),
}
"""Plugins that can't be built without arguments, or whose defaults do nothing visible to the toy networks; each takes a
folder for files that it needs."""


def built_in() -> list[Entry]:
    """Every registered plugin of ours, whatever is installed beside it."""
    return [e for e in registry().entries() if e.code is None and "/" not in e.name]


def made(name: str, folder: Path) -> Plugin:
    """The plugin `name`, with defaults where it has them for everything."""
    return MADE[name](folder) if name in MADE else registry().find(name)()


@contextlib.contextmanager
def registered_for_now() -> Iterator[None]:
    """What is registered and imported inside is forgotten at the end, and the path is as it was."""
    entries, modules, path = dict(registry()._entries), set(sys.modules), list(sys.path)
    try:
        yield
    finally:
        registry()._entries.clear()
        registry()._entries.update(entries)
        sys.path[:] = path
        for name in [m for m in sys.modules if m.startswith(("robustnoise_file_", "fresh_")) and m not in modules]:
            del sys.modules[name]
