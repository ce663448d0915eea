"""What work is done in: where it reports, its data, streams, device and checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from robustnoise.errors import BadParameter
from robustnoise.seeds import SeedStream

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from robustnoise.data import Split


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
