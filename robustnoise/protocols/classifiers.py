"""What may be attacked: a classifier and what it may be able to do besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

from robustnoise.errors import MissingCapability
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access

if TYPE_CHECKING:
    from torch import Tensor, nn


class Answer(NamedTuple):
    """What a classifier says of n images; an oracle leaves out what its access level hides."""

    labels: Tensor
    """(n,) int64; -1 is an abstention, which counts as wrong and is shown apart."""
    scores: Tensor | None = None
    """(n, num_classes) float32 probabilities."""
    logits: Tensor | None = None
    """(n, num_classes) float32."""
    passes: Tensor | None = None
    """(n,) int64 forward passes that each answer really cost; None where each costs `Classifier.passes`. It is there
    for the books and never shown to an attacker: how soon an answer settles tells how near a boundary the image is."""


@runtime_checkable
class Classifier(Protocol):
    """A victim, a substitute or a base model. Row i of an answer depends on row i of the input alone."""

    @property
    def num_classes(self) -> int: ...
    @property
    def input_shape(self) -> tuple[int, int, int]: ...
    @property
    def stochastic(self) -> bool: ...
    @property
    def passes(self) -> int:
        """Forward passes of the network that one answer costs; the most, where `Answer.passes` says what each did."""
        ...

    @property
    def digest(self) -> str:
        """sha256 of everything that decides the answers: weights, configuration, calibration."""
        ...

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """Classify; the same stream and the same batch give the same answer."""
        ...


@runtime_checkable
class Differentiable(Classifier, Protocol):
    """Optional capability: logits through which gradients flow to the input."""

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """(n, num_classes) float32."""
        ...


@runtime_checkable
class Softened(Protocol):
    """Optional capability of a classifier whose answers have no gradients: a differentiable stand-in for attacks."""

    def softened(self) -> Differentiable:
        """A classifier with this one's draws and, as nearly as gradients allow, its answers.

        Raises:
            MissingCapability: what it wraps has no gradients.
        """
        ...


@runtime_checkable
class Smoothed(Protocol):
    """Optional capability of a classifier: it answers what another answers most often under noise; see `rn.certify`."""

    @property
    def base(self) -> Classifier:
        """The classifier whose answers under Gaussian noise are counted."""
        ...

    @property
    def sigma(self) -> float:
        """Standard deviation of that noise, pixels in [0, 1]."""
        ...


@runtime_checkable
class Ensembled(Protocol):
    """Optional capability of a `Differentiable`: it is several models, which are attacked together."""

    @property
    def members(self) -> tuple[Differentiable, ...]: ...
    @property
    def combine(self) -> str:
        """What is averaged over the members: ``"logits"``, ``"probabilities"`` or ``"losses"``.

        `logits` does the first two itself; an attack averages the losses.
        """
        ...


@runtime_checkable
class Modular(Differentiable, Protocol):
    """Optional capability: a network whose layers a defense can reach."""

    @property
    def module(self) -> nn.Module:
        """The bare network, noise off: (n, C, H, W) in [0, 1] to (n, num_classes) logits. Not to be changed."""
        ...


def access_of(model: Classifier) -> Access:
    """The most that `model` answers, from its attribute ``access``; one without it is taken to answer everything."""
    access: Access = getattr(model, "access", Access.GRADIENTS)
    return access


def require_differentiable(model: Classifier, who: str) -> Differentiable:
    """`model`, if it has gradients, or its stand-in.

    Raises:
        MissingCapability: it has neither.
    """
    if isinstance(model, Softened):
        return model.softened()
    # `isinstance` reads every member of the protocol before Python 3.12, and `digest` hashes all weights.
    if not hasattr(model, "logits"):
        raise MissingCapability(
            f"{who} needs logits with gradients, and {type(model).__name__} has none. "
            "Attack it through a substitute, or with a query attack."
        )
    return cast("Differentiable", model)


def require_modular(model: Classifier, who: str) -> Modular:
    """`model`, if its layers can be reached.

    Raises:
        MissingCapability: they can't.
    """
    if not hasattr(model, "module"):
        raise MissingCapability(
            f"{who} needs to reach the layers of the network, and {type(model).__name__} hides them. "
            f"Put {who} before the stages that only see answers, such as vote."
        )
    return cast("Modular", model)
