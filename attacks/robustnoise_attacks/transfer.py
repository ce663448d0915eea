"""Craft on a substitute, hope for the victim."""

from __future__ import annotations

from dataclasses import dataclass

from robustnoise.api import (
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Context,
    Crafter,
    Oracle,
    SeedStream,
    Split,
    Substitute,
    Targets,
    ThreatModel,
)


@dataclass(frozen=True)
class TransferAttack(BlackBoxAttack):
    """Fit a substitute, craft on it with gradients, hand in the result: the victim is asked by the substitute alone."""

    reference = "Papernot et al. 2017, arXiv 1602.02697"

    substitute: Substitute
    crafter: Crafter

    @property
    def traits(self) -> AttackTraits:
        """Those of the substitute."""
        return self.substitute.traits

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """See `BlackBoxAttack.run`."""
        ctx = Context(seed=seeds.child("substitute"))
        before = oracle.spent if oracle else 0
        source = self.substitute.source(self.substitute.fit(oracle, seed_data, ctx), seed_data, ctx)
        crafter = self.crafter.informed(seed_data)
        x = crafter.craft(source, targets.x, targets.y, threat, seeds.child("craft"))
        return AttackResult(x, oracle.spent - before if oracle else 0)
