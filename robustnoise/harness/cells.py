"""How a stage is computed once: its cell in the store is named by its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from robustnoise.data import Split
from robustnoise.errors import BadData
from robustnoise.harness.experiment import Experiment
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.files import classifier_from_bytes
from robustnoise.protocols import Classifier, Progress, Silent
from robustnoise.seeds import SeedStream
from robustnoise.store import Cell, Store
from robustnoise.threat import ThreatModel

Computed = tuple[dict[str, bytes], dict[str, Any]]


class NotCached(Exception):
    """A cell is not in the store, and the bench was told not to compute."""


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

    def _seed_data(self) -> Split:
        attacker, limit = self.experiment.dataset.attacker, self.experiment.budget.seed_examples
        return attacker if limit is None else attacker.take(min(limit, len(attacker)))

    def _threat(self) -> ThreatModel:
        """The attacker; only stages of an attack ask."""
        assert self.experiment.threat is not None
        return self.experiment.threat

    def _machine(self) -> dict[str, Any]:
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

    def _labelled(self, label: str) -> Progress:
        return _Labelled(self.progress, label)

    @contextmanager
    def threads(self) -> Iterator[None]:
        """With as many threads as the experiment's identity says."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.experiment.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _cell(
        self, stage: str, inputs: Mapping[str, Any], run: Callable[[], Computed], *, partial: bool = False
    ) -> Cell:
        cell = self.store.get(stage, inputs)
        if cell is not None:
            return cell
        if not self.compute:
            raise NotCached(stage)
        with self.threads():
            outputs, facts = run()
        cell = self.store.put(stage, inputs, outputs, facts)
        if partial:
            self.store.partial_path(cell.key).unlink(missing_ok=True)
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
