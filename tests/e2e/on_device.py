"""Plugins on a device beside the processor: `python -m tests.e2e.on_device elsewhere FOLDER [WORD...]`.

Small boards are run on both, and answers compared. A line for each says what differs; words keep the lines whose names
hold one.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import torch
from torch import Tensor

import robustnoise as rn
from robustnoise.api import (
    BlackBoxAttack,
    Classifier,
    Context,
    Crafter,
    Defense,
    Model,
    Plugin,
    SeedStream,
    Substitute,
    TorchClassifier,
)
from robustnoise.board import load_board
from robustnoise.building import build, create, describe
from robustnoise.compose import Leader
from robustnoise.data import SplitSizes
from robustnoise.harness.certifying import certify
from robustnoise.harness.planning import plan
from robustnoise.harness.runner import run
from robustnoise.models.files import save_classifier
from robustnoise.protocols import Silent
from robustnoise.store import Store
from robustnoise.testing.common import quick
from robustnoise.testing.toys import toy_model, toy_split
from robustnoise.threat import Access, Linf
from robustnoise.training import checkpoints
from tests import elsewhere
from tests.contracts.made import built_in, made

BOARD = """
schema = 1
name = "on-a-device"
[data]
name = "digits"
train = 150
attacker = 40
validation = 20
evaluation = 20
[threat]
norm = "{norm}"
eps = {eps}
access = "scores"
[budget]
per_image = 30
[run]
model = "{model}"
undefended = "plain"
draws = 2
threads = 1
[victims]
plain = "plain-training(epochs=1)"
{victims}
[attacks]
null = "null"
{attacks}
"""
NOISE = "layer-noise(snr_db=5, power=sample)"
NOISES = (
    "layer-noise(snr_db=5, site=weight)",
    "layer-noise(snr_db=5, site=layer_input, power=channel)",
    "layer-noise(snr_db=5, mode=multiplicative)",
    "layer-noise(snr_db=5, power=sample, statistic=variance, mode=both)",
    "device-noise(snr_db=5, site=pre_activation)",
    "layer-noise(snr_db=5) | jpeg | vote(3)",
)
"""Beside every registered defense as it is by default."""
MOST = 0.15
"""By how much a share, or a probability after a training, may differ on a real device; an image is a twentieth."""
CLOSE = 1e-3
"""By how much a probability of the same net may."""


def main(device: str, folder: Path, *words: str) -> None:
    """Compare, and print."""
    warnings.filterwarnings("ignore")
    exact = device == elsewhere.NAME
    if exact:
        elsewhere.install()
    for name, compare in comparisons(device, folder, exact):
        if not words or any(word in name for word in words):
            before = next(elsewhere.done)
            found = compare()
            if exact and next(elsewhere.done) == before + 1:
                found = f"nothing was computed on {device}"
            sys.stdout.write(f"{name}: {found}\n")
            sys.stdout.flush()


def comparisons(device: str, folder: Path, exact: bool) -> Iterator[tuple[str, Callable[[], str]]]:
    """By name, what says "same" or what differs."""
    for name, text in boards(folder):
        yield name, functools.partial(compared, folder / name, text, device, exact)
    most, close = (0, 0) if exact else (MOST, CLOSE)
    strokes = torch.rand(20, 1, 12, 4, generator=torch.Generator().manual_seed(0))
    net = rn.models.create("stroke-lstm", (1, 12, 4))
    for name, text in {"lstm": NOISE, "lstm, weights": "layer-noise(snr_db=5, site=weight)"}.items():
        yield name, functools.partial(answered, net, text, strokes, device, close)
    yield "certificates", functools.partial(certified, device, most)
    yield "resumed training", functools.partial(resumed, device, most)
    yield "a net of one's own", functools.partial(owned, device, most)
    if exact:
        yield "what a GPU refuses", refused


def boards(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and texts of the boards."""
    plugins = [(entry.name, quick(_made(entry.name, folder))) for entry in built_in() if entry.name != "baseline"]
    victims = dict(enumerate(NOISES))
    attacks: dict[str, str] = {}
    for name, plugin in plugins:
        text = describe(plugin)
        if isinstance(plugin, Leader):
            yield f"training {name}", board({"x": text}, {})
        elif isinstance(plugin, Defense):
            victims[name] = text
        elif isinstance(plugin, BlackBoxAttack) and name != "null":
            attacks[name] = text
        elif isinstance(plugin, Crafter):
            attacks[name] = f"transfer(independent(plain-training(epochs=1), small-cnn), {text})"
        elif isinstance(plugin, Substitute):
            attacks[name] = f"transfer({text}, fgsm)"
        elif isinstance(plugin, Model) and name != "stroke-lstm":
            yield f"model {name}", board({"noisy": f"plain-training(epochs=1) | {NOISES[0]}"}, {}, model=text)
    around = {f"v-{name}": f"plain-training(epochs=1) | {text}" for name, text in victims.items()}
    yield "victims", board(around, {"asking": "transfer(jacobian(10, rounds=1, epochs=1, model=mlp(hidden=8)), fgsm)"})
    yield "attacks", board({"noisy": f"plain-training(epochs=1) | {NOISES[0]}"}, attacks)
    yield "attacks in l2", board({}, {n: attacks[n] for n in ("square", "gradient", "hop-skip-jump")}, norm="l2", eps=1)


