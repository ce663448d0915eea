"""The lines of Python: evaluate a victim, compare two, audit one, certify one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from robustnoise.building import build
from robustnoise.certificates import Certificates
from robustnoise.compose import Identity
from robustnoise.data import Dataset, Split
from robustnoise.flags import Raised, raised
from robustnoise.harness import auditing, certifying
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.models.classifier import device_of
from robustnoise.protocols import BlackBoxAttack, Classifier, Progress
from robustnoise.records import EvaluationRecord
from robustnoise.registry import registry
from robustnoise.report.audit import Audit
from robustnoise.report.text import sentence
from robustnoise.report.views import Figure
from robustnoise.store import Store
from robustnoise.threat import Access, Budget, ThreatModel


def evaluate(
    victim: Classifier,
    attack: BlackBoxAttack,
    *,
    data: Dataset,
    threat: ThreatModel,
    reference: Classifier | None = None,
    budget: Budget | None = None,
    draws: int = 10,
    seed: int = 0,
    threads: int = 2,
    store: Path | None = None,
    progress: Progress | None = None,
) -> EvaluationRecord:
    """Attack `victim` and score it in fresh draws on ``data.evaluation``.

    Args:
        victim: any classifier; a stack applied to a model, or one of your own. Substitutes are made where its network
            is.
        attack: what attacks it.
        data: with its splits; the attacker owns ``data.attacker``.
        threat: norm, radius, access.
        reference: another classifier to take paired deltas against, attacked in the same way.
        budget: the attacker's queries and data; None is no limit.
        draws: fresh scoring draws where the victim is stochastic.
        seed: of attack and scoring.
        threads: torch threads.
        store: a folder to resume from; None keeps nothing.
        progress: where to report.

    Returns:
        The record: ``record.victim.adversarial.accuracy``, ``record.delta()``, ``Leaderboard.add(record)``.

    Raises:
        BadParameter: the attack needs more access than the threat model gives, a number is out of range, ...
    """
    victims = [Victim("victim", Identity(), reference=None if reference is None else "reference", classifier=victim)]
    if reference is not None:
        victims.append(Victim("reference", Identity(), classifier=reference))
    experiment = Experiment(
        dataset=data,
        sizes=_sizes(data),
        threat=threat,
        budget=budget or Budget(),
        victims=tuple(victims),
        attacks=(Attack("attack", attack),),
        draws=draws,
        seed=seed,
        threads=threads,
        device=device_of(victim),
    )
    with _store(store) as opened:
        return run(experiment, opened, progress=progress)[0]


def _sizes(data: Dataset) -> dict[str, Any]:
    sizes: dict[str, Any] = {s.name: len(s) for s in (data.train, data.attacker, data.validation, data.evaluation)}
    return {**sizes, "overlap": data.overlap}


@contextmanager
def _store(folder: Path | None) -> Iterator[Store]:
    if folder is not None:
        yield Store(folder)
        return
    with tempfile.TemporaryDirectory(prefix="robustnoise-") as temporary:
        yield Store(Path(temporary))


@dataclass(frozen=True)
class Comparison:
    """Two victims on the same images.

    Args:
        record: of the second, with the first as its reference.
        robust: paired delta under attack, second minus first.
        clean: paired delta on clean images.
        sentence: the robust delta in words, with the flags that doubt it.
        flags: raised on the record.
    """

    record: EvaluationRecord
    robust: Figure
    clean: Figure
    sentence: str
    flags: tuple[Raised, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain fields."""
        return {
            "robust": asdict(self.robust),
            "clean": asdict(self.clean),
            "n": self.record.n,
            "sentence": self.sentence,
            "flags": {raised.flag: raised.text for raised in self.flags},
        }


def comparison(record: EvaluationRecord, what: str) -> Comparison:
    """The comparison of a record with its reference.

    Args:
        record: with a reference.
        what: what was changed, for the sentence.
    """
    robust, clean = record.delta(), record.delta(on="clean")
    assert robust is not None
    assert clean is not None
    figure, flags = Figure(*robust[:4]), raised(record)
    told = sentence(what, "robust accuracy", figure, record.n, flags)
    return Comparison(record, figure, Figure(*clean[:4]), told, flags)


