"""The files of a new plugin package, with $name, $package and $cls to fill in."""

from __future__ import annotations

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77.0.3"]
build-backend = "setuptools.build_meta"

[project]
name = "$name"
version = "0.1.0"
description = "$description"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["robustnoise"]

[project.entry-points."robustnoise.plugins"]
$package = "$package:PLUGINS"

[tool.setuptools]
packages = ["$package"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
"""

PACKAGE = '''\
"""Names of plugins to their classes, imported at first use; keep torch out of here."""

from __future__ import annotations

from typing import Any

PLUGINS = {"$name": "$package.$kind:$cls"}


def __getattr__(name: str) -> Any:
    from robustnoise.api import lazy_attribute

    return lazy_attribute(__name__, PLUGINS, name)
'''

README = """\
# $name

A plugin of robustnoise: $description.

```sh
robustnoise check .                     # the contracts, each failure explained; works before installing, too
pip install -e .
robustnoise plugins $package/$name
pytest                                  # the contracts again, and what the $kind itself does
```

$usage
"""

DEFENSE_USAGE = """\
It composes with any other defense: `plain-training | $package/$name(strength=0.05) | vote(16)`. Change the method
`change` in `$package/defense.py`, the test of what it does, and the words in this file; `docs/plugins.md` of
robustnoise says what a defense may do.\
"""

DEFENSE = '''\
"""A defense at inference: even noise on every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from robustnoise.api import Classifier, Context, Defense, DefenseTraits, InputWrapper, Number, SeedStream, Stage
from torch import Tensor


@dataclass(frozen=True)
class $cls(Defense):
    """Adds fresh noise, even in [-strength, strength], to every pixel that it is asked about."""

    reference = ""  # where the method comes from: paper and section
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"strength": 0.0})

    strength: Annotated[Number, Field(ge=0, le=1, description="the most that a pixel moves, pixels in [0, 1]")] = 0.1

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return model if self.strength == 0 else _$cls(model, self)


class _$cls(InputWrapper):
    def __init__(self, inner: Classifier, defense: $cls) -> None:
        super().__init__(inner, defense, stochastic=True)
        self.strength = defense.strength

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        """The image that the network sees. Draw from `noise` alone, for the whole batch at once."""
        draw = torch.rand(x.shape, generator=noise.generator("$name")) * 2 - 1
        return x + self.strength * draw.to(x.device)
'''

DEFENSE_TEST = '''\
"""All that robustnoise promises its users of a defense, and what this one does."""

from __future__ import annotations

import pytest
import torch
from robustnoise.api import Context, SeedStream
from robustnoise.testing import check_plugin, toy_model

from $package import $cls


@pytest.mark.parametrize("strength", [0.0, 0.05, 1.0])
def test_contracts(strength: float) -> None:
    check_plugin($cls(strength))


def test_the_noise_is_even_and_fresh() -> None:
    defended = $cls(0.25).apply(toy_model(), Context())
    grey = torch.full((4, 1, 8, 8), 0.5)
    moved = defended.change(grey, SeedStream(0)) - grey
    assert 0.2 < moved.abs().max() <= 0.25
    # Five standard errors of the mean of 256 draws: 5 * 0.25 / sqrt(3 * 256) = 0.045.
    assert abs(moved.mean()) < 0.045
    assert not torch.equal(moved, defended.change(grey, SeedStream(1)) - grey)
'''

ATTACK_USAGE = """\
It needs nothing but labels: `robustnoise evaluate --defense plain-training --attack "$package/$name(tries=100)"`.
Change the loop in `$package/attack.py`, the test of what it does, and the words in this file; `docs/plugins.md` of
robustnoise says what an attack may do.\
"""

ATTACK = '''\
"""An attack through queries: random corners of the ball, until one is misclassified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from robustnoise.api import (
    Access,
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Oracle,
    SeedStream,
    Split,
    Targets,
    ThreatModel,
)


@dataclass(frozen=True)
class $cls(BlackBoxAttack):
    """Asks about random corners of the ball; hands in the first that is misclassified, else the last one."""

    reference = ""  # where the method comes from: paper and section

    tries: Annotated[int, Field(ge=1, le=100_000, description="the most queries for an image")] = 100

    @property
    def traits(self) -> AttackTraits:
        """See `BlackBoxAttack.traits`."""
        return AttackTraits(Access.LABELS)

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """See `BlackBoxAttack.run`; an image whose turn doesn't come before the budget ends stays as it is."""
        assert oracle is not None  # the traits say that it asks
        before, best, trace = oracle.spent, targets.x.clone(), {}
        fooled = torch.zeros(len(best), dtype=torch.bool)
        for number in range(self.tries):
            if number in oracle.stops:
                trace[number] = best.clone()
            # One draw for all images, fooled or not, so that none depends on the others.
            sign = torch.rand(best.shape, generator=seeds.generator("$name", number)).sub(0.5).sign()
            corner = threat.project(targets.x, targets.x + threat.eps * sign)
            rows = (~fooled & (oracle.left(targets.ids) > 0)).nonzero()[:, 0]
            rows = rows if oracle.remaining is None else rows[: oracle.remaining]
            if not len(rows):
                break
            labels = oracle.query(corner[rows], targets.ids[rows]).labels
            best[rows] = corner[rows]
            fooled[rows] = labels != targets.y[rows]
        return AttackResult(best, oracle.spent - before, trace={stop: trace.get(stop, best) for stop in oracle.stops})
'''

ATTACK_TEST = '''\
"""All that robustnoise promises its users of an attack, and what this one does."""

from __future__ import annotations

import pytest
import torch
from robustnoise.api import Answer, Linf, SeedStream, Targets
from robustnoise.testing import check_plugin, toy_split

from $package import $cls


@pytest.mark.parametrize("tries", [1, 20])
def test_contracts(tries: int) -> None:
    check_plugin($cls(tries))


class Bright:
    """An oracle that calls an image 1 where its first pixel is above one half, and counts."""

    num_classes, input_shape, stochastic = 2, (1, 8, 8), False
    threat, remaining, stops, spent = Linf(0.25), None, (1,), 0

    def left(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.full((len(ids),), 1000)

    def query(self, x: torch.Tensor, ids: torch.Tensor) -> Answer:
        self.spent += len(x)
        return Answer((x[:, 0, 0, 0] > 0.5).long())


def test_it_stops_at_the_first_image_that_is_misclassified() -> None:
    x, oracle = torch.full((8, 1, 8, 8), 0.45), Bright()
    targets = Targets(torch.arange(8), x, torch.zeros(8, dtype=torch.int64))
    result = $cls(100).run(oracle, toy_split(4), targets, oracle.threat, SeedStream(0))
    # Every other corner has a bright first pixel: all are found within 100 tries, after two each on average.
    assert (result.x[:, 0, 0, 0] > 0.5).all()
    assert result.queries == oracle.spent < 8 * 6
    assert result.trace[1].shape == x.shape
'''

FILES = {
    "defense": {"{package}/defense.py": DEFENSE, "tests/test_defense.py": DEFENSE_TEST},
    "attack": {"{package}/attack.py": ATTACK, "tests/test_attack.py": ATTACK_TEST},
}
USAGE = {"defense": DEFENSE_USAGE, "attack": ATTACK_USAGE}
DESCRIPTIONS = {
    "defense": "even noise on every pixel, at inference",
    "attack": "random corners of the ball, by labels alone",
}
