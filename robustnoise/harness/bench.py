"""The stages. Each reads what earlier ones wrote and is computed once: its cell in the store is named by its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from robustnoise.blocks import BLOCK, CHUNK
from robustnoise.building import spec_of
from robustnoise.compose import split_stages
from robustnoise.harness.cells import Cells, Computed, as_torch, once
from robustnoise.harness.collecting import collect, images_at
from robustnoise.harness.crafting import craft
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.given import Given
from robustnoise.harness.looking import look
from robustnoise.harness.memory import LIMIT, Answers, Memory
from robustnoise.harness.scoring import count_draws
from robustnoise.models.files import classifier_bytes
from robustnoise.models.fresh import create
from robustnoise.models.targets.probe import ROWS as PROBED
from robustnoise.models.targets.probe import probe
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import (
    AttackResult,
    Classifier,
    Context,
    Crafter,
    Progress,
    Targets,
    TwoStage,
    WhiteBox,
)
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of
from robustnoise.store import Cell, Store, cell_key, pack_arrays, unpack_arrays
from robustnoise.tally import Tally
from robustnoise.threat import Norm

AGREEMENT_IMAGES = 1000


class Bench(Cells):
    """Runs the stages of one experiment, through a store.

    Args:
        experiment: what to measure.
        store: where finished cells are.
        progress: where long stages report.
        compute: False raises `NotCached` instead of computing.
        memory: bytes of answers that are remembered; changes no result.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        progress: Progress | None = None,
        *,
        compute: bool = True,
        memory: int = LIMIT,
    ) -> None:
        super().__init__(experiment, store, progress, compute=compute)
        again = experiment.scoring_seed
        self.scoring = self.seeds if again is None else SeedStream(again, ("score again",))
        self._memory = Memory(memory)
        self._answers = Answers(self._memory)
        self._shared: dict[tuple[str, ...], object] = {}
        self._beside: dict[str, tuple[float, np.ndarray[Any, Any] | None]] = {}

    # ------------------------------------------------------------------------------------------------------ defend

    @once
    def weights(self, victim: Victim) -> Cell:
        """Train the training stages of a victim; victims that share them share the result."""
        training, _ = split_stages(victim.defense)
        assert victim.model is not None
        train, model = self.experiment.dataset.train, victim.model
        inputs = {
            "defense": spec_of(training).to_json(),
            "model": spec_of(model).to_json(),
            "train": train.digest,
            **self.machine(),
            **({} if victim.seed is None else {"seed": victim.seed}),
        }

        def run() -> Computed:
            seeds = (self.seeds if victim.seed is None else SeedStream(victim.seed)).child("defend")
            fresh = create(model, train.input_shape, train.num_classes, seed=seeds.child("weights"))
            partial = self.store.partial_path(cell_key("train", inputs))
            ctx = Context(
                train, seeds.child("train"), partial, self._labelled(f"train {victim.name}"), self.experiment.device
            )
            trained = training.apply(fresh, ctx)
            return {"weights": classifier_bytes(as_torch(trained, victim.name))}, {}

        return self.cell("train", inputs, run, partial=True)

    def classifier(self, victim: Victim) -> Classifier:
        """The victim, whole: trained weights with the inference stages around them."""
        if victim.name not in self._classifiers:
            if victim.classifier is not None:
                base: Classifier = victim.classifier
                if self.compute:
                    probe(base, torch.from_numpy(self.experiment.dataset.evaluation.floats(0, PROBED)))
            else:
                base = self._base(self.weights(victim))
            _, inference = split_stages(victim.defense)
            seeds = self.seeds.child("defend", "inference")
            with self.arithmetic():
                ctx = Context(self.experiment.dataset.train, seeds, device=self.experiment.device, shared=self._shared)
                classifier = inference.apply(base, ctx)
            if None in self.experiment.attacks_on(victim):  # under attack every question is another one
                classifier = self._memory.attach(classifier)
            self._classifiers[victim.name] = classifier
        return self._classifiers[victim.name]

    # ------------------------------------------------------------------------------------------ substitute and craft

    @once
    def source(self, attack: Attack, victim: Victim) -> Cell:
        """Fit the substitute of a two-stage attack: once for all victims, or through this victim's oracle."""
        two_stage = _two_stage(attack)
        seed_data = self._seed_data()
        inputs = {
            "substitute": spec_of(two_stage.substitute).to_json(),
            "seed_data": seed_data.digest,
            **self._asked(attack, victim),
            **self.machine(),
        }

        def run() -> Computed:
            seeds = self.seeds.child("substitute", spec_of(two_stage.substitute).digest())
            oracle = self._oracle(victim, seeds) if attack.attack.traits.queries else None
            partial = self.store.partial_path(cell_key("substitute", inputs))
            label = f"substitute {attack.name}" + (f" of {victim.name}" if oracle else "")
            ctx = Context(None, seeds.child("fit").fork(), partial, self._labelled(label), self.experiment.device)
            networks = two_stage.substitute.fit(oracle, seed_data, ctx)
            stored = {f"weights-{i}" if i else "weights": n for i, n in enumerate(networks)}
            nets = {k: classifier_bytes(as_torch(n, attack.name)) for k, n in stored.items()}
            return nets, {"queries": oracle.spent if oracle else 0}

        return self.cell("substitute", inputs, run, partial=True)

    @once
    def images(self, attack: Attack, victim: Victim) -> Cell:
        """The attack's images, projected, clipped and rounded to 8 bit inside the ball by the harness."""
        evaluation = self.experiment.dataset.evaluation
        threat = self._threat()
        inputs: dict[str, Any] = {
            "images": evaluation.digest,
            # Cells without the word hold l2 images of the former rounding, towards the original.
            "ball": [threat.norm.value, threat.eps, *(["nearest"] if threat.norm is Norm.L2 else [])],
            "block": BLOCK,
        }
        if attack.given is not None:
            given = attack.given  # the same whatever machine looks at them
            inputs |= {"given": given.digest(victim.name)}
            return self.cell("craft", inputs, lambda: self._given(attack.name, given, victim.name))
        inputs |= self.machine()
        if isinstance(attack.attack, TwoStage):
            source = self.source(attack, victim)
            crafter = spec_of(attack.attack.crafter).to_json()
            inputs |= {"crafter": crafter, **self._source_inputs(attack, source), **self.experiment.crafting()}
            return self.cell("craft", inputs, lambda: self._craft(attack, self._source(attack, source)))
        if isinstance(attack.attack, WhiteBox):
            model = self.classifier(victim)
            inputs |= {
                "crafter": spec_of(attack.attack.crafter).to_json(),
                "victim": model.digest,
                "seed_data": self._seed_data().digest,
                **self.experiment.crafting(),
            }
            return self.cell("craft", inputs, lambda: self._craft(attack, model))
        inputs |= {
            "attack": spec_of(attack.attack).to_json(),
            "seed_data": self._seed_data().digest,
            **self._asked(attack, victim),
        }
        return self.cell("craft", inputs, lambda: self._attack(attack, victim))

    def queries(self, attack: Attack, victim: Victim) -> int:
        """Rows of this victim that the attack asked.

        A substitute's are in its own cell: two victims that answer alike give the same copy, and so share the images
        that it makes, though one of them may have been asked more often.
        """
        cell = self.source(attack, victim) if isinstance(attack.attack, TwoStage) else self.images(attack, victim)
        return int(cell.facts.get("queries", 0))

    def outside(self, attack: Attack, victim: Victim) -> float:
        """How far the attack's images were outside the ball before the harness projected them, pixels; 0 is inside."""
        return self._said(attack, victim)[0]

    def claimed(self, attack: Attack, victim: Victim) -> np.ndarray[Any, Any] | None:
        """(n,) bool: which images the attack takes for misclassified; None where it claims nothing."""
        return self._said(attack, victim)[1]

    def _said(self, attack: Attack, victim: Victim) -> tuple[float, np.ndarray[Any, Any] | None]:
        """What lies beside the images, which are read once however many victims they are for."""
        cell = self.images(attack, victim)
        if cell.key not in self._beside:
            arrays = unpack_arrays(self.store.read(cell, "images"))
            self._beside[cell.key] = float(arrays["outside"]), arrays.get("claimed")
        return self._beside[cell.key]

    def _source_inputs(self, attack: Attack, fitted: Cell) -> dict[str, Any]:
        """What decides the model that a substitute's networks become."""
        substitute = spec_of(_two_stage(attack).substitute).to_json()
        return {"source": dict(fitted.outputs), "substitute": substitute, "seed_data": self._seed_data().digest}

    def _source(self, attack: Attack, fitted: Cell) -> Classifier:
        """The substitute, whole."""
        substitute = _two_stage(attack).substitute
        networks = tuple(self._load(self.store.read(fitted, name)) for name in sorted(fitted.outputs, key=_number))
        seeds = self.seeds.child("substitute", spec_of(substitute).digest(), "source").fork()
        return substitute.source(networks, self._seed_data(), Context(None, seeds, device=self.experiment.device))

    def _craft(self, attack: Attack, model: Classifier) -> Computed:
        crafter: Crafter = attack.attack.crafter  # type: ignore[attr-defined]
        seeds = self.seeds.child("craft", spec_of(crafter).digest()).fork()
        meter = self.progress.start(f"attack {attack.name}", len(self.experiment.dataset.evaluation))
        crafter = crafter.informed(self._seed_data())
        images, facts = craft(attack.name, crafter, model, self.experiment, seeds, meter)
        return {"images": images}, facts

    def _given(self, name: str, given: Given, victim: str) -> Computed:
        split = self.experiment.dataset.evaluation
        meter = self.progress.start(f"take in {name}", len(split))

        def block(number: int, _: Targets) -> AttackResult:
            return given.block(victim, number)

        return {"images": collect(name, split, self._threat(), block, rows=BLOCK, meter=meter)}, {"queries": 0}

    def _attack(self, attack: Attack, victim: Victim) -> Computed:
        budget, spec = self.experiment.budget, spec_of(attack.attack).digest()
        queries, spent, seed_data = attack.attack.traits.queries, 0, self._seed_data()

        def part(number: int, targets: Targets) -> AttackResult:
            nonlocal spent
            seeds = self.seeds.child("attack", spec, number)
            oracle = None
            if queries:
                # A part gets its share of what is left, so that the first images don't eat what the last ones need.
                share, waiting = None, len(self.experiment.dataset.evaluation) - number * CHUNK
                if budget.total is not None:
                    share = (budget.total - spent) * len(targets.ids) // waiting
                limits = {"per_image": budget.per_image, "stops": budget.stops, "ids": targets.ids}
                oracle = self._oracle(victim, seeds, total=share, **limits)
            result = attack.attack.run(oracle, seed_data, targets, self._threat(), seeds.child("own").fork())
            spent += oracle.spent if oracle else 0
            return result

        # More rows keep the blocks full while more and more images are done with.
        stops = budget.stops if queries else ()
        return self._collect(attack, part, rows=CHUNK if queries else BLOCK, stops=stops), {"queries": spent}

    def _collect(
        self,
        attack: Attack,
        run: Callable[[int, Targets], AttackResult],
        *,
        rows: int,
        stops: tuple[int, ...] = (),
    ) -> dict[str, bytes]:
        split = self.experiment.dataset.evaluation
        meter = self.progress.start(f"attack {attack.name}", len(split))
        return {"images": collect(attack.name, split, self._threat(), run, rows=rows, meter=meter, stops=stops)}

    # ------------------------------------------------------------------------------------------------------- score

    @once
    def score(self, victim: Victim, attack: Attack | None, stop: int | None = None) -> Cell:
        """Count right answers of a victim in fresh draws.

        Args:
            victim: who answers.
            attack: on whose images; None is clean ones.
            stop: on those that the attack had after that many queries for each; None is at its end.
        """
        classifier = self.classifier(victim)
        evaluation = self.experiment.dataset.evaluation
        adversarial = None if attack is None else self.images(attack, victim)
        purpose = "clean" if attack is None else spec_of(attack.attack).digest()
        draws = self.experiment.draws if classifier.stochastic else 1
        inputs = {
            "victim": classifier.digest,
            "images": evaluation.digest,
            **({} if stop is None else {"stop": stop}),
            "adversarial": None if adversarial is None else adversarial.outputs["images"],
            "purpose": purpose,
            "draws": draws,
            "block": BLOCK,
            **({} if self.experiment.scoring_seed is None else {"scoring_seed": self.experiment.scoring_seed}),
            **self.machine(),
        }

        def run() -> Computed:
            images = evaluation.images
            if adversarial is not None:
                images = unpack_arrays(self.store.read(adversarial, "images"))[images_at(stop)]
            name = f"score {victim.name}" + (f" under {attack.name}" if attack else "")
            # The second half chooses the worst of several attacks: clean images have nothing to choose from.
            halves = ["score", "select"] if classifier.stochastic and attack else ["score"]
            meter = self.progress.start(name, len(images) * draws * len(halves))
            asked, labels, noise = self._memory.redrawn(classifier), evaluation.labels, self.scoring
            counted = {
                half: count_draws(asked, images, labels, draws, noise.child(half, purpose), meter=meter)
                for half in halves
            }
            score = counted["score"]
            found: dict[str, np.ndarray[Any, Any]] = {"right": score.right, "abstained": score.abstained}
            if "select" in counted:
                found["select"] = counted["select"].right
            return {"tally": pack_arrays(found)}, {} if score.passes is None else {"passes": score.passes}

        return self.cell("score", inputs, run)

    @once
    def tally(self, victim: Victim, attack: Attack | None, stop: int | None = None) -> Tally:
        """The result of `score`."""
        cell = self.score(victim, attack, stop)
        arrays = unpack_arrays(self.store.read(cell, "tally"))
        # Clean cells of earlier versions hold a second half; whether one is found must not decide a record.
        select = arrays.get("select") if attack else None
        draws, passes = cell.inputs["draws"], cell.facts.get("passes")
        return Tally(arrays["right"], arrays["abstained"], select, draws, passes)

    @once
    def agreement(self, attack: Attack, victim: Victim) -> Cell:
        """Share of validation images on which substitute and victim agree; the attacker isn't charged.

        Of a random one its most frequent answer is taken: single draws of a perfect copy would differ as well.
        """
        source, classifier = self.source(attack, victim), self.classifier(victim)
        draws = self.experiment.draws
        validation = self.experiment.dataset.validation
        images = validation.take(min(AGREEMENT_IMAGES, len(validation)))
        origin = self._source_inputs(attack, source)
        inputs = {
            **origin,
            "victim": classifier.digest,
            "images": images.digest,
            "draws": draws,
            "block": BLOCK,
            **self.machine(),
        }

        def run() -> Computed:
            if not len(images):
                return {}, {"agreement": None}
            noise = self.seeds.child("agreement")
            # Draws of its own: a substitute with the victim's noise layers would otherwise share the victim's.
            own, said = noise.child("substitute"), self._answers.most_frequent
            theirs = said(digest_of(origin), lambda: self._source(attack, source), images, draws, own)
            ours = said(classifier.digest, lambda: classifier, images, draws, noise)
            return {}, {"agreement": float((theirs == ours).mean())}

        return self.cell("agreement", inputs, run)

    def look(self, victim: Victim) -> Cell:
        """What the victim shows, whether its gradients and its answers are what an attack takes them for."""
        classifier, images = self.classifier(victim), self.experiment.dataset.evaluation
        inputs = {"victim": classifier.digest, "images": images.digest, "block": BLOCK, **self.machine()}

        def run() -> Computed:
            return {}, look(classifier, images, self.seeds.child("look"))._asdict()

        return self.cell("look", inputs, run)

    # ----------------------------------------------------------------------------------------------------- helpers

    def _oracle(self, victim: Victim, seeds: SeedStream, *, total: int | None = None, **limits: Any) -> CountingOracle:
        """With the budget's total where `total` is None; `limits` are further ones of `CountingOracle`."""
        total = self.experiment.budget.total if total is None else total
        return CountingOracle(self.classifier(victim), self._threat(), seeds.child("oracle"), total=total, **limits)

    def _asked(self, attack: Attack, victim: Victim) -> dict[str, Any]:
        """The inputs that make a result belong to one victim; none for an attack that asks nothing."""
        if not attack.attack.traits.queries:
            return {}
        return {
            "victim": self.classifier(victim).digest,
            "access": self._threat().access.name.lower(),
            "budget": self.experiment.budget.to_json(),
        }


def _number(output: str) -> int:
    """The place of a substitute's network: 0 of ``weights``, 10 of ``weights-10``."""
    return int(output.partition("-")[2] or 0)


def _two_stage(attack: Attack) -> TwoStage:
    assert isinstance(attack.attack, TwoStage)
    return attack.attack
