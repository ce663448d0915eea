"""Attacks that aren't crafted on a source: run part by part, each with an oracle of its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from robustnoise.blocks import BLOCK, CHUNK
from robustnoise.data import Split
from robustnoise.harness.collecting import collect
from robustnoise.harness.experiment import Attack, Experiment
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import AttackResult, Meter, Targets, ThreeStage
from robustnoise.seeds import SeedStream
from robustnoise.threat import ThreatModel


def attack_all(
    attack: Attack,
    experiment: Experiment,
    threat: ThreatModel,
    *,
    seed_data: Split,
    seeds: SeedStream,
    oracle: Callable[..., CountingOracle],
    meter: Meter,
    start: Tensor | None = None,
    spent: int = 0,
) -> tuple[bytes, int]:
    """Attack every evaluation image.

    Args:
        attack: which, and its name for messages.
        experiment: its evaluation images and budget are used.
        threat: norm and radius.
        seed_data: the attacker's labelled images.
        seeds: part n draws from ``seeds.child(n)``.
        oracle: makes one from the seeds of a part and the limits of `CountingOracle`.
        meter: told of every image.
        start: (n, C, H, W) uint8, where the search of a `ThreeStage` attack begins.
        spent: queries that it took to get there.

    Returns:
        what `collect` packed, and the queries in all.
    """
    budget, split = experiment.budget, experiment.dataset.evaluation
    queries = attack.attack.traits.queries

    def part(number: int, targets: Targets) -> AttackResult:
        nonlocal spent
        own, asked = seeds.child(number), None
        if queries:
            # A part gets its share of what is left, so that the first images don't eat what the last ones need.
            share, waiting = None, len(split) - number * CHUNK
            if budget.total is not None:
                share = (budget.total - spent) * len(targets.ids) // waiting
            asked = oracle(own, total=share, per_image=budget.per_image, stops=budget.stops, ids=targets.ids)
        given = asked, seed_data, targets, threat, own.child("own").fork()
        if start is None:
            result = attack.attack.run(*given)
        else:
            assert isinstance(attack.attack, ThreeStage)
            levels = start[number * CHUNK :][: len(targets.ids)]
            result = attack.attack.search.run_from(levels.float() / 255, *given)
        spent += asked.spent if asked else 0
        return result

    # More rows keep the blocks full while more and more images are done with.
    rows, stops = (CHUNK, budget.stops) if queries else (BLOCK, ())
    return collect(attack.name, split, threat, part, rows=rows, meter=meter, stops=stops), spent
