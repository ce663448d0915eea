"""What the parts of robustnoise promise each other.

Images are float32 (n, C, H, W) in [0, 1]; labels int64 (n,); normalisation sits inside the model. Every call that may
be random takes a `SeedStream` and draws from nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

from robustnoise.errors import BadParameter, MissingCapability
from robustnoise.seeds import SeedStream
from robustnoise.spec import Plugin
from robustnoise.threat import Access, ThreatModel

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from robustnoise.data import Split


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


class Meter(Protocol):
    """Where long work reports its progress."""

    def advance(self, steps: int = 1) -> None:
        """`steps` more of the announced total are done."""
        ...


class Progress(Protocol):
    """Opens a meter for a piece of long work."""

    def start(self, label: str, total: int) -> Meter: ...


class _NoMeter:
    def advance(self, steps: int = 1) -> None:
        pass


class Silent:
    """Reports nothing."""

    def start(self, label: str, total: int) -> Meter:
        return _NoMeter()


@dataclass(frozen=True)
class Context:
    """What a defense may use while it is applied.

    Args:
        train: the training images; None where nothing is trained or calibrated.
        seed: an integer, or a stream of the harness's.
        checkpoint: a file that a training resumes from and writes to; None trains in one go.
        progress: where training reports.
        device: ``"cpu"``, ``"cuda"``, ...
        shared: what was found out about a network or its data, under a name and the digests that it follows from; the
            harness hands one on to all victims, so that each is found out once.
        targets: (len(train), num_classes) float32 probabilities to learn instead of the labels of `train`; None learns
            the labels.
    """

    train: Split | None = None
    seed: int | SeedStream = 0
    checkpoint: Path | None = None
    progress: Progress = field(default_factory=Silent)
    device: str = "cpu"
    shared: dict[tuple[str, ...], object] = field(default_factory=dict)
    targets: Tensor | None = None

    @property
    def seeds(self) -> SeedStream:
        """The stream to draw from."""
        return self.seed if isinstance(self.seed, SeedStream) else SeedStream(self.seed, ("defend",))

    def need_train(self, who: str) -> Split:
        """The training images.

        Raises:
            BadParameter: there are none.
        """
        if self.train is None:
            raise BadParameter(f"{who} needs training images: pass Context(train=dataset.train).")
        return self.train


class Stage(StrEnum):
    """Where in a stack a defense acts; training comes first."""

    TRAINING = "training"
    INFERENCE = "inference"


@dataclass(frozen=True)
class DefenseTraits:
    """Promises of a defense, checked by the contracts.

    Args:
        stage: when it acts.
        stochastic: two answers to the same image may differ.
        differentiable: gradients flow through it.
        softened: they don't, but attacks that need them get a differentiable stand-in.
        abstains: it may answer -1.
        off: parameters at which it does nothing, for the contract "no strength is the identity".
    """

    stage: Stage
    stochastic: bool = False
    differentiable: bool = True
    softened: bool = False
    abstains: bool = False
    off: dict[str, float | int] = field(default_factory=dict)


class Model(Plugin):
    """A configured network architecture."""

    kind = "model"

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """A network from (n, C, H, W) in [0, 1] to (n, num_classes) logits; its initial weights are never used."""
        raise NotImplementedError


class Oracle(Protocol):
    """All that an attack ever sees of the victim."""

    @property
    def threat(self) -> ThreatModel: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def input_shape(self) -> tuple[int, int, int]: ...
    @property
    def spent(self) -> int:
        """Rows answered so far."""
        ...

    @property
    def remaining(self) -> int | None:
        """Rows left of the total; None without a limit."""
        ...

    @property
    def stochastic(self) -> bool:
        """Whether the victim's answers are random: the attacker knows the defense, but not its draws."""
        ...

    @property
    def stops(self) -> tuple[int, ...]:
        """Rows per image, rising, at which the harness wants to see how far the attack had come."""
        ...

    def left(self, ids: Tensor) -> Tensor:
        """(n,) int64 rows that each of the images `ids` may still be asked, whatever is left of the total."""
        ...

    def query(self, x: Tensor, ids: Tensor) -> Answer:
        """Answer `x` (n, C, H, W) for the images `ids` (n,) int64.

        Raises:
            BudgetExceeded: before anything is answered or charged.
        """
        ...


