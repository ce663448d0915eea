"""Adversarially trained nets that ship with robustnoise, so that comparing against them takes a minute.

`table.toml` says of each how it was trained and what it stands; `python -m tools.baselines` makes and measures it all.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from robustnoise.api import BadParameter, Classifier, Context, Defense, DefenseTraits, Stage, did_you_mean
from robustnoise_defenses.plain import Pretrained

HERE = Path(__file__).parent


class Card(BaseModel):
    """What is known of a shipped net.

    Args:
        file: beside this module.
        sha256: of the file.
        model: its architecture.
        training: the stack that trained it.
        data: the data set.
        train: how many of its training images, as `SplitSizes(train)` picks them.
        seed: of the training and of the split.
        eps: the l-infinity radius that it was trained and measured at.
        n: test images that it was measured on.
        clean: accuracy on them, per cent.
        attack: the white-box crafter that it was measured under.
        robust: accuracy under it, per cent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    sha256: str
    model: str
    training: str
    data: str
    train: int
    seed: int
    eps: float
    n: int
    clean: float
    attack: str
    robust: float


@cache
def cards() -> dict[str, Card]:
    """The shipped nets by name."""
    content = tomllib.loads((HERE / "table.toml").read_text(encoding="utf-8"))
    return {name: Card.model_validate(card) for name, card in content.items()}


@dataclass(frozen=True)
class Baseline(Defense):
    """A shipped, adversarially trained net in place of a training: ``baseline(mnist-pgd) | layer-noise(30)``.

    docs/defenses.md lists them with the recipe and the accuracy of each.
    """

    traits = DefenseTraits(Stage.TRAINING, ready=True)

    net: Annotated[str, Field(description="one of the shipped nets: docs/defenses.md")]

    def check(self) -> None:
        """Refuse a name that isn't one."""
        if self.net not in cards():
            raise BadParameter(
                f"baseline: no shipped net {self.net!r}; expected one of {', '.join(cards())}."
                f"{did_you_mean(self.net, list(cards()))}"
            )

    def train(self, model: Classifier, ctx: Context, stages: Sequence[Defense]) -> Classifier:
        """The shipped net, whatever architecture `model` has, if it takes the same images and classes."""
        card = cards()[self.net]
        shipped = Pretrained(str(HERE / card.file), card.sha256)
        return shipped.train(model, ctx, [shipped, *(s for s in stages if s is not self)])

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `train`."""
        return self.train(model, ctx, (self,))
