"""What an attack sees, and what attacks and their parts promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from robustnoise.protocols.classifiers import Answer, Classifier, Modular
from robustnoise.protocols.context import Context
from robustnoise.seeds import SeedStream
from robustnoise.spec import Plugin
from robustnoise.threat import Access, ThreatModel

if TYPE_CHECKING:
    from torch import Tensor

    from robustnoise.data import Split


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

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> tuple[Modular, ...]:
        """Train what stands in for the victim.

        Args:
            oracle: the victim's; None where the traits say that none is asked.
            seed_data: the attacker's labelled images.
            ctx: seed, checkpoint, progress and device; `train` is not given.

        Returns:
            the trained networks, which are stored; `source` makes the source model of them.
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
