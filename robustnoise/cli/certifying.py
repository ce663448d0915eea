"""The command certify."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from robustnoise.board import VictimPart
from robustnoise.cli.caching import open_store
from robustnoise.cli.progress import bars
from robustnoise.cli.running import Setting, checkpoints, load_plugins, target_options
from robustnoise.errors import BadParameter
from robustnoise.harness.bench import Bench
from robustnoise.harness.certifying import certify
from robustnoise.registry import registry
from robustnoise.report.certificates import certified_curve, curve_csv, images_csv, print_certificates
from robustnoise.report.plots import pictures, require_matplotlib
from robustnoise.report.terminal import stdout
from robustnoise.spec import Number
from robustnoise.store import atomic_write


@dataclass(frozen=True)
class Numbers:
    """What the command takes beside a setting."""

    sigma: str | None
    n0: int
    n: int
    alpha: float
    images: int
    output: Path | None


def certify_victim(
    defense: str | None, target: str | None, options: Sequence[str], numbers: Numbers, setting: Setting
) -> None:
    """Certify a stack, a target, or a target behind inference stages; show it, and write it where that is asked for."""
    if defense is None and target is None:
        raise BadParameter(
            "expected a victim, --target or both: 'robustnoise certify \"plain-training | smoothing(sigma=0.25)\"'."
        )
    if numbers.output is not None:
        require_matplotlib()
    load_plugins(setting.plugins)
    sigma = _sigma(numbers.sigma)
    stack = None if defense is None else checkpoints(defense)
    victims = {"victim": VictimPart(defense=stack, target=target, options=target_options(options))}
    null = next(rung for rung in registry().ladder() if rung.rung == "null")
    experiment = setting.experiment(setting.board(victims, {null.name: null.attack}, None))
    evaluation = experiment.dataset.evaluation
    store = open_store()
    with bars() as progress:
        victim = next(v for v in experiment.victims if v.name == "victim")
        classifier = Bench(experiment, store, progress).classifier(victim)
        found = certify(
            classifier,
            evaluation.take(min(numbers.images, len(evaluation))),
            store,
            sigma=sigma,
            n0=numbers.n0,
            n=numbers.n,
            alpha=numbers.alpha,
            seed=setting.seed,
            threads=experiment.threads,
            device=setting.device,
            named={"text": victim.text},
            progress=progress,
        )
    if setting.json:
        print(json.dumps(found.to_json(), allow_nan=False))
    else:
        print_certificates(stdout(), found, victim.text)
    if numbers.output is not None:
        atomic_write(numbers.output / "images.csv", images_csv(found).encode())
        atomic_write(numbers.output / "curve.csv", curve_csv(found).encode())
        for name, content in pictures(certified_curve(found, victim.text)).items():
            atomic_write(numbers.output / f"{name}.svg", content)


def _sigma(text: str | None) -> float | None:
    try:
        return None if text is None else TypeAdapter(Number).validate_python(text)
    except ValidationError:
        raise BadParameter(f"--sigma {text}: expected a number or a fraction such as 1/4.") from None
