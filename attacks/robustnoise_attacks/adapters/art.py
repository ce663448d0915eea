"""Evasion attacks of the Adversarial Robustness Toolbox, through the oracle or on a substitute."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from robustnoise.api import (
    Access,
    AttackResult,
    AttackTraits,
    BadParameter,
    BlackBoxAttack,
    Classifier,
    Crafter,
    Norm,
    Oracle,
    SeedStream,
    Split,
    Targets,
    ThreatModel,
    import_quietly,
    require_differentiable,
    to_art,
)
from robustnoise_attacks.adapters.door import Door, attack_each
from robustnoise_attacks.adapters.library import (
    Library,
    Options,
    Release,
    as_images,
    only_known,
    parameters,
    third_party,
)

ART = Library(
    "ART",
    "adversarial-robustness-toolbox",
    frozenset({"estimator", "classifier", "targeted", "verbose", "summary_writer"}),
)
DECISIONS = frozenset({"BoundaryAttack", "GeoDA", "HopSkipJump", "SignOPTAttack", "SpatialTransformation"})
"""Attacks that look at the label alone; of any other, scores are shown."""
CLASSIFIERS = frozenset({"BaseEstimator", "ClassifierMixin", "NeuralNetworkMixin"})
GRADIENTS = frozenset({"LossGradientsMixin", "ClassGradientsMixin"})
"""What an attack may require of a classifier; one that requires anything else is for other tasks."""
Name = Annotated[str, Field(min_length=1, description="class of art.attacks.evasion, such as SquareAttack")]


@dataclass(frozen=True)
class ArtAttack(BlackBoxAttack):
    """A black-box evasion attack of ART, through the counted oracle.

    Norm and eps are those of the threat model where the attack takes any, unless the options give others; what it hands
    in is projected onto the ball. ART takes every answer for the truth, noisy or not.
    """

    reference = "Nicolae et al. 2018, arXiv 1807.01069 (the toolbox); the attack's own paper is in its docstring"

    attack: Name
    options: Options = ""
    release: Release = ""

    def check(self) -> None:
        """Find the attack and its options; see `robustnoise_attacks.adapters.library` for why already here."""
        cls = _evasion(self.attack)
        needs = requirements(cls)
        if needs & GRADIENTS:
            raise BadParameter(
                f"art: {self.attack} needs gradients, and an oracle gives none: "
                f"use it on a substitute, transfer(independent, art-crafter({self.attack}))."
            )
        ART.arguments(cls, self.options)
        object.__setattr__(self, "release", ART.release(self.release))

    @property
    def traits(self) -> AttackTraits:
        """Labels for a decision attack, else scores."""
        return AttackTraits(Access.LABELS if self.attack in DECISIONS else Access.SCORES)

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """See `BlackBoxAttack.run`."""
        if oracle is None:
            raise BadParameter(f"art: {self.attack} asks the victim; give it an oracle.")
        classes, shape = oracle.num_classes, tuple(oracle.input_shape)
        network = import_quietly("art.estimators.classification").BlackBoxClassifierNeuralNetwork
        labels_only = self.attack in DECISIONS

        def attack(door: Door) -> Any:
            def predict(rows: Any) -> Any:
                rows = torch.as_tensor(rows)
                shown = door.ask(rows)
                if labels_only:
                    # A decision attack moves away from what it is answered for the original. A wrong or a lucky
                    # answer there would send it towards the true class.
                    same = (rows.float() == door.x).flatten(1).all(1)
                    shown[same] = functional.one_hot(torch.tensor(door.y), classes).float()
                return shown.numpy()

            made = self._make(network(predict, shape, classes, clip_values=(0.0, 1.0)), threat, 1)
            return made.generate(x=door.x.numpy().copy(), y=_one_hot(torch.tensor([door.y]), classes))

        return attack_each(ART, self.attack, oracle, targets, threat, seeds, attack, scores=not labels_only)

    def _make(self, estimator: Any, threat: ThreatModel, rows: int) -> Any:
        return _make(self.attack, self.options, estimator, threat, rows)


@dataclass(frozen=True)
class ArtCrafter(Crafter):
    """A gradient attack of ART on a source model; norm, eps and projection as for `ArtAttack`."""

    reference = ArtAttack.reference

    attack: Name
    options: Options = ""
    release: Release = ""

    def check(self) -> None:
        """Find the attack and its options."""
        ART.arguments(_evasion(self.attack), self.options)
        object.__setattr__(self, "release", ART.release(self.release))

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        """See `Crafter.craft`."""
        if threat.eps == 0:
            return x.clone()
        model = require_differentiable(source, f"art-crafter({self.attack})")
        estimator = to_art(model, seeds.child("source"))
        with third_party(ART, self.attack, seeds.seed("library"), noisy=source.stochastic):
            made = _make(self.attack, self.options, estimator, threat, len(x))
            found = made.generate(x=x.cpu().numpy().copy(), y=_one_hot(y, source.num_classes))
        return threat.project(x, as_images(found, x, ART, self.attack, noisy=source.stochastic).to(x.device))


def requirements(cls: Any) -> frozenset[str]:
    """The names of what an attack requires of its classifier; of alternatives all."""
    found: set[str] = set()
    for need in cls._estimator_requirements or ():
        found |= {c.__name__ for c in (need if isinstance(need, tuple) else (need,))}
    return frozenset(found)


def _evasion(name: str) -> type:
    module = import_quietly("art.attacks.evasion")
    base = import_quietly("art.attacks").EvasionAttack
    classes = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and requirements(value) <= CLASSIFIERS | GRADIENTS
    }
    return ART.find(name, classes)


def _make(name: str, options: str, estimator: Any, threat: ThreatModel, rows: int) -> Any:
    """The attack, told the ball unless the options give another."""
    cls = _evasion(name)
    known = parameters(cls)
    values: dict[str, Any] = {
        "norm": math.inf if threat.norm is Norm.LINF else 2,
        "eps": threat.eps,
        "batch_size": rows,
        "targeted": False,
        "verbose": False,
    }
    if "eps" in known and "eps_step" in known:
        # ART's default step is an absolute number, made for its default eps.
        values["eps_step"] = threat.eps * known["eps_step"].default / known["eps"].default
    return cls(estimator, **(only_known(cls, values) | ART.arguments(cls, options)))


def _one_hot(y: Tensor, classes: int) -> Any:
    return functional.one_hot(y.cpu(), classes).float().numpy()
