"""Takes the images that an attack won out of a finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from robustnoise.blocks import BLOCK
from robustnoise.examples import CHANNELS, Examples, lost
from robustnoise.harness.bench import Bench
from robustnoise.harness.cells import Computed
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.scoring import label_images
from robustnoise.models.targets.http_target import HttpTarget
from robustnoise.protocols import Classifier
from robustnoise.records import EvaluationRecord
from robustnoise.store import Store, pack_arrays, unpack_arrays


def examples(
    experiment: Experiment, store: Store, records: Sequence[EvaluationRecord], wanted: Callable[[str], bool]
) -> Iterator[Examples]:
    """Those of each record of a run under attack that has any.

    Args:
        experiment: what was run.
        store: where its cells are; answers to the images are kept there too, so that nobody is asked twice.
        records: what came out.
        wanted: whether a victim of that name is shown.
    """
    split = experiment.dataset.evaluation
    # An endpoint isn't asked, and paid, for pictures.
    silent = {v.name for v in experiment.victims if isinstance(v.classifier, HttpTarget)}
    if split.input_shape[0] not in CHANNELS:
        return
    bench = Bench(experiment, store)
    victims, attacks = {v.name: v for v in experiment.victims}, {a.name: a for a in experiment.attacks}
    for record in records:
        name, index = record.victim.victim["name"], lost(record)
        if record.attack is None or not wanted(name) or name in silent or not len(index):
            continue
        victim, attack = victims[name], attacks[record.attack["name"]]
        answer, adversarial = _answers(bench, victim, attack, index, record.victim.scored.draws)
        yield Examples(record.digest, index, split.labels[index], answer, split.images[index], adversarial)


def _answers(
    bench: Bench, victim: Victim, attack: Attack, index: np.ndarray, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """(k,) the commonest answer in fresh draws, and the (k, C, H, W) images."""
    crafted = bench.images(attack, victim)
    images = unpack_arrays(bench.store.read(crafted, "images"))["x"][index]
    classifier = bench.classifier(victim)
    inputs = {
        "victim": classifier.digest,
        "adversarial": crafted.outputs["images"],
        "index": index.tolist(),
        "draws": draws,
        "block": BLOCK,
        **bench.machine(),
    }

    def run() -> Computed:
        return {"answer": pack_arrays({"answer": _commonest(classifier, images, draws, bench)})}, {}

    cell = bench.cell("examples", inputs, run)
    return unpack_arrays(bench.store.read(cell, "answer"))["answer"], images


def _commonest(classifier: Classifier, images: np.ndarray, draws: int, bench: Bench) -> np.ndarray:
    noise = bench.seeds.child("examples")
    said = np.stack([label_images(classifier, images, noise.child(draw)).labels for draw in range(draws)])
    return np.array([np.bincount(column + 1).argmax() - 1 for column in said.T], np.int64)
