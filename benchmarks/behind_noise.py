"""What attacks that ask leave of a net behind noise.

    python -m benchmarks.behind_noise "square(queries=2500)" "nes(tile=4)" --noise "layer-noise(snr_db=20)"

For every attack, robust accuracy of an adversarially trained net on validation images, without the noise and with it:
the mean over fresh draws, and in brackets the share of images that are right in all of them.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import torch

from benchmarks.board_speed import ROBUST
from benchmarks.nets import NETS, Case, case
from benchmarks.timing import one_thread
from robustnoise.blocks import predict_blocks, to_tensor
from robustnoise.building import build
from robustnoise.compose import Defense
from robustnoise.data import Split
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import BlackBoxAttack, Classifier, Context, Targets
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf

DRAWS = 20


def parser(description: str | None) -> argparse.ArgumentParser:
    """Of a command that asks a net behind noise."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--net", default=ROBUST, choices=NETS, help=f"default: {ROBUST}")
    made.add_argument("--noise", default="", help="a defense behind which the net answers; default: none")
    made.add_argument("--images", type=int, default=256, help="validation images (default 256)")
    return made


def begin(net: str) -> Case:
    """The net, alone on one thread."""
    warnings.filterwarnings("ignore")
    one_thread()
    return case(net, 1)


def behind(on: Case, noise: str) -> Classifier:
    """The net behind a defense; as it is where there is none."""
    if not noise:
        return on.model
    defense: Defense = build(noise, "defense")
    return defense.apply(on.model, Context(train=on.data.train, seed=0))


def left(on: Case, victim: Classifier, split: Split) -> Callable[[BlackBoxAttack], str]:
    """Tells what an attack on these images leaves of a victim."""
    y = to_tensor(split.labels)
    targets = Targets(to_tensor(split.ids), torch.from_numpy(split.floats()), y)
    threat = Linf(on.eps, Access.SCORES)

    def of(attack: BlackBoxAttack) -> str:
        oracle = CountingOracle(victim, threat, SeedStream(0))
        result = attack.run(oracle, on.data.attacker, targets, threat, SeedStream(0, ("attack",)))
        levels = threat.to_levels(to_tensor(split.images), result.x).float() / 255
        draws = range(DRAWS if victim.stochastic else 1)
        right = torch.stack([predict_blocks(victim, levels, SeedStream(7, (t,))).labels == y for t in draws]).double()
        always = f" ({100 * (right.mean(0) == 1).double().mean():.1f})" if victim.stochastic else ""
        return f"{100 * right.mean():.1f}{always}"

    return of


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("attacks", nargs="+", help='such as "square(queries=2500)"')
    arguments = command.parse_args()
    attacks: list[BlackBoxAttack] = [build(text, "attack") for text in arguments.attacks]
    on = begin(arguments.net)
    images = on.data.validation.take(arguments.images)
    noises = dict.fromkeys(["", arguments.noise])
    print(f"{arguments.net}, n = {len(images)}, {DRAWS} draws of a random victim, one seed")
    print(f"| attack | {' | '.join(noise or 'no noise' for noise in noises)} |\n|---|{'---|' * len(noises)}")
    ways = [left(on, behind(on, noise), images) for noise in noises]
    for text, attack in zip(arguments.attacks, attacks, strict=True):
        print(f"| `{text}` | {' | '.join(way(attack) for way in ways)} |", flush=True)


if __name__ == "__main__":
    main()
