"""A board of inference-time defenses here, and the same cells in a script on ART.

    python -m benchmarks.board_speed

The net is the shipped `mnist-pgd`; the attacker has two other shipped nets and transfers from them; nothing is trained
in the timed part, and nothing is imported there: one of our defenses is ART's own, which takes seconds to import. The
script makes its cells as ART's examples do: for each defense and attack it generates the images and counts the right
answers, over the same number of draws. A second reading of it, with the images generated once and kept, says what
sharing alone brings. What the script doesn't do: rounding to 8 bit, agreement of attacker and victim, scoring on draws
of their own for the choice of the worst attack, intervals, records, resuming.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.goals import Goal, Report
from benchmarks.nets import Case, case
from benchmarks.strangers import art_classifier
from benchmarks.timing import one_thread, seconds_of
from robustnoise.building import build
from robustnoise.harness.bench import AGREEMENT_IMAGES
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.fresh import create
from robustnoise.protocols import Context
from robustnoise.records import EvaluationRecord
from robustnoise.store import Store
from robustnoise.threat import Budget, Linf

ROBUST = "MNIST, small-cnn, adversarially trained"
DRAWS = 5
KINDS = 3
"""Of defenses; so many of the first hold one of each."""
ATTACKS = {
    "pgd": "transfer(independent(training={}), pgd(steps=20, relative_step=0.125, random_start=false))",
    "mi-fgsm": "transfer(independent(training={}), mi-fgsm(steps=20, relative_step=0.125))",
}
SOURCES = {"fast": "baseline(mnist-fast)", "trades": "baseline(mnist-trades)"}
Answer = Callable[[Tensor], Tensor]


class Defense(NamedTuple):
    """Ours as text, and as a person would write it around a net."""

    text: str
    plain: Callable[[nn.Module, Tensor], Tensor]
    random: bool


def defenses(count: int) -> dict[str, Defense]:
    """`count` of them: noise on the image, noise on the logits, fewer levels."""

    def image(sigma: float) -> Defense:
        noisy = lambda net, x: net((x + sigma * torch.randn_like(x)).clamp(0, 1))  # noqa: E731
        return Defense(f"gaussian-input-noise({sigma})", noisy, True)

    def logits(sigma: float) -> Defense:
        def noisy(net: nn.Module, x: Tensor) -> Tensor:
            out = net(x)
            return out + sigma * torch.randn_like(out)  # type: ignore[no-any-return]

        return Defense(f"output-noise({sigma})", noisy, True)

    def levels(bits: int) -> Defense:
        steps = 2**bits - 1
        return Defense(f"bit-depth({bits})", lambda net, x: net((x * steps).round() / steps), False)

    kinds: list[tuple[Callable[[Any], Defense], list[Any]]] = [
        (image, [round(0.02 * i, 2) for i in range(1, 50)]),
        (logits, [round(0.25 * i, 2) for i in range(1, 50)]),
        (levels, list(range(1, 8))),
    ]
    found = {}
    for turn in range(count):
        make, values = kinds[turn % 3]
        if turn // 3 >= len(values):
            make, values = kinds[0]
            values = values[20:]
        defense = make(values[turn // 3])
        found[defense.text] = defense
    return found


class Ours(NamedTuple):
    """A board here."""

    whole: float
    """CPU seconds."""
    next_one: float
    """Of one more defense on the finished board."""
    robust: float
    """Accuracy under attack, the mean over defenses and attacks."""


class Theirs(NamedTuple):
    """The script."""

    seconds: list[float]
    """CPU seconds until each defense was done."""
    robust: float
    """As for `Ours`."""


def ours(on: Case, count: int) -> Ours:
    """Our board of `count` defenses."""
    named = defenses(max(count + 1, KINDS))
    names = list(named)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        _run(on, named, names[:KINDS], store, warm=True)
        records: list[EvaluationRecord] = []
        whole = seconds_of(lambda: records.extend(_run(on, named, names[:count], store)))
        more = seconds_of(lambda: _run(on, named, names[: count + 1], store))
        again = seconds_of(lambda: _run(on, named, names[: count + 1], store))
    found = [r.victim.adversarial.accuracy for r in records if r.victim.adversarial is not None]
    return Ours(whole, more - again, float(np.mean(found)))


def theirs(on: Case, count: int, *, hoist: bool) -> Theirs:
    """The script; `hoist` generates the images once for all defenses."""
    sources = {name: _net(text, on) for name, text in SOURCES.items()}
    chosen = list(defenses(count).values())
    _script(on.first(8), chosen[:1], sources, hoist=hoist)  # imports
    found, seconds = _script(on, chosen, sources, hoist=hoist)
    return Theirs(seconds, float(np.mean([value for (_, *attack), value in found.items() if attack != ["clean"]])))


def _run(
    on: Case, named: dict[str, Defense], names: list[str], store: Store, *, warm: bool = False
) -> list[EvaluationRecord]:
    """Our board; `warm` takes other sets of images, so that substitutes alone are there in a timed run."""
    data = on.data
    if warm:
        data = replace(data, evaluation=data.evaluation.take(8), validation=data.validation.take(8))
    victims = tuple(
        Victim(name, build(f"baseline(mnist-pgd) | {named[name].text}", "defense"), build("small-cnn", "model"))
        for name in names
    )
    attacks = tuple(
        Attack(f"{source} {attack}", build(text.format(training), "attack"))
        for source, training in SOURCES.items()
        for attack, text in ATTACKS.items()
    )
    experiment = Experiment(
        dataset=data, sizes={}, threat=Linf(on.eps), budget=Budget(), victims=victims, attacks=attacks, draws=DRAWS,
        threads=1,
    )  # fmt: skip
    return run(experiment, store)


def _net(text: str, on: Case) -> TorchClassifier:
    net = build(text, "defense").apply(create("small-cnn", on.data.input_shape), Context(on.data.train, 0))
    assert isinstance(net, TorchClassifier)
    return net


def _script(
    on: Case, chosen: list[Defense], sources: dict[str, TorchClassifier], *, hoist: bool
) -> tuple[dict[Any, float], list[float]]:
    """What a user of ART writes: the accuracy of each defense under each attack, and on clean images; and how long it
    took until each defense was done."""
    from art.attacks.evasion import MomentumIterativeMethod, ProjectedGradientDescentPyTorch

    x, y, step = on.x.numpy(), on.y.numpy(), on.eps / 8
    found: dict[Any, float] = {}
    kept: dict[Any, Any] = {}
    begin, seconds = time.process_time(), []
    for defense in chosen:
        victim = art_classifier(_Defended(on.model.module, defense), on.x)
        found[defense.text, "clean"] = _score(victim, defense, x, y)
        for name, source in sources.items():
            for kind in (ProjectedGradientDescentPyTorch, MomentumIterativeMethod):
                if (name, kind) not in kept or not hoist:
                    net = art_classifier(source.module, on.x)
                    attack = kind(net, eps=on.eps, eps_step=step, max_iter=20, batch_size=128, verbose=False)
                    kept[name, kind] = attack.generate(x, y)
                found[defense.text, name, kind] = _score(victim, defense, kept[name, kind], y)
        seconds.append(time.process_time() - begin)
    return found, seconds


def _score(victim: Any, defense: Defense, x: Any, y: Any) -> float:
    draws = DRAWS if defense.random else 1
    return float(np.mean([(victim.predict(x, batch_size=128).argmax(1) == y).mean() for _ in range(draws)]))


class _Defended(nn.Module):
    def __init__(self, net: nn.Module, defense: Defense) -> None:
        super().__init__()
        self.net, self.defense = net, defense

    def forward(self, x: Tensor) -> Tensor:
        return self.defense.plain(self.net, x)


def table(count: int = 20, images: int = 1000) -> Report:
    """Lines of Markdown."""
    on, less = case(ROBUST, images), max(1, count // 2)
    few = ours(on, less)
    cells = theirs(on, count, hoist=False)
    many = ours(on, count)
    kept = theirs(on, count, hoist=True)
    lines = ["| board | defenses | CPU seconds | to ours | accuracy under attack |", "|---|---|---|---|---|"]
    for size, board in ((less, few), (count, many)):
        lines.append(f"| robustnoise | {size} | {board.whole:.2f} | 1 | {board.robust:.3f} |")
        for label, script in (("cell by cell", cells), ("images kept by hand", kept)):
            took, robust = script.seconds[size - 1], f"{script.robust:.3f}" if size == count else ""
            lines.append(f"| script on ART, {label} | {size} | {took:.2f} | {took / board.whole:.1f} | {robust} |")
    slope = (many.whole - few.whole) / (count - less)
    remark = (
        f"A defense more costs {slope:.3f} s here, from {less} to {count} defenses; number {count + 1} on the finished "
        f"board {many.next_one:.3f} s; one in the script {cells.seconds[-1] / count:.3f} s. "
        f"{len(ATTACKS) * len(SOURCES)} attacks, {images} images, {DRAWS} draws where answers are random. "
        f"{_work(images)}"
    )
    goal = Goal(
        f"a board of {count} defenses, time of a script on ART, cell by cell", 5, cells.seconds[-1] / many.whole
    )
    return Report([*lines, "", remark], [goal])


def _work(images: int) -> str:
    """How many rows are scored for a defense with random answers, in words."""
    attacks = len(ATTACKS) * len(SOURCES)
    script, here = DRAWS * images * (1 + attacks), DRAWS * images * (1 + 2 * attacks)
    return (
        f"For a random defense the script asks for {script:,} answers; this board for {here:,}, with the draws that "
        f"choose the worst attack, and for {DRAWS} more on each of up to {AGREEMENT_IMAGES:,} images, to compare "
        "attacker and victim."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defenses", type=int, default=20)
    parser.add_argument("--images", type=int, default=1000)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    one_thread()
    print("\n".join(table(arguments.defenses, arguments.images).lines))


if __name__ == "__main__":
    main()