def compare(
    first: Classifier,
    second: Classifier,
    attack: BlackBoxAttack,
    *,
    data: Dataset,
    threat: ThreatModel,
    budget: Budget | None = None,
    draws: int = 10,
    seed: int = 0,
    threads: int = 2,
    store: Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """What replacing `first` by `second` changes, image by image.

    Args:
        first: the reference.
        second: what it is replaced by.
        attack: attacks both; through each one's own oracle where it asks.
        data: this and the further arguments as for `evaluate`.
    """
    record = evaluate(
        second, attack, data=data, threat=threat, reference=first,
        budget=budget, draws=draws, seed=seed, threads=threads, store=store, progress=progress,
    )  # fmt: skip
    return comparison(record, "the second")


def audit(
    victim: Classifier,
    *,
    data: Dataset,
    threat: ThreatModel,
    baseline: Classifier | None = None,
    images: int = auditing.IMAGES,
    draws: int = 10,
    seed: int = 0,
    threads: int = 2,
    store: Path | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Climb the ladder of sanity checks on `victim`: is its robust accuracy to be believed?

    Args:
        victim: any classifier; what it shows and whether it has gradients is found out.
        data: with its splits.
        threat: norm and radius, above 0; its access is not used.
        baseline: an adversarially trained net without noise, to compare the net of a noisy victim with; None compares
            it with a constant answer.
        images: the first of ``data.evaluation``; all where there are fewer.
        draws: fresh scoring draws where the victim is stochastic.
        seed: of attacks and scoring.
        threads: torch threads.
        store: a folder to resume from; None keeps nothing.
        progress: where to report.

    Returns:
        ``.verdict`` to paste, ``.checks``, ``.raised``, ``.blocked``, ``.to_json()``, ``.record``.

    Raises:
        BadParameter: eps is 0, or a number is out of range.
        TargetFailed: a victim that is declared deterministic isn't.
    """
    victims = [Victim("victim", Identity(), classifier=victim)]
    if baseline is not None:
        victims.append(Victim("baseline", Identity(), classifier=baseline))
    null = next(rung for rung in registry().ladder() if rung.rung == "null")
    experiment = Experiment(
        dataset=data,
        sizes=_sizes(data),
        threat=replace(threat, access=Access.LABELS),
        budget=Budget(),
        victims=tuple(victims),
        attacks=(Attack(null.name, build(null.attack, "attack")),),
        draws=draws,
        seed=seed,
        threads=threads,
        device=device_of(victim),
    )
    with _store(store) as opened:
        (record,) = auditing.audit(
            experiment,
            opened,
            ["victim"],
            images=images,
            baseline=None if baseline is None else "baseline",
            progress=progress,
        )
    return Audit(record)


def certify(
    victim: Classifier,
    images: Split,
    sigma: float | None = None,
    *,
    n0: int = certifying.N0,
    n: int = certifying.N,
    alpha: float = certifying.ALPHA,
    seed: int = 0,
    threads: int = 2,
    store: Path | None = None,
    progress: Progress | None = None,
) -> Certificates:
    """The l2 radius around every image in which the smoothed victim provably keeps its answer.

    CERTIFY of Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918, section 3.2.2. What is certified is the smoothed
    classifier, the most probable answer under Gaussian noise, whatever the victim's own noise and abstentions. It costs
    ``n0 + n`` forward passes an image.

    Args:
        victim: one with ``smoothing`` as its last stage, or any classifier, which is then smoothed with `sigma`.
        images: with their true labels, such as ``data.evaluation.take(500)``.
        sigma: standard deviation of the noise, pixels in [0, 1]; None takes the victim's own.
        n0: noisy images that select a class.
        n: further ones that count how often it is answered; 100,000 in the paper.
        alpha: bound on the probability that a certificate is wrong.
        seed: of the noise.
        threads: torch threads.
        store: a folder to resume from; None keeps nothing.
        progress: where to report.

    Returns:
        ``.radii``, ``.answers``, ``.accuracy(radius)``, ``.table()``.

    Raises:
        BadParameter: no sigma, two of them, or a number out of range.
    """
    with _store(store) as opened:
        return certifying.certify(
            victim, images, opened,
            sigma=sigma, n0=n0, n=n, alpha=alpha, seed=seed, threads=threads,
            device=device_of(victim), progress=progress,
        )  # fmt: skip
