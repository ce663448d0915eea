"""The audit: climbs the ladder of attacks on one victim and records what each left of it.

Attacks come from the ladders of the installed packages (`robustnoise.recipes`). Every step is a cell of the store, so
an audit that is killed goes on where it stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from robustnoise.audits import AuditRecord, Measure
from robustnoise.building import build
from robustnoise.compose import Identity
from robustnoise.errors import BadParameter, MissingCapability, did_you_mean
from robustnoise.harness.bench import Bench
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.provenance import provenance
from robustnoise.harness.rehearsal import rehearse
from robustnoise.models.classifier import Wrapper
from robustnoise.protocols import Classifier, Progress
from robustnoise.recipes import Rung
from robustnoise.registry import registry
from robustnoise.store import Store
from robustnoise.threat import Access, Budget, Norm, ThreatModel

STEPS, DRAWS, QUERIES = 40, 8, 500
"""Gradient steps; passes over which a gradient is averaged where answers are random; queries for an image."""
IMAGES = 256
"""How many images, where nobody says otherwise."""


def audit(
    experiment: Experiment,
    store: Store,
    victims: Sequence[str],
    *,
    images: int = IMAGES,
    baseline: str | None = None,
    progress: Progress | None = None,
) -> list[AuditRecord]:
    """Audit some victims of an experiment.

    Args:
        experiment: its victims, data, ball, draws and seed are used; its attacks, access and budget aren't.
        store: where cells are kept.
        victims: names.
        images: the first of the evaluation split; all where there are fewer.
        baseline: name of the victim, adversarially trained and without noise, that the nets of noisy victims are
            compared with; None compares them with a constant answer.
        progress: where to report.

    Raises:
        BadParameter: no such victim, no threat model, eps = 0, or less than one image; a stack that can't stand.
        AttackFailed: an attack of somebody else's ladder failed.
    """
    if experiment.threat is None or experiment.threat.eps == 0:
        raise BadParameter("an audit needs a threat model with eps above 0.")
    if images < 1:
        raise BadParameter(f"images = {images}: expected at least 1; 256 to 1,000 are a good number.")
    named = {v.name: v for v in experiment.victims}
    for name in (*victims, *([] if baseline is None else [baseline])):
        if name not in named:
            raise BadParameter(f"{name!r} is none of the victims.{did_you_mean(name, named)}")
    evaluation = experiment.dataset.evaluation
    null = next(rung for rung in registry().ladder() if rung.rung == "null")
    narrowed = replace(
        experiment,
        dataset=replace(experiment.dataset, evaluation=evaluation.take(min(images, len(evaluation)))),
        threat=replace(experiment.threat, access=Access.LABELS),
        budget=Budget(),
        precision="float32",  # an audit wants the best gradients, not the fastest
        # The ladder is put together when it is known what a victim shows; until then one that suits all.
        attacks=(Attack(null.name, build(null.attack, "attack")),),
    )
    rehearse(narrowed, store)
    bench = Bench(narrowed, store, progress)
    against = None if baseline is None else named[baseline]
    return [_Audit(bench, named[name], against).record() for name in victims]


@dataclass(frozen=True)
class _Step:
    """An attack to come: who is attacked with what, how far."""

    role: str
    rung: Rung
    text: str
    eps: float
    victim: Victim
    hindrance: str | None = None


class _Audit:
    """The ladder of one victim."""

    def __init__(self, bench: Bench, victim: Victim, baseline: Victim | None) -> None:
        self.origin, self.started = provenance(), time.monotonic()
        self.bench, self.victim, self.baseline = bench, victim, baseline
        self.classifier = bench.classifier(victim)
        self.look = bench.look(victim).facts
        assert bench.experiment.threat is not None
        self.threat: ThreatModel = replace(bench.experiment.threat, access=Access.parse(self.look["shows"]))
        rungs = registry().ladder()
        self.rungs = [r for r in rungs if r.norm in (None, self.threat.norm.value)]
        # A victim that averages over its own passes needs fewer draws of the whole.
        self.draws = math.ceil(DRAWS / self.classifier.passes) if self.classifier.stochastic else 1

    def record(self) -> AuditRecord:
        """All of it."""
        clean = self.bench.tally(self.victim, None)
        measures = tuple(self._measure(step) for step in self._steps())
        setting = self.bench.experiment.setting()
        data = setting["data"] | {"classes": self.bench.experiment.dataset.num_classes}
        baseline = None
        if self.baseline is not None and self.classifier.stochastic:
            baseline = self.baseline.identity(self.bench.classifier(self.baseline).digest)
        return AuditRecord(
            setting={k: v for k, v in setting.items() if k != "budget"}
            | {"data": data, "threat": self.threat.to_json()},
            victim=self.victim.identity(self.classifier.digest),
            baseline=baseline,
            look=self.look,
            stochastic=self.classifier.stochastic,
            passes=self.classifier.passes,
            clean=clean,
            measures=measures,
            provenance=self.origin | {"seconds": round(time.monotonic() - self.started, 1)},
        )

    def _steps(self) -> Iterator[_Step]:
        eps = self.threat.eps
        for rung in self.rungs:
            yield _Step(rung.rung, rung, self._text(rung), eps, self.victim, self._hindrance(rung))
        first = next((r for r in self.rungs if r.rung == "white-box"), None)
        if first is None:
            return
        closed = self._hindrance(first)
        if closed is None:
            yield _Step("steps", first, self._text(first, longer=2), eps, self.victim)
            if self.classifier.stochastic:
                yield _Step("draws", first, self._text(first, draws=2 * self.draws), eps, self.victim)
        # Without gradients the images of a substitute must do.
        further = first if closed is None else next((r for r in self.rungs if r.rung == "transfer"), first)
        for radius in self._radii():
            yield _Step("eps", further, self._text(further), radius, self.victim, self._hindrance(further))
        if self.classifier.stochastic:
            yield from self._without_noise(first)

    def _without_noise(self, first: Rung) -> Iterator[_Step]:
        eps, quiet = self.threat.eps, _quiet(self.classifier)
        text = self._text(first, draws=1)
        if quiet is None:
            reason = f"the noise of {type(self.classifier).__name__} can't be switched off."
            yield _Step("noise-off", first, text, eps, self.victim, reason)
            return
        net = Victim(f"{self.victim.name}, noise off", Identity(), classifier=quiet)
        closed = self.bench.look(net).facts["closed"]
        yield _Step("noise-off", first, text, eps, net, closed)
        if self.baseline is not None:
            yield _Step("baseline", first, text, eps, self.baseline, self.bench.look(self.baseline).facts["closed"])

    def _radii(self) -> list[float]:
        """Half, twice, and as far as any image is from any other."""
        shape = self.classifier.input_shape
        full = 1.0 if self.threat.norm is Norm.LINF else math.sqrt(math.prod(shape))
        return sorted({min(r, full) for r in (self.threat.eps / 2, 2 * self.threat.eps, full)} - {self.threat.eps})

    def _text(self, rung: Rung, *, longer: int = 1, draws: int | None = None) -> str:
        return rung.filled(steps=longer * STEPS, draws=self.draws if draws is None else draws, queries=QUERIES)

    def _hindrance(self, rung: Rung) -> str | None:
        """Why the victim can't be attacked from this rung; None where it can."""
        closed: str | None = self.look["closed"]
        if rung.rung == "white-box":
            return closed
        if rung.rung == "query" and getattr(self.classifier, "metered", False):
            return "every answer of the victim is paid for, and a query attack asks hundreds of times an image."
        return None

    def _measure(self, step: _Step) -> Measure:
        attack = Attack(step.rung.name, build(step.text, "attack"))
        what = {k: v for k, v in attack.identity().items() if k in ("name", "text", "spec")}
        if step.hindrance is not None:
            return Measure(step.role, what, step.eps, None, step.hindrance)
        bench = self.bench.under(replace(self.threat, eps=step.eps))
        try:
            return Measure(step.role, what, step.eps, bench.tally(step.victim, attack))
        except MissingCapability as error:
            return Measure(step.role, what, step.eps, None, str(error))


def _quiet(classifier: Classifier) -> Classifier | None:
    """The victim without its random stages and those around them; None where it is random to the core."""
    while classifier.stochastic:
        if not isinstance(classifier, Wrapper):
            return None
        classifier = classifier.inner
    return classifier
