"""What is to be measured, whole and checked, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from robustnoise.blocks import BLOCK
from robustnoise.building import describe, spec_of
from robustnoise.compose import Defense, split_stages
from robustnoise.data import Dataset
from robustnoise.errors import BadParameter, did_you_mean
from robustnoise.harness.given import Given
from robustnoise.models.targets.text import TargetText
from robustnoise.protocols import BlackBoxAttack, Classifier, Differentiable, Model, Softened, access_of
from robustnoise.store import IDENTITY
from robustnoise.threat import Access, Budget, ThreatModel
from robustnoise.training import Precision, need_bfloat16

MOST_THREADS = 1024
"""Where more are asked for, the system may end the process."""


@dataclass(frozen=True)
class Victim:
    """A defended network, or a classifier that somebody brings.

    Args:
        name: unique in the experiment.
        defense: the stack.
        model: the architecture that the stack starts from; None for a classifier of one's own.
        reference: name of the victim that its delta is taken against; None takes none.
        classifier: a ready classifier, to which `defense` (inference stages only) is added.
        clean_only: measured on clean images alone, without reference and deltas, whatever attacks there are: a point
            of a curve.
        target: what `classifier` was made from, or is to be made from before anything runs; None where it came as an
            object.
        submitted: who hands it in and what it was made from, JSON; None for a board's own.
        seed: of its training alone; None takes the experiment's.
    """

    name: str
    defense: Defense
    model: Model | None = None
    reference: str | None = None
    classifier: Classifier | None = None
    clean_only: bool = False
    target: TargetText | None = None
    submitted: Mapping[str, Any] | None = None
    seed: int | None = None

    @property
    def ready(self) -> bool:
        """Whether somebody brings it, so that nothing is trained."""
        return self.classifier is not None or self.target is not None

    @property
    def base_access(self) -> Access:
        """The most that the classifier answers without the defense."""
        if self.classifier is not None:
            return access_of(self.classifier)
        return self.target.access if self.target is not None else Access.GRADIENTS

    @property
    def access(self) -> Access:
        """The most that the whole stack answers."""
        return self.defense.shows(self.base_access)

    @cached_property
    def text(self) -> str:
        """The stack in words."""
        if self.target is None:
            return describe(self.defense)
        return " | ".join([self.target.text, *(describe(s) for s in self.defense.stages())])

    @cached_property
    def _spec(self) -> dict[str, Any]:
        return spec_of(self.defense).to_json()

    def identity(self, digest: str) -> dict[str, Any]:
        """The part of a record's identity that names this victim."""
        return {
            "name": self.name,
            "defense": self._spec,
            "text": self.text,
            "model": None if self.model is None else spec_of(self.model).to_json(),
            "digest": digest,
            **({} if self.seed is None else {"seed": self.seed}),
            **({} if self.target is None else {"target": self.target.identity()}),
            **({} if self.submitted is None else {"submitted": dict(self.submitted)}),
        }


@dataclass(frozen=True)
class Attack:
    """A named attack.

    Args:
        name: unique in the experiment.
        attack: what makes the images, or stands for them.
        given: the images, where somebody hands them in.
    """

    name: str
    attack: BlackBoxAttack
    given: Given | None = None

    @property
    def scope(self) -> str:
        """Whom the attack's images are for.

        ``"control"``, ``"audit"`` (it sees the victim's gradients), ``"per-victim"`` (it asks the oracle) or
        ``"shared"`` (one result serves all victims).
        """
        traits = self.attack.traits
        if self.given is not None:
            return self.given.scope
        if traits.control or traits.audit:
            return "control" if traits.control else "audit"
        return "per-victim" if traits.queries else "shared"

    @property
    def needs(self) -> Access:
        """The least that a victim must answer."""
        return Access.GRADIENTS if self.attack.traits.audit else self.attack.traits.access

    @property
    def own(self) -> bool:
        """Whether each victim has images of its own."""
        return self.scope in ("per-victim", "audit")

    @cached_property
    def _said(self) -> dict[str, Any]:
        text = describe(self.attack) if self.given is None else self.given.text
        return {"spec": spec_of(self.attack).to_json(), "text": text}

    def identity(self) -> dict[str, Any]:
        """The part of a record's identity that names this attack."""
        return {
            "name": self.name,
            **self._said,
            "scope": self.scope,
            "null": self.attack.traits.null,
            **({} if self.given is None else {"submitted": dict(self.given.submitted)}),
        }


