"""Extraction attacks of the Adversarial Robustness Toolbox as substitutes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from robustnoise.api import (
    Access,
    AttackTraits,
    BadParameter,
    Context,
    Model,
    Modular,
    Number,
    Oracle,
    Split,
    Substitute,
    TorchClassifier,
    create,
    create_model,
    import_quietly,
    to_tensor,
)
from robustnoise_attacks.adapters.art import ART
from robustnoise_attacks.adapters.library import Options, Release, only_known, parameters, third_party
from robustnoise_attacks.substitutes.labelling import need_answers

FIT_BATCH, QUERY_BATCH = 64, 128
"""Rows a step and rows a call where the options give none; ART's defaults are 1."""


@dataclass(frozen=True)
class ArtExtraction(Substitute):
    """A network stolen by ART's CopycatCNN or KnockoffNets, which label the attacker's images through the oracle.

    `nb_stolen` is as many of the attacker's images as the budget pays for, unless the options ask for fewer. ART is
    shown labels, one-hot, or with the option use_probability=true the victim's probabilities. An image that the victim
    abstains from is shown as a tie, whose first class ART takes.
    """

    reference = "Correia-Silva et al. 2018, arXiv 1806.05476; Orekondy et al. 2018, arXiv 1812.02766"
    attack: Annotated[str, Field(min_length=1, description="class of art.attacks.extraction, such as CopycatCNN")]
    options: Options = ""
    release: Release = ""
    learning_rate: Annotated[Number, Field(gt=0, le=1, description="learning rate, Adam")] = 0.001
    model: Model = field(default_factory=lambda: create("model", "small-cnn"))

    def check(self) -> None:
        """Find the attack and its options."""
        cls = _extraction(self.attack)
        ART.arguments(cls, self.options)
        object.__setattr__(self, "release", ART.release(self.release))

    @property
    def traits(self) -> AttackTraits:
        """Labels, or scores where probabilities are stolen."""
        return AttackTraits(Access.SCORES if self._probabilities else Access.LABELS)

    @property
    def _probabilities(self) -> bool:
        return ART.arguments(_extraction(self.attack), self.options).get("use_probability") is True

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> tuple[Modular, ...]:
        """See `Substitute.fit`."""
        if oracle is None:
            raise BadParameter("art-extraction: the substitute learns from the victim's answers; give it an oracle.")
        need_answers("art-extraction", oracle)
        shape, classes = oracle.input_shape, oracle.num_classes
        fresh = create_model(self.model, shape, classes, seed=ctx.seeds.child("weights"))
        cls = _extraction(self.attack)
        options = ART.arguments(cls, self.options)
        affordable = len(seed_data) if oracle.remaining is None else min(len(seed_data), oracle.remaining)
        wanted = options.pop("nb_stolen", affordable)
        stolen = min(wanted if isinstance(wanted, int) else affordable, affordable)
        values = {"batch_size_fit": FIT_BATCH, "batch_size_query": QUERY_BATCH, "nb_stolen": stolen, "verbose": False}
        x = seed_data.floats()
        module = copy.deepcopy(fresh.module).requires_grad_(True)
        art = import_quietly("art.estimators.classification")
        thief = art.PyTorchClassifier(
            module,
            loss=nn.CrossEntropyLoss(),
            optimizer=torch.optim.Adam(module.parameters(), lr=self.learning_rate),
            input_shape=tuple(shape),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="cpu" if ctx.device == "cpu" else "gpu",
        )
        victim = art.BlackBoxClassifierNeuralNetwork(
            _labels(oracle, seed_data, scores=self._probabilities), tuple(shape), classes, clip_values=(0.0, 1.0)
        )
        with third_party(ART, self.attack, ctx.seeds.seed("library"), noisy=oracle.stochastic):
            attack = cls(victim, **(only_known(cls, values) | options))
            y = to_tensor(seed_data.labels).numpy() if options.get("sampling_strategy") == "adaptive" else None
            attack.extract(x, y=y, thieved_classifier=thief)
        return (TorchClassifier(module, shape, classes, fresh.architecture),)


def _labels(oracle: Oracle, seed_data: Split, *, scores: bool) -> Any:
    """What ART calls to label rows; each is one of the attacker's images and is charged to its id."""
    x = seed_data.floats()
    numbers = {row.tobytes(): int(number) for row, number in zip(x, seed_data.ids, strict=True)}

    def predict(rows: Any) -> Any:
        rows = rows.astype("float32")
        answer = oracle.query(torch.from_numpy(rows), torch.tensor([numbers[row.tobytes()] for row in rows]))
        shown = functional.one_hot(answer.labels.clamp_min(0), oracle.num_classes).float()
        if scores and answer.scores is not None:
            shown = answer.scores.clone()
        shown[answer.labels < 0] = 1 / oracle.num_classes
        return shown.numpy()

    return predict


def _extraction(name: str) -> type:
    module = import_quietly("art.attacks.extraction")
    base = import_quietly("art.attacks").ExtractionAttack
    # The other one, FunctionallyEquivalentExtraction, ends in no network that could be stored.
    classes = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and "nb_stolen" in parameters(value)
    }
    return ART.find(name, classes)