def board(
    victims: dict[str, str], attacks: dict[str, str], *, model: str = "small-cnn", norm: str = "linf", eps: float = 0.2
) -> str:
    """A board's file."""
    lines = ["\n".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in table.items()) for table in (victims, attacks)]
    return BOARD.format(victims=lines[0], attacks=lines[1], model=model.replace('"', "'"), norm=norm, eps=eps)


def compared(folder: Path, text: str, device: str, exact: bool) -> str:
    """What differs between the rows of a board on `device` and on the processor."""
    folder.mkdir()
    (folder / "board.toml").write_text(text)
    measured = load_board(folder).experiment()
    there = replace(measured, device=device)
    plan(there, Store(folder / "there"))
    here, away = run(measured, Store(folder / "here")), run(there, Store(folder / "there"))
    assert len(here) == len(away) > 0
    found = [
        f"{a.victim.victim['name']} under {a.attack and a.attack['name']}"
        for a, b in zip(here, away, strict=True)
        if (a.outcome != b.outcome if exact else abs(a.victim.scored.accuracy - b.victim.scored.accuracy) > MOST)
    ]
    return f"different rows: {', '.join(found)}" if found else f"same {len(here)} rows"


def answered(model: TorchClassifier, text: str, x: Tensor, device: str, most: float) -> str:
    """What differs between answers about `x` here and there."""
    found = []
    for victim, _ in _on_both(model, text, device):
        scores = victim.predict(x, noise=SeedStream(0)).scores
        assert scores is not None
        found.append(scores.cpu())
    return _apart(*found, most)


def certified(device: str, most: float) -> str:
    """What differs between certificates."""
    found = []
    for victim, place in _on_both(toy_model(), "smoothing(sigma=0.5)", device):
        with TemporaryDirectory() as folder:
            counts = certify(victim, toy_split(8), Store(Path(folder)), n0=10, n=200, device=place)
        found.append(torch.from_numpy(counts.hits) / 200)
    return _apart(*found, most)


def resumed(device: str, most: float) -> str:
    """What differs between the answers of nets whose training is cut in its second epoch and goes on."""
    found, train = [], toy_split(60)
    training = build("pgd-training(epochs=2, batch_size=20)", "defense")
    checkpoints.CHECKPOINT_SECONDS = -1
    for place in ("cpu", device):
        with TemporaryDirectory() as folder:
            ctx = Context(train, 0, Path(folder) / "checkpoint", Cut(), place)
            with contextlib.suppress(KeyboardInterrupt):
                training.apply(toy_model(), ctx)
            assert ctx.checkpoint is not None
            assert ctx.checkpoint.exists()
            trained = training.apply(toy_model(), replace(ctx, progress=Silent()))
        scores = trained.predict(torch.from_numpy(train.floats()), noise=SeedStream(0)).scores
        assert scores is not None
        found.append(scores.cpu())
    return _apart(*found, most)


class Cut(Silent):
    """Interrupts in the fourth step."""

    def __init__(self) -> None:
        self.left = 4

    def start(self, label: str, total: int) -> Self:
        return self

    def advance(self, n: int = 1, **_: object) -> None:
        self.left -= n
        if self.left == 0:
            raise KeyboardInterrupt


def owned(device: str, most: float) -> str:
    """What differs where a classifier that is on the device is evaluated; the record names it."""
    data = rn.load_dataset("digits", sizes=SplitSizes(train=20, attacker=20, validation=20, evaluation=20))
    found = []
    for victim, place in _on_both(rn.models.create("small-cnn", (1, 8, 8)), NOISE, device):
        record = rn.evaluate(victim, build("square(queries=20)", "attack"), data=data, threat=Linf(0.1, Access.SCORES))
        assert record.setting["device"] == place
        found.append(torch.tensor([record.victim.clean.accuracy, record.victim.scored.accuracy]))
    return _apart(*found, most)


def refused() -> str:
    """Which of the things that a GPU refuses the device doesn't."""
    here, there = torch.ones(3), torch.ones(3, device=elsewhere.NAME)
    done = []
    for what, act in {
        "tensors of two devices": lambda: here + there,
        "values of another device": lambda: there.index_put_((torch.tensor([0, 1]),), here[:2]),
        "numpy": there.numpy,
        "a generator of another device": lambda: there.normal_(generator=torch.Generator()),
    }.items():
        with contextlib.suppress(RuntimeError, TypeError):
            act()
            done.append(what)
    return f"it does {', '.join(done)}" if done else "same"


def _on_both(model: TorchClassifier, text: str, device: str) -> Iterator[tuple[Classifier, str]]:
    for place in ("cpu", device):
        moved = copy.deepcopy(model)
        moved.module.to(place)
        yield build(text, "defense").apply(moved, Context()), place


def _apart(here: Tensor, there: Tensor, most: float) -> str:
    apart = (here - there).abs().max().item()
    return "same" if apart <= most else f"different by {apart:g}"


def _made(name: str, folder: Path) -> Plugin:
    if name != "pretrained":
        return made(name, folder)
    path = folder / "net.safetensors"
    save_classifier(rn.models.create("small-cnn", (1, 8, 8)), path)
    return create("defense", "pretrained", path=str(path))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
