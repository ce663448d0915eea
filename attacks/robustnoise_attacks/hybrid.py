"""Craft on a substitute, then go on from there with a search through the victim's answers."""

from __future__ import annotations

from dataclasses import dataclass

from robustnoise.api import (
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Crafter,
    Oracle,
    SearchAttack,
    SeedStream,
    Split,
    Substitute,
    Targets,
    ThreatModel,
)
from robustnoise_attacks.transfer import TransferAttack


@dataclass(frozen=True)
class HybridAttack(BlackBoxAttack):
    """A transfer attack whose images are where a search begins: what the substitute knows, the search needn't ask.

    The budget for an image is the search's alone, as a substitute asks for all images together; a total is for both,
    and the search shares out what the substitute has left.
    """

    reference = "Suya, Chi, Evans, Tian 2020, arXiv 1908.07000 (hypothesis 1: local adversarial examples as starts)"

    substitute: Substitute
    crafter: Crafter
    search: SearchAttack

    @property
    def traits(self) -> AttackTraits:
        """The search's, and access to what the substitute asks for."""
        return AttackTraits(access=max(self.search.traits.access, self.substitute.traits.access))

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """See `BlackBoxAttack.run`."""
        first = TransferAttack(self.substitute, self.crafter)
        asked = oracle if self.substitute.traits.queries else None
        begun = first.run(asked, seed_data, targets, threat, seeds.child("first"))
        found = self.search.run_from(begun.x, oracle, seed_data, targets, threat, seeds.child("search"))
        return found._replace(queries=begun.queries + found.queries)
