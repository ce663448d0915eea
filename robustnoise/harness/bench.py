"""The stages. Each reads what earlier ones wrote and is computed once: its cell in the store is named by its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustnoise.blocks import BLOCK, block_ranges, pad, to_tensor
from robustnoise.compose import split_stages
from robustnoise.data import Split
from robustnoise.errors import BadData
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.isolation import isolated_global_rng
from robustnoise.harness.memory import Memory
from robustnoise.harness.scoring import count_draws, label_images
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.files import classifier_bytes, classifier_from_bytes
from robustnoise.models.fresh import create
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Classifier, Context, Crafter, Progress, Silent, Targets, TwoStage
from robustnoise.registry import spec_of
from robustnoise.seeds import SeedStream
from robustnoise.store import Cell, Store, cell_key, pack_arrays, unpack_arrays
from robustnoise.tally import Tally
from robustnoise.threat import ThreatModel

AGREEMENT_IMAGES = 1000
MEMORY_IMAGES = 1024

Computed = tuple[dict[str, bytes], dict[str, Any]]


class NotCached(Exception):
    """A cell is not in the store, and the bench was told not to compute."""


class Bench:
    """Runs the stages of one experiment, through a store.

    Args:
        experiment: what to measure.
        store: where finished cells are.
        progress: where long stages report.
        compute: False raises `NotCached` instead of computing.
        memory_images: images held as float32 at a time, rounded up to whole blocks; bounds memory, changes no result.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        progress: Progress | None = None,
        *,
        compute: bool = True,
        memory_images: int = MEMORY_IMAGES,
    ) -> None:
        self.experiment = experiment
        self.store = store
        self.progress = progress or Silent()
        self.compute = compute
        self.chunk = max(1, -(-memory_images // BLOCK)) * BLOCK
        self.seeds = SeedStream(experiment.seed)
        self._classifiers: dict[str, Classifier] = {}
        self._memory = Memory()
        self._shared: dict[tuple[str, ...], object] = {}
        self._trained: dict[str, TorchClassifier] = {}

    # ------------------------------------------------------------------------------------------------------ defend

    def weights(self, victim: Victim) -> Cell:
        """Train the training stages of a victim; victims that share them share the result."""
        training, _ = split_stages(victim.defense)
        assert victim.model is not None
        train, model = self.experiment.dataset.train, victim.model
        inputs = {
            "defense": spec_of(training).to_json(),
            "model": spec_of(model).to_json(),
            "train": train.digest,
            **self._machine(),
        }

        def run() -> Computed:
            seeds = self.seeds.child("defend")
            fresh = create(model, train.input_shape, train.num_classes, seed=seeds.child("weights"))
            partial = self.store.partial_path(cell_key("train", inputs))
            ctx = Context(
                train, seeds.child("train"), partial, self._labelled(f"train {victim.name}"), self.experiment.device
            )
            trained = training.apply(fresh, ctx)
            return {"weights": classifier_bytes(_torch(trained, victim.name))}, {}

        return self._cell("train", inputs, run, partial=True)

    def classifier(self, victim: Victim) -> Classifier:
        """The victim, whole: trained weights with the inference stages around them."""
        if victim.name not in self._classifiers:
            if victim.classifier is not None:
                base: Classifier = victim.classifier
            else:
                base = self._base(self.weights(victim))
            _, inference = split_stages(victim.defense)
            seeds = self.seeds.child("defend", "inference")
            with self._threads():
                ctx = Context(self.experiment.dataset.train, seeds, device=self.experiment.device, shared=self._shared)
                classifier = inference.apply(base, ctx)
            if None in self.experiment.attacks_on(victim):  # under attack every question is another one
                classifier = self._memory.attach(classifier)
            self._classifiers[victim.name] = classifier
        return self._classifiers[victim.name]

    # ------------------------------------------------------------------------------------------ substitute and craft

    def source(self, attack: Attack, victim: Victim) -> Cell:
        """Fit the substitute of a two-stage attack: once for all victims, or through this victim's oracle."""
        two_stage = _two_stage(attack)
        seed_data = self._seed_data()
        inputs = {
            "substitute": spec_of(two_stage.substitute).to_json(),
            "seed_data": seed_data.digest,
            **self._asked(attack, victim),
            **self._machine(),
        }

        def run() -> Computed:
            seeds = self.seeds.child("substitute", spec_of(two_stage.substitute).digest())
            oracle = self._oracle(victim, seeds, per_image=None) if attack.attack.traits.queries else None
            partial = self.store.partial_path(cell_key("substitute", inputs))
            label = f"substitute {attack.name}" + (f" of {victim.name}" if oracle else "")
            ctx = Context(None, seeds.child("fit"), partial, self._labelled(label), self.experiment.device)
            fitted = two_stage.substitute.fit(oracle, seed_data, ctx)
            return {"weights": classifier_bytes(_torch(fitted.source, attack.name))}, {"queries": fitted.queries}

        return self._cell("substitute", inputs, run, partial=True)

    def images(self, attack: Attack, victim: Victim) -> Cell:
        """The attack's images, projected, clipped and rounded to 8 bit inside the ball by the harness."""
        evaluation = self.experiment.dataset.evaluation
        threat = self._threat()
        inputs = {
            "images": evaluation.digest,
            "ball": [threat.norm.value, threat.eps],
            "block": BLOCK,
            **self._machine(),
        }
        if isinstance(attack.attack, TwoStage):
            source = self.source(attack, victim)
            crafter = attack.attack.crafter
            inputs |= {"crafter": spec_of(crafter).to_json(), "source": source.outputs["weights"]}
            return self._cell("craft", inputs, lambda: self._craft(attack, crafter, source))
        inputs |= {
            "attack": spec_of(attack.attack).to_json(),
            "seed_data": self._seed_data().digest,
            **self._asked(attack, victim),
        }
        return self._cell("craft", inputs, lambda: self._attack(attack, victim))

    def outside(self, attack: Attack, victim: Victim) -> float:
        """How far the attack's images were outside the ball before the harness projected them, pixels; 0 is inside."""
        return float(unpack_arrays(self.store.read(self.images(attack, victim), "images"))["outside"])

    def _craft(self, attack: Attack, crafter: Crafter, source: Cell) -> Computed:
        model = self._load(self.store.read(source, "weights"))
        seeds, threat = self.seeds.child("craft", spec_of(crafter).digest()), self._threat()

        def block(number: int, targets: Targets) -> Tensor:
            return crafter.craft(model, targets.x, targets.y, threat, seeds.child(number))

        return self._by_block(attack.name, block, padded=True), {"queries": source.facts["queries"]}

    def _attack(self, attack: Attack, victim: Victim) -> Computed:
        budget, spec = self.experiment.budget, spec_of(attack.attack).digest()
        spent = 0
        seed_data = self._seed_data()

        def block(number: int, targets: Targets) -> Tensor:
            nonlocal spent
            seeds = self.seeds.child("attack", spec, number)
            oracle = None
            if attack.attack.traits.queries:
                left = None if budget.total is None else budget.total - spent
                oracle = self._oracle(victim, seeds, per_image=budget.per_image, total=left)
            result = attack.attack.run(oracle, seed_data, targets, self._threat(), seeds.child("own"))
            spent += oracle.spent if oracle else 0
            return result.x

        return self._by_block(attack.name, block, padded=not attack.attack.traits.queries), {"queries": spent}

    def _by_block(self, name: str, run: Callable[[int, Targets], Tensor], *, padded: bool) -> dict[str, bytes]:
        """Run an attack on blocks of the evaluation images and round what it hands in.

        An attack that asks the oracle gets its block unpadded: padding would be charged as queries.
        """
        split, threat = self.experiment.dataset.evaluation, self._threat()
        levels, outside = [], 0.0
        meter = self.progress.start(f"attack {name}", len(split))
        for number, start, stop in block_ranges(len(split)):
            origin = to_tensor(split.images[start:stop])
            targets = Targets(
                to_tensor(split.ids[start:stop]),
                torch.from_numpy(split.floats(start, stop)),
                to_tensor(split.labels[start:stop]),
            )
            if padded:
                targets = Targets(*(pad(part) for part in targets))
            with isolated_global_rng():
                x = run(number, targets)
            if x.shape != targets.x.shape or not bool(torch.isfinite(x).all()):
                raise BadData(
                    f"attack {name!r} handed in {x.dtype} {tuple(x.shape)}, finite: {bool(torch.isfinite(x).all())}; "
                    f"expected finite images of shape {tuple(targets.x.shape)}."
                )
            x = x[: stop - start].cpu()
            outside = max(outside, float(threat.violation(origin, x).max()), float(-x.min()), float(x.max()) - 1)
            levels.append(threat.to_levels(origin, x))
            meter.advance(stop - start)
        images = torch.cat(levels)
        if bool((~(threat.violation(to_tensor(split.images), images) <= 1e-9)).any()):
            raise BadData(f"attack {name!r}: images are outside the ball after rounding; this is a bug in robustnoise.")
        return {"images": pack_arrays({"x": images.numpy(), "ids": split.ids, "outside": np.array(max(outside, 0.0))})}

    # ------------------------------------------------------------------------------------------------------- score

    def score(self, victim: Victim, attack: Attack | None) -> Cell:
        """Count right answers of a victim on clean images (`attack` None) or on an attack's, in fresh draws."""
        classifier = self.classifier(victim)
        evaluation = self.experiment.dataset.evaluation
        adversarial = None if attack is None else self.images(attack, victim)
        purpose = "clean" if attack is None else spec_of(attack.attack).digest()
        draws = self.experiment.draws if classifier.stochastic else 1
        inputs = {
            "victim": classifier.digest,
            "images": evaluation.digest,
            "adversarial": None if adversarial is None else adversarial.outputs["images"],
            "purpose": purpose,
            "draws": draws,
            "block": BLOCK,
            **self._machine(),
        }

        def run() -> Computed:
            images = evaluation.images
            if adversarial is not None:
                images = unpack_arrays(self.store.read(adversarial, "images"))["x"]
            name = f"score {victim.name}" + (f" under {attack.name}" if attack else "")
            # The second half chooses the worst of several attacks: clean images have nothing to choose from.
            halves = ["score", "select"] if classifier.stochastic and attack else ["score"]
            meter = self.progress.start(name, len(images) * draws * len(halves))
            counted = {
                half: count_draws(
                    classifier, images, evaluation.labels, draws, self.seeds.child(half, purpose),
                    chunk=self.chunk, meter=meter,
                )
                for half in halves
            }  # fmt: skip
            score = counted["score"]
            found: dict[str, np.ndarray[Any, Any]] = {"right": score.right, "abstained": score.abstained}
            if "select" in counted:
                found["select"] = counted["select"].right
            return {"tally": pack_arrays(found)}, {} if score.passes is None else {"passes": score.passes}

        return self._cell("score", inputs, run)

    def tally(self, victim: Victim, attack: Attack | None) -> Tally:
        """The result of `score`."""
        cell = self.score(victim, attack)
        arrays = unpack_arrays(self.store.read(cell, "tally"))
        # Clean cells of earlier versions hold a second half; whether one is found must not decide a record.
        select = arrays.get("select") if attack else None
        draws, passes = cell.inputs["draws"], cell.facts.get("passes")
        return Tally(arrays["right"], arrays["abstained"], select, draws, passes)

    def agreement(self, attack: Attack, victim: Victim) -> Cell:
        """Share of validation images to which substitute and victim give the same label; the attacker isn't charged."""
        source, classifier = self.source(attack, victim), self.classifier(victim)
        validation = self.experiment.dataset.validation
        images = validation.take(min(AGREEMENT_IMAGES, len(validation)))
        inputs = {
            "source": source.outputs["weights"],
            "victim": classifier.digest,
            "images": images.digest,
            "block": BLOCK,
            **self._machine(),
        }

        def run() -> Computed:
            if not len(images):
                return {}, {"agreement": None}
            noise = self.seeds.child("agreement")
            theirs = label_images(self._load(self.store.read(source, "weights")), images.images, noise).labels
            ours = label_images(classifier, images.images, noise).labels
            return {}, {"agreement": float((theirs == ours).mean())}

        return self._cell("agreement", inputs, run)

    # ----------------------------------------------------------------------------------------------------- helpers

    def _oracle(
        self, victim: Victim, seeds: SeedStream, *, per_image: int | None, total: int | None = None
    ) -> CountingOracle:
        total = self.experiment.budget.total if total is None else total
        noise = seeds.child("oracle")
        return CountingOracle(self.classifier(victim), self._threat(), noise, per_image=per_image, total=total)

    def _seed_data(self) -> Split:
        attacker, limit = self.experiment.dataset.attacker, self.experiment.budget.seed_examples
        return attacker if limit is None else attacker.take(min(limit, len(attacker)))

    def _asked(self, attack: Attack, victim: Victim) -> dict[str, Any]:
        """The inputs that make a result belong to one victim; none for an attack that asks nothing."""
        if not attack.attack.traits.queries:
            return {}
        return {
            "victim": self.classifier(victim).digest,
            "access": self._threat().access.name.lower(),
            "budget": self.experiment.budget.to_json(),
        }

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

    def _base(self, weights: Cell) -> TorchClassifier:
        """A trained net, in memory once however many victims put stages around it: a sweep has hundreds."""
        sha256 = weights.outputs["weights"]
        if sha256 not in self._trained:
            self._trained[sha256] = self._load(self.store.read(weights, "weights"))
        return self._trained[sha256]

    def _labelled(self, label: str) -> Progress:
        return _Labelled(self.progress, label)

    @contextmanager
    def _threads(self) -> Iterator[None]:
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
        with self._threads():
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


def _two_stage(attack: Attack) -> TwoStage:
    assert isinstance(attack.attack, TwoStage)
    return attack.attack


def _torch(classifier: Classifier, name: str) -> TorchClassifier:
    if not isinstance(classifier, TorchClassifier):
        raise BadData(f"{name}: training must end in a TorchClassifier, got {type(classifier).__name__}.")
    return classifier
