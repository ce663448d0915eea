"""Two substitutes attacked together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from robustnoise.api import (
    AttackTraits,
    Classifier,
    Combine,
    Context,
    Ensemble,
    Modular,
    Oracle,
    Split,
    Substitute,
)
from robustnoise_attacks.substitutes.parts import forget, part


@dataclass(frozen=True)
class BothSubstitutes(Substitute):
    """Fits two substitutes, of any kinds, and attacks them together; nest it for more than two.

    If both ask the victim, the first is served first, and the second has what is left of the budget. Substitutes that
    are ensembles and average the same thing are taken apart, so that every network weighs the same.
    """

    reference = "Liu et al. 2017, arXiv 1611.02770, section 5 (ensemble-based approaches)"

    first: Substitute
    second: Substitute
    combine: Annotated[Combine, Field(description="what is averaged over the two")] = "losses"

    @property
    def traits(self) -> AttackTraits:
        """What the more demanding of the two needs."""
        each = [s.traits for s in (self.first, self.second)]
        return AttackTraits(max(t.access for t in each), queries=any(t.queries for t in each))

    @property
    def nets(self) -> int:
        """See `Substitute.nets`."""
        return self.first.nets + self.second.nets

    def fit(self, oracle: Oracle | None, seed_data: Split, ctx: Context) -> tuple[Modular, ...]:
        """See `Substitute.fit`."""
        parts = [part(ctx, name) for name in ("first", "second")]
        a, b = (
            substitute.fit(oracle if substitute.traits.queries else None, seed_data, own)
            for substitute, own in zip((self.first, self.second), parts, strict=True)
        )
        forget(parts)
        return a + b

    def source(self, networks: tuple[Modular, ...], seed_data: Split, ctx: Context) -> Classifier:
        """See `Substitute.source`."""
        cut = self.first.nets
        a = self.first.source(networks[:cut], seed_data, part(ctx, "first"))
        b = self.second.source(networks[cut:], seed_data, part(ctx, "second"))
        return Ensemble((a, b), self.combine)