@dataclass(frozen=True)
class AttackTraits:
    """Promises of an attack or a substitute, checked by the contracts.

    Args:
        access: the least that the oracle must answer.
        queries: it asks the oracle, so its result belongs to one victim; False makes one result serve all victims.
        control: it is a control of the board, not an attack to rank.
        null: it is the control that hands in the images as they are.
        audit: it sees the victim's gradients: never ranked, whatever access the board gives.
    """

    access: Access = Access.LABELS
    queries: bool = True
    control: bool = False
    null: bool = False
    audit: bool = False


class Crafter(Plugin):
    """Turns images into adversarial ones with the gradients of a source model."""

    kind = "crafter"

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        """Adversarial images for `x` (n, C, H, W) with true labels `y` (n,), inside the ball of `threat`."""
        raise NotImplementedError

    def informed(self, seed_data: Split) -> Crafter:
        """A crafter that may use the attacker's labelled images too; whoever has them asks for it before `craft`."""
        return self


class FittedSubstitute(NamedTuple):
    """What stands in for the victim."""

    networks: tuple[Modular, ...]
    """Trained networks, which the harness stores; `Substitute.source` makes the source model of them."""
    queries: int
    """Rows that the oracle answered for it."""


class Substitute(Plugin):
    """A way to get a source model without seeing the victim's weights."""

    kind = "substitute"

    @property
    def traits(self) -> AttackTraits:
        """Promises of this configuration."""
        raise NotImplementedError

    @property
    def nets(self) -> int:
        """How many networks `fit` returns."""
        return 1

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> FittedSubstitute:
        """Train the source model.

        Args:
            oracle: the victim's; None where the traits say that none is asked.
            seed_data: the attacker's labelled images.
            ctx: seed, checkpoint, progress and device; `train` is not given.
        """
        raise NotImplementedError

    def source(self, networks: tuple[Modular, ...], seed_data: Split, ctx: Context) -> Classifier:
        """The model to craft on, made of the trained networks; override it to join several or to add noise."""
        (network,) = networks
        return network


class AttackResult(NamedTuple):
    """What an attack hands in; whether it worked is for the harness to measure."""

    x: Tensor
    """(n, C, H, W) float32, the attacker's images."""
    queries: int
    """Rows that the oracle answered."""
    claimed: Tensor | None = None
    """(n,) bool: the images that the attack takes for misclassified; None where it claims nothing."""
    trace: Mapping[int, Tensor] = MappingProxyType({})
    """For each of ``Oracle.stops`` the images, as `x`, that the attack had when each had been asked that often."""


class BlackBoxAttack(Plugin):
    """A whole attack through the oracle.

    The harness calls it on `CHUNK` images at a time; row i of the result depends on row i of the targets alone, but
    for the draws of a stochastic victim.
    """

    kind = "attack"

    @property
    def traits(self) -> AttackTraits:
        """Promises of this configuration."""
        raise NotImplementedError

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """Attack every target."""
        raise NotImplementedError


class Targets(NamedTuple):
    """The images under attack."""

    ids: Tensor
    """(n,) int64."""
    x: Tensor
    """(n, C, H, W) float32 in [0, 1]."""
    y: Tensor
    """(n,) int64, the true labels."""


@runtime_checkable
class WhiteBox(Protocol):
    """An audit: the crafter works on the victim itself."""

    @property
    def crafter(self) -> Crafter: ...


@runtime_checkable
class TwoStage(Protocol):
    """An attack that first fits a substitute, then crafts on it: the harness keeps the two results apart."""

    @property
    def substitute(self) -> Substitute: ...
    @property
    def crafter(self) -> Crafter: ...
