"""How soon Square's squares should shrink: its strength by the number of candidates at which a search counts as long.

    python -m benchmarks.paces [--noise "layer-noise(snr_db=20)"]

For every length, robust accuracy of an adversarially trained net on validation images: the mean over fresh draws, and
in brackets the share of images that are right in all of them. A length of 1 follows the spent budget alone.
"""

from __future__ import annotations

import argparse
import warnings

import torch

from benchmarks.board_speed import ROBUST
from benchmarks.nets import NETS, case
from benchmarks.timing import one_thread
from robustnoise.blocks import predict_blocks, to_tensor
from robustnoise.building import build
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Classifier, Context, Targets
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf
from robustnoise_attacks.query import square

DRAWS = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default=ROBUST, choices=NETS, help=f"default: {ROBUST}")
    parser.add_argument("--noise", default="", help="a defense behind which the net answers; default: none")
    parser.add_argument("--images", type=int, default=256, help="validation images (default 256)")
    parser.add_argument("--queries", default="2500", help="an image; several with commas (default 2500)")
    parser.add_argument("--draws", default="1", help="asked about a candidate; several with commas (default 1)")
    parser.add_argument("--lengths", default="1,1000,2500,10000", help="in candidates (default 1,1000,2500,10000)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    one_thread()
    on = case(arguments.net, 1)
    victim: Classifier = on.model
    if arguments.noise:
        victim = build(arguments.noise, "defense").apply(on.model, Context(train=on.data.train, seed=0))
    images = on.data.validation.take(arguments.images)
    x, y = torch.from_numpy(images.floats()), to_tensor(images.labels)
    threat = Linf(on.eps, Access.SCORES)
    attacker = on.data.attacker
    asked = DRAWS if victim.stochastic else 1
    print(f"{arguments.net}, {arguments.noise or 'no noise'}, n = {len(y)}, {asked} draws, one seed")
    lengths = [int(length) for length in arguments.lengths.split(",")]
    print(f"| queries | draws | {' | '.join(map(str, lengths))} |\n|---|---|{'---|' * len(lengths)}")
    for queries in map(int, arguments.queries.split(",")):
        for draws in arguments.draws.split(","):
            found = []
            for length in lengths:
                square.LONG = square.LONG_IN_NOISE = length
                oracle = CountingOracle(victim, threat, SeedStream(0), per_image=queries)
                attack = build(f"square(queries={queries}, draws={draws})", "attack")
                seeds = SeedStream(0, ("attack",))
                result = attack.run(oracle, attacker, Targets(to_tensor(images.ids), x, y), threat, seeds)
                levels = threat.to_levels(to_tensor(images.images), result.x).float() / 255
                right = torch.stack(
                    [predict_blocks(victim, levels, SeedStream(7, (t,))).labels == y for t in range(asked)]
                ).double()
                found.append(f"{100 * right.mean():.1f} ({100 * (right.mean(0) == 1).double().mean():.1f})")
            print(f"| {queries} | {draws} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
