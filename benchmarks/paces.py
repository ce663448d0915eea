"""How soon Square's squares should shrink: its strength by the number of candidates at which a search counts as long.

    python -m benchmarks.paces [--noise "layer-noise(snr_db=20)"]

For every length, robust accuracy of an adversarially trained net on validation images; behind noise the mean over fresh
draws, and in brackets the share of images that are right in all of them. A length of 1 follows the spent budget alone.
"""

from __future__ import annotations

from benchmarks.behind_noise import DRAWS, begin, behind, left, parser
from robustnoise.building import build
from robustnoise_attacks.query import square


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("--queries", default="2500", help="an image; several with commas (default 2500)")
    command.add_argument("--draws", default="1", help="asked about a candidate; several with commas (default 1)")
    command.add_argument("--lengths", default="1,1000,2500,10000", help="in candidates (default 1,1000,2500,10000)")
    arguments = command.parse_args()
    on = begin(arguments.net)
    victim = behind(on, arguments.noise)
    images = on.data.validation.take(arguments.images)
    of = left(on, victim, images)
    asked = DRAWS if victim.stochastic else 1
    print(f"{arguments.net}, {arguments.noise or 'no noise'}, n = {len(images)}, {asked} draws, one seed")
    lengths = [int(length) for length in arguments.lengths.split(",")]
    print(f"| queries | draws | {' | '.join(map(str, lengths))} |\n|---|---|{'---|' * len(lengths)}")
    for queries in map(int, arguments.queries.split(",")):
        for draws in arguments.draws.split(","):
            found = []
            for length in lengths:
                square.LONG = square.LONG_IN_NOISE = length
                found.append(of(build(f"square(queries={queries}, draws={draws})", "attack")))
            print(f"| {queries} | {draws} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
