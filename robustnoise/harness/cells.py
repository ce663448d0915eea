"""How a stage is computed once: its cell in the store is named by its inputs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Self, TypeVar, cast

import torch

from robustnoise.data import Split
from robustnoise.errors import BadData
from robustnoise.harness import claims
from robustnoise.harness.arithmetic import arithmetic
from robustnoise.harness.costs.spent import measured
from robustnoise.harness.experiment import Experiment
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.files import classifier_from_bytes
from robustnoise.protocols import Classifier, Progress, Silent
from robustnoise.seeds import SeedStream
from robustnoise.store import Cell, Store, cell_key
from robustnoise.threat import ThreatModel
from robustnoise.training.loop import TrainingDiverged

Computed = tuple[dict[str, bytes], dict[str, Any]]
Stage = TypeVar("Stage", bound=Callable[..., Any])


class NotCached(Exception):
    """A cell is not in the store, and the bench was told not to compute."""


def once(stage: Stage) -> Stage:
    """A method that finds the cell of a victim, an attack or both, or what is in it: a bench looks each up once."""

    @functools.wraps(stage)
    def found(self: Cells, *parts: Any) -> Any:
        key = stage.__name__, *map(id, parts)
        if key not in self._found:
            self._found[key] = parts, stage(self, *parts)  # with the parts, so that no other gets their ids
        return self._found[key][1]

    return cast("Stage", found)


class Cells:
    """The cells of one experiment.

    Args:
        experiment: what to measure.
        store: where finished cells are.
        progress: where long stages report.
        compute: False raises `NotCached` instead of computing.
    """

    def __init__(
        self, experiment: Experiment, store: Store, progress: Progress | None = None, *, compute: bool
    ) -> None:
        self.experiment = experiment
        self.store = store
        self.progress = progress or Silent()
        self.compute = compute
        self.seeds = SeedStream(experiment.seed)
        self._found: dict[tuple[object, ...], tuple[tuple[Any, ...], Any]] = {}
        self._classifiers: dict[str, Classifier] = {}
        self._trained: dict[str, TorchClassifier] = {}
        self._diverged: dict[str, TrainingDiverged] = {}

    def looking(self) -> Self:
        """The same bench, computing nothing; trained nets are loaded once for both."""
        other = copy.copy(self)
        other.compute, other._classifiers = False, {}
        return other

    def under(self, threat: ThreatModel) -> Self:
        """The same bench with another attacker; victims are loaded once for both."""
        other = copy.copy(self)
        other.experiment, other._found = replace(self.experiment, threat=threat), {}
        return other

    def _seed_data(self) -> Split:
        attacker, limit = self.experiment.dataset.attacker, self.experiment.budget.seed_examples
        return attacker if limit is None else attacker.take(min(limit, len(attacker)))

    def _threat(self) -> ThreatModel:
        """The attacker; only stages of an attack ask."""
        assert self.experiment.threat is not None
        return self.experiment.threat

    def machine(self) -> dict[str, Any]:
        """The inputs of every computed cell that say how it is computed."""
        experiment = self.experiment
        return {
            "seed": experiment.seed,
            "threads": experiment.threads,
            "device": experiment.device,
            "torch": torch.__version__,
        }

    def _load(self, content: bytes) -> TorchClassifier:
        classifier = classifier_from_bytes(content)
        classifier.module.to(self.experiment.device)
        return classifier

    def _base(self, weights: Cell) -> TorchClassifier:
        """A trained net, in memory once however many victims put stages around it: a sweep has hundreds."""
        sha256 = weights.outputs["weights"]
        if sha256 not in self._trained:
            self._trained[sha256] = self._load(self.store.read(weights, "weights"))
        return self._trained[sha256]

    def _labelled(self, label: str) -> Progress:
        return _Labelled(self.progress, label)

    def arithmetic(self) -> AbstractContextManager[None]:
        """As the experiment's identity says."""
        return arithmetic(self.experiment.threads, self.experiment.device)

    def cell(
        self, stage: str, inputs: Mapping[str, Any], run: Callable[[], Computed], *, partial: bool = False
    ) -> Cell:
        """The cell of those inputs, found or made by `run`; `partial` removes the checkpoint of what made it."""
        cell = self.store.get(stage, inputs)
        if cell is not None:
            return cell
        if not self.compute:
            raise NotCached(stage)
        key = cell_key(stage, inputs)
        if key in self._diverged:  # it would again, in each cell that needs it
            raise self._diverged[key].with_traceback(None)
        with claims.claimed(self.store.root / claims.FOLDER / f"{stage}-{key}"):
            # Somebody else may have made it while this process waited.
            cell = self.store.get(stage, inputs)
            if cell is None:
                computes = self.experiment.self_contained
                with measured(self.store, key, computes=computes), self.arithmetic():
                    try:
                        outputs, facts = run()
                    except TrainingDiverged as error:
                        self._diverged[key] = error
                        raise
                    cell = self.store.put(stage, inputs, outputs, facts)
            if partial:
                self.store.partial_path(key).unlink(missing_ok=True)
        return cell


class _Labelled:
    def __init__(self, progress: Progress, label: str) -> None:
        self.progress, self.label = progress, label

    def start(self, label: str, total: int) -> Any:
        return self.progress.start(self.label, total)


def as_torch(classifier: Classifier, name: str) -> TorchClassifier:
    """What a training of `name` ended in.

    Raises:
        BadData: in no network that can be stored.
    """
    if not isinstance(classifier, TorchClassifier):
        raise BadData(f"{name}: training must end in a TorchClassifier, got {type(classifier).__name__}.")
    return classifier
