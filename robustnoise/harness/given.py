"""Images that somebody hands in, instead of an attack that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from robustnoise.blocks import BLOCK, pad
from robustnoise.data.dataset import Images
from robustnoise.errors import BadParameter, BadSubmission, MissingCapability
from robustnoise.protocols import AttackResult, AttackTraits, BlackBoxAttack, Oracle, Targets
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of
from robustnoise.threat import Access, Budget, ThreatModel

ALL = ""
"""Stands for every victim, where all get the same images."""


@dataclass(frozen=True)
class GivenImages(BlackBoxAttack):
    """Stands in records for images that were handed in: its one parameter is their digest."""

    unlisted = "given-images"

    digest: str

    @property
    def traits(self) -> AttackTraits:
        """Nothing is asked here: what was asked before is claimed and not measured."""
        return AttackTraits(queries=False)

    def run(
        self, oracle: Oracle | None, seed_data: object, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """Refused: the harness looks such images up.

        Raises:
            MissingCapability: always.
        """
        raise MissingCapability("images that were handed in can't be made again; hand them in with 'board submit'.")


@dataclass(frozen=True)
class Given:
    """What was handed in.

    Args:
        scope: as `Attack.scope`: ``"shared"``, ``"per-victim"`` or ``"audit"``.
        text: in a few words, for tables and reports.
        submitted: who hands it in and how it was made, JSON, for records.
        digests: sha256 of the images by victim, or under `ALL`.
        images: uint8 (n, C, H, W) in the order of the evaluation images, by victim or under `ALL`; None where they are
            expected to be in the store already.
    """

    scope: str
    text: str
    submitted: Mapping[str, Any]
    digests: Mapping[str, str]
    images: Mapping[str, Images] | None = field(default=None, compare=False, repr=False)

    @property
    def attack(self) -> GivenImages:
        """What stands for them."""
        return GivenImages(digest_of(dict(self.digests)))

    def digest(self, victim: str) -> str:
        """That of the images for `victim`.

        Raises:
            BadSubmission: there are none.
        """
        found = self.digests.get(victim, self.digests.get(ALL))
        if found is None:
            raise BadSubmission(
                f"no images were handed in for victim {victim!r}; there are some for {', '.join(self.digests)}."
            )
        return found

    def block(self, victim: str, number: int) -> AttackResult:
        """Block `number` of the images for `victim`.

        Raises:
            BadSubmission: they are not here.
        """
        if self.images is None:
            raise BadSubmission(
                f"the images handed in for {victim!r} ({self.digest(victim)[:12]}...) are neither in the store nor "
                "beside the row. Get the submission's folder and give it with --submission."
            )
        images = self.images.get(victim, self.images.get(ALL))
        assert images is not None
        part = torch.from_numpy(images[number * BLOCK : (number + 1) * BLOCK].astype("float32")) / 255
        return AttackResult(pad(part), 0)


def claims_within(scope: str, submitted: Mapping[str, Any], threat: ThreatModel, budget: Budget) -> bool:
    """Whether the card of handed-in images claims no more access and queries than are given.

    Args:
        scope: that of the attack; images for single victims must claim every kind of query that is limited.
        submitted: as in records.
        threat: gives the access.
        budget: gives the queries.
    """
    try:
        card = submitted["card"]
        if Access.parse(card["access"]) > threat.access:
            return False
        if scope != "per-victim":
            return True
        limits = {"per_image": budget.per_image, "total": budget.total}
        claimed = card["queries"]
        return all(claimed[k] is not None and claimed[k] <= most for k, most in limits.items() if most is not None)
    except (KeyError, TypeError, AttributeError, BadParameter):
        return False
