"""Attacks of Foolbox, through the oracle or on a substitute."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from robustnoise.api import (
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
    to_foolbox,
)
from robustnoise_attacks.adapters.door import Door, attack_each
from robustnoise_attacks.adapters.library import Library, Options, Release, as_images, only_known, third_party

FOOLBOX = Library(
    "Foolbox",
    "foolbox",
    # `tensorboard=None` means on; an attack to start from is no text.
    frozenset({"distance", "constraint", "init_attack", "tensorboard"}),
)
NO_START = "init_attack failed"
"""How Foolbox says that it found no adversarial image to start from: an attack without success, not a crash."""
Name = Annotated[str, Field(min_length=1, description="class of foolbox.attacks, such as BoundaryAttack")]


@dataclass(frozen=True)
class FoolboxAttack(BlackBoxAttack):
    """A decision-based attack of Foolbox, through the counted oracle; it must measure the threat model's norm.

    Foolbox takes every answer for the truth, noisy or not, and its HopSkipJumpAttack asserts that it is.
    """

    reference = "Rauber et al. 2020, doi 10.21105/joss.02607 (the toolbox); the attack's own paper is in its docstring"

    attack: Name
    options: Options = ""
    release: Release = ""

    def check(self) -> None:
        """Find the attack and its options; see `robustnoise_attacks.adapters.library` for why already here."""
        cls = _attack(self.attack)
        if _asks_gradients(cls):
            raise BadParameter(
                f"foolbox: {self.attack} needs gradients, and an oracle gives none: "
                f"use it on a substitute, transfer(independent, foolbox-crafter({self.attack}))."
            )
        FOOLBOX.arguments(cls, self.options)
        object.__setattr__(self, "release", FOOLBOX.release(self.release))

    @property
    def traits(self) -> AttackTraits:
        """It asks for labels."""
        return AttackTraits()

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """See `BlackBoxAttack.run`."""
        if oracle is None:
            raise BadParameter(f"foolbox: {self.attack} asks the victim; give it an oracle.")
        made = _make(self.attack, self.options, threat)
        foolbox = import_quietly("foolbox")

        def attack(door: Door) -> Any:
            model = foolbox.PyTorchModel(_Asking(door).eval(), bounds=(0, 1), device="cpu")
            try:
                return made(model, door.x.clone(), targets.y.new_tensor([door.y]), epsilons=threat.eps)[1]
            except ValueError as error:
                if not str(error).startswith(NO_START):
                    raise
                return door.best

        return attack_each(FOOLBOX, self.attack, oracle, targets, threat, seeds, attack, scores=False)


@dataclass(frozen=True)
class FoolboxCrafter(Crafter):
    """An attack of Foolbox on a source model; it must measure the threat model's norm."""

    reference = FoolboxAttack.reference

    attack: Name
    options: Options = ""
    release: Release = ""

    def check(self) -> None:
        """Find the attack and its options."""
        FOOLBOX.arguments(_attack(self.attack), self.options)
        object.__setattr__(self, "release", FOOLBOX.release(self.release))

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        """See `Crafter.craft`."""
        made = _make(self.attack, self.options, threat)
        if threat.eps == 0:
            return x.clone()
        model = to_foolbox(require_differentiable(source, f"foolbox-crafter({self.attack})"), seeds.child("source"))
        with third_party(FOOLBOX, self.attack, seeds.seed("library"), noisy=source.stochastic):
            found = made(model, x.cpu().float().clone(), y.cpu().clone(), epsilons=threat.eps)[1]
        return threat.project(x, as_images(found, x, FOOLBOX, self.attack, noisy=source.stochastic).to(x.device))


class _Asking(nn.Module):
    """A module whose output is what the oracle says."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self.door = door

    def forward(self, rows: Tensor) -> Tensor:
        return self.door.ask(rows)


def _attack(name: str) -> type:
    module = import_quietly("foolbox.attacks")
    base = import_quietly("foolbox.attacks.base").AttackWithDistance
    classes = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and not inspect.isabstract(value)
    }
    return FOOLBOX.find(name, classes)


def _asks_gradients(cls: type) -> bool:
    """Foolbox declares it nowhere, but all gradients come from one function of EagerPy."""
    modules = [sys.modules[c.__module__] for c in cls.__mro__ if c.__module__.startswith("foolbox.")]
    return any("value_and_grad" in inspect.getsource(module) for module in modules)


def _make(name: str, options: str, threat: ThreatModel) -> Any:
    """The attack.

    Raises:
        BadParameter: it measures another norm than the threat model.
        AttackFailed: Foolbox can't make it.
    """
    cls = _attack(name)
    distances = import_quietly("foolbox.distances")
    linf = threat.norm is Norm.LINF
    values = {"distance": distances.linf if linf else distances.l2, "constraint": "linf" if linf else "l2"}
    with third_party(FOOLBOX, name, 0, noisy=False):
        made: Any = cls(**(only_known(cls, values) | FOOLBOX.arguments(cls, options)))
        measured = made.distance.p
    if measured != (float("inf") if linf else 2):
        raise BadParameter(
            f"Foolbox's {name} measures perturbations in l{measured}, the threat model in {threat.norm}: "
            "take the attack of that norm, or a board of the other."
        )
    return made