@dataclass(frozen=True)
class Experiment:
    """Victims times attacks on one dataset under one threat model; without attacks, victims on clean images alone.

    Args:
        dataset: with its splits.
        sizes: how the splits were made, for the record.
        threat: the attacker; None where there are no attacks.
        budget: the attacker's queries and data; of no meaning where there are no attacks.
        victims: unique names; references name victims of the same experiment.
        attacks: unique names; none measures accuracy on clean images alone.
        undefended: name of the undefended victim; None where there is none.
        draws: fresh scoring draws of a stochastic victim; a deterministic one is scored once.
        seed: of training, attacks and scoring.
        scoring_seed: of scoring alone, for draws that no other run has made; None takes `seed`.
        precision: of the gradients with which attacks craft, see `harness.crafting`; answers are float32 in any case.
        threads: torch threads in a cell; part of the identity, since they decide the last bit of a sum.
        device: where networks run.
        plugin_files: one-file plugins, so that workers can load them.

    Raises:
        BadParameter: names that clash or lead nowhere, an attack that needs more access than is given, ...
    """

    dataset: Dataset
    sizes: Mapping[str, Any]
    threat: ThreatModel | None
    budget: Budget
    victims: tuple[Victim, ...]
    attacks: tuple[Attack, ...]
    undefended: str | None = None
    draws: int = 10
    seed: int = 0
    threads: int = 2
    device: str = "cpu"
    plugin_files: tuple[Path, ...] = field(default=())
    scoring_seed: int | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        check_parts(self.victims, self.attacks, self.threat, self.undefended)
        if not 1 <= self.draws <= 10_000:
            raise BadParameter(f"draws = {self.draws}: expected 1 to 10000.")
        if not 1 <= self.threads <= MOST_THREADS:
            raise BadParameter(f"threads = {self.threads}: expected 1 to {MOST_THREADS}.")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise BadParameter(
                f"device = {self.device!r}: {reason}. Expected cpu, or cuda where there is a GPU."
            ) from None
        if self.precision == "bfloat16":
            need_bfloat16(torch.device(self.device))

    @property
    def self_contained(self) -> bool:
        """Whether networks run on this machine's processor alone: on no accelerator, and none is somebody else's, which
        may be an endpoint."""
        return self.device == "cpu" and not any(victim.ready for victim in self.victims)

    def crafting(self) -> dict[str, Any]:
        """The inputs of gradient crafting that float32 leaves out: cells and rows from before don't have them."""
        return {} if self.precision == "float32" else {"precision": self.precision}

    def attacks_on(self, victim: Victim) -> tuple[Attack | None, ...]:
        """What each record of a victim is about: its attacks, or None once for clean images alone."""
        return (None,) if victim.clean_only or not self.attacks else self.attacks

    def setting(self, *, attacked: bool = True) -> dict[str, Any]:
        """The part of a record's identity that all records of a run share.

        Args:
            attacked: False for records of clean images alone. No attacker has a part in those: threat and budget are
                None, so boards of different threat models agree on them; the number of classes, which tells
                what chance is, is added.
        """
        data = self.dataset
        assert self.threat is not None or not attacked
        content = {
            "name": data.name,
            "digest": data.digest,
            "splits": {s.name: s.digest for s in (data.train, data.attacker, data.validation, data.evaluation)},
            "sizes": dict(self.sizes),
        }
        return {
            "data": content if attacked else content | {"classes": data.evaluation.num_classes},
            "threat": self.threat.to_json() if self.threat is not None and attacked else None,
            "budget": self.budget.to_json() if attacked else None,
            "draws": self.draws,
            "block": BLOCK,
            "identity": IDENTITY,
            "seed": self.seed,
            "threads": self.threads,
            "device": self.device,
            **({} if self.scoring_seed is None else {"scoring_seed": self.scoring_seed}),
            **(self.crafting() if attacked else {}),
        }


