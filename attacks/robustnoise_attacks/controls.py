"""The floor of every board: what an attack must beat before it means anything."""

from __future__ import annotations

from dataclasses import dataclass

from robustnoise.api import AttackResult, AttackTraits, BlackBoxAttack, Oracle, SeedStream, Split, Targets, ThreatModel
from robustnoise_attacks.gradient.engine import uniform_in_ball


@dataclass(frozen=True)
class NullAttack(BlackBoxAttack):
    """Hands in the images as they are: what is lost under it is lost to the draws of the noise, not to an attack."""

    @property
    def traits(self) -> AttackTraits:
        """A control that asks nothing."""
        return AttackTraits(queries=False, control=True, null=True)

    def run(
        self,
        oracle: Oracle | None,
        seed_data: Split,
        targets: Targets,
        threat: ThreatModel,
        seeds: SeedStream,
    ) -> AttackResult:
        """See `BlackBoxAttack.run`."""
        return AttackResult(targets.x.clone(), 0)


@dataclass(frozen=True)
class RandomNoiseAttack(BlackBoxAttack):
    """A uniform random point of the ball, without looking at anything."""

    @property
    def traits(self) -> AttackTraits:
        """A control that asks nothing."""
        return AttackTraits(queries=False, control=True)

    def run(
        self,
        oracle: Oracle | None,
        seed_data: Split,
        targets: Targets,
        threat: ThreatModel,
        seeds: SeedStream,
    ) -> AttackResult:
        """See `BlackBoxAttack.run`."""
        perturbation = uniform_in_ball(targets.x, threat, seeds.generator("noise"))
        return AttackResult(threat.project(targets.x, targets.x + perturbation), 0)
