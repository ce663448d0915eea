"""Defenses compose: ``PGDTraining(eps=0.3) | LayerNoise(snr_db=20) | Vote(16)``, first stage first.

Stages of training come before stages of inference. All training stages of a stack share ONE training run: exactly one
of them leads it (it has the schedule), the others contribute hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from robustnoise.errors import BadSpec
from robustnoise.protocols import Classifier, Context, DefenseTraits, Stage
from robustnoise.spec import Plugin
from robustnoise.threat import Access


class Defense(Plugin):
    """Base of every defense: a configuration that turns a classifier into a defended one."""

    kind = "defense"
    traits: ClassVar[DefenseTraits]

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """A defended classifier; `model` itself is left as it is."""
        raise NotImplementedError

    def shows(self, inner: Access) -> Access:
        """The most that a model which answers `inner` answers behind this defense; override it where that differs."""
        return inner

    def stages(self) -> tuple[Defense, ...]:
        """The defenses that this one consists of, in order."""
        return (self,)

    def __or__(self, other: Defense) -> Defense:
        if not isinstance(other, Defense):
            return NotImplemented
        return compose(self, other)


@runtime_checkable
class Leader(Protocol):
    """A training defense with a schedule of its own."""

    def train(self, model: Classifier, ctx: Context, stages: Sequence[Defense]) -> Classifier:
        """Run the one training that all of `stages`, this one among them, take part in."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A training defense that needs more in the network than its author put there, such as further weights."""

    def prepared(self, model: Classifier) -> Classifier:
        """What the training starts from: `model`, which stays as it is, or a copy that holds more."""
        ...


@dataclass(frozen=True)
class Identity(Defense):
    """No defense. Neutral in composition."""

    traits = DefenseTraits(Stage.INFERENCE)

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """`model` itself."""
        return model

    def stages(self) -> tuple[Defense, ...]:
        """None."""
        return ()


@dataclass(frozen=True)
class Stack(Defense):
    """Several defenses in order; made by ``a | b``.

    Raises:
        BadSpec: a training stage follows an inference stage, or not exactly one training stage leads.
    """

    parts: tuple[Defense, ...]

    def __post_init__(self) -> None:
        names = [type(p).__name__ for p in self.parts]
        staged = [p.traits.stage for p in self.parts]
        if staged != sorted(staged, key=[Stage.TRAINING, Stage.INFERENCE].index):
            late = staged.index(Stage.TRAINING, staged.index(Stage.INFERENCE))
            raise BadSpec(
                f"{' | '.join(names)}: {names[late]} acts while training and can't follow {names[late - 1]}, "
                "which acts at inference. Put training stages first."
            )
        training = self.training
        leaders = [type(p).__name__ for p in training if isinstance(p, Leader)]
        if training and len(leaders) != 1:
            raise BadSpec(
                f"{' | '.join(names)}: {len(leaders)} stages lead a training run ({', '.join(leaders) or 'none'}); "
                "a stack trains once, so exactly one must."
            )

    @property
    def traits(self) -> DefenseTraits:  # type: ignore[override]
        """The traits of the whole."""
        return DefenseTraits(
            stage=self.parts[0].traits.stage,
            stochastic=any(p.traits.stochastic for p in self.parts),
            differentiable=all(p.traits.differentiable for p in self.parts),
            softened=any(p.traits.softened for p in self.parts)
            and all(p.traits.differentiable or p.traits.softened for p in self.parts),
            abstains=any(p.traits.abstains for p in self.parts),
            ready=any(p.traits.ready for p in self.parts),
        )

    @property
    def training(self) -> tuple[Defense, ...]:
        """The training stages."""
        return tuple(p for p in self.parts if p.traits.stage is Stage.TRAINING)

    @property
    def inference(self) -> tuple[Defense, ...]:
        """The inference stages."""
        return tuple(p for p in self.parts if p.traits.stage is Stage.INFERENCE)

    def shows(self, inner: Access) -> Access:
        """See `Defense.shows`."""
        for part in self.parts:
            inner = part.shows(inner)
        return inner

    def stages(self) -> tuple[Defense, ...]:
        """The parts."""
        return self.parts

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """Train once, then add the inference stages in order."""
        training = self.training
        for part in training:
            if isinstance(part, Preparing):
                model = part.prepared(model)
        for part in training:
            if isinstance(part, Leader):
                model = part.train(model, ctx, training)
        for part in self.inference:
            model = part.apply(model, ctx)
        return model


def compose(*defenses: Defense) -> Defense:
    """The stack of `defenses`, flattened; `Identity` drops out and one alone stays itself."""
    parts = tuple(stage for d in defenses for stage in d.stages())
    if not parts:
        return Identity()
    return parts[0] if len(parts) == 1 else Stack(parts)


def split_stages(defense: Defense) -> tuple[Defense, Defense]:
    """`defense` as (training part, inference part); either may be `Identity`."""
    parts = defense.stages()
    return (
        compose(*(p for p in parts if p.traits.stage is Stage.TRAINING)),
        compose(*(p for p in parts if p.traits.stage is Stage.INFERENCE)),
    )