def check_parts(
    victims: Sequence[Victim], attacks: Sequence[Attack], threat: ThreatModel | None, undefended: str | None
) -> None:
    """Refuse what can be refused without the data.

    Raises:
        BadParameter: names that lead nowhere, a victim that is never trained, an attack that needs more access.
    """
    names = _unique("victim", [v.name for v in victims])
    if threat is not None or attacks:
        _unique("attack", [a.name for a in attacks])
    if undefended is not None and undefended not in names:
        raise BadParameter(f"undefended = {undefended!r} is none of the victims.{did_you_mean(undefended, names)}")
    for victim in victims:
        if victim.reference is not None and victim.reference not in names:
            raise BadParameter(
                f"victim {victim.name!r}: reference = {victim.reference!r} is none of the victims."
                f"{did_you_mean(victim.reference, names)}"
            )
        training = split_stages(victim.defense)[0]
        if victim.ready and training.stages():
            raise BadParameter(f"victim {victim.name!r}: a ready classifier takes inference stages only.")
        if not victim.ready and not training.stages():
            raise BadParameter(
                f"victim {victim.name!r}: {describe(victim.defense)} trains nothing, so random weights would "
                "be measured. Put a training stage first, such as plain-training | ..."
            )
    if threat is None:
        if attacks:
            raise BadParameter(f"attack {attacks[0].name!r} needs a threat model: norm, radius and access.")
        return
    if threat.access is Access.GRADIENTS:
        raise BadParameter("access = gradients: black-box boards take labels, scores or logits.")
    for victim in victims:
        if not victim.clean_only:
            _check_access(victim, attacks, threat.access)


def _check_access(victim: Victim, attacks: Sequence[Attack], given: Access) -> None:
    """Refuse what `victim` can't answer, or what the threat model, which gives `given`, doesn't let it show."""
    shows = victim.access
    if victim.ready and shows < given:
        raise BadParameter(
            f"threat model: access = {given.name.lower()}, but victim {victim.name!r} answers {shows.name.lower()} "
            f"alone. Give access = {shows.name.lower()}."
        )

    def fits(attack: Attack) -> bool:
        if attack.attack.traits.audit:
            return not _closed(victim)
        return attack.needs <= min(given, shows)

    for attack in attacks:
        if fits(attack):
            continue
        fitting = ", ".join(a.name for a in attacks if fits(a)) or "none"
        if attack.attack.traits.audit:
            raise BadParameter(
                f"attack {attack.name!r} needs the gradients of victim {victim.name!r}, and none pass through "
                f"{', '.join(_closed(victim))}. Audit the victim without it, or attack this one through queries or a "
                f"substitute. Attacks that fit: {fitting}."
            )
        needs = attack.needs.name.lower()
        if attack.needs <= shows:
            raise BadParameter(
                f"attack {attack.name!r} needs {needs}, but the threat model gives {given.name.lower()} alone. Give "
                f"access = {needs} (on the command line --access {needs}), or take attacks that ask for less. Attacks "
                f"that fit: {fitting}."
            )
        raise BadParameter(
            f"attack {attack.name!r} needs {needs}, but victim {victim.name!r} shows {shows.name.lower()}. "
            f"Attacks that fit: {fitting}."
        )


def _closed(victim: Victim) -> list[str]:
    """The stages of a victim, or its own classifier, that no gradient passes."""
    stages = split_stages(victim.defense)[1].stages()
    closed = [describe(stage) for stage in stages if not (stage.traits.differentiable or stage.traits.softened)]
    if victim.classifier is not None and not isinstance(victim.classifier, Differentiable | Softened):
        closed.append(type(victim.classifier).__name__)
    elif victim.classifier is None and victim.base_access < Access.GRADIENTS:
        closed.append(victim.text)
    return closed


def _unique(kind: str, names: list[str]) -> list[str]:
    if not names:
        raise BadParameter(f"no {kind}: give at least one.")
    for name in names:
        if names.count(name) > 1:
            raise BadParameter(f"two {kind}s are called {name!r}; names must be unique.")
    return names
