"""The attacker who sees everything but the draws of the noise."""

from __future__ import annotations

from dataclasses import dataclass

from robustnoise.api import (
    Access,
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Crafter,
    MissingCapability,
    Oracle,
    SeedStream,
    Split,
    Targets,
    ThreatModel,
)


@dataclass(frozen=True)
class AuditAttack(BlackBoxAttack):
    """Crafts with the gradients of the victim itself, its whole stack included, and is therefore never ranked.

    It tells whether a black-box result is to be believed: a victim that an audit breaks and no other attack does hides
    its gradients. The harness hands it the victim; there is no oracle in it, and nothing is asked.
    """

    reference = "Athalye, Carlini & Wagner 2018, arXiv 1802.00420; Croce & Hein 2020, arXiv 2003.01690"

    crafter: Crafter

    @property
    def traits(self) -> AttackTraits:
        """An audit, by gradients."""
        return AttackTraits(access=Access.GRADIENTS, queries=False, audit=True)

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """Refuses: an audit is about a victim that no oracle gives away.

        Raises:
            MissingCapability: always.
        """
        raise MissingCapability(
            "audit: crafts on the victim itself, which an oracle hides. Evaluate it on a board or with "
            "robustnoise.evaluate, or call crafter.craft(victim, x, y, threat, seeds)."
        )
