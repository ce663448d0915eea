"""Whether query attacks on a noisy victim claim what is true: the images they claim, asked again in fresh draws.

    python -m benchmarks.claims

The victim is the undefended net of the quickstart board behind Gaussian noise on the image; the attacks never see the
draws that check them. A decision attack declares a rate of wrong answers as its confidence (one half by default), a
score attack one half; the images it claims must be wrong at that rate or more, within the 95 % interval of their mean.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from robustnoise import stats
from robustnoise.blocks import CHUNK, predict_blocks, to_tensor
from robustnoise.board import find_board, load_board
from robustnoise.building import build
from robustnoise.cli.caching import open_store
from robustnoise.cli.progress import bars
from robustnoise.harness.bench import Bench
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Classifier, Context, Targets
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf

EPS = 0.3
ATTACKS = {
    "rays": Access.LABELS, "hop-skip-jump": Access.LABELS, "sign-flip": Access.LABELS,
    "square": Access.SCORES, "nes": Access.SCORES, "simba": Access.SCORES,
}  # fmt: skip
RATE = 0.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="evaluation images (default 100)")
    parser.add_argument("--queries", type=int, default=2000, help="an image (default 2000)")
    parser.add_argument("--draws", type=int, default=200, help="fresh ones that check a claim (default 200)")
    parser.add_argument("--sigmas", default="0.01,0.05,0.1", help="of the noise, pixels (default 0.01,0.05,0.1)")
    parser.add_argument("--victim", default="baseline", help="of the quickstart board (default baseline)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    experiment = load_board(find_board("quickstart")).experiment()
    with bars() as progress:
        bench = Bench(experiment, open_store(), progress)
        net = bench.classifier(next(v for v in experiment.victims if v.name == arguments.victim))
    data = experiment.dataset
    images, n = data.evaluation.take(arguments.images), arguments.images
    x, y = torch.from_numpy(images.floats()), to_tensor(images.labels)
    print(f"victim: {arguments.victim} of quickstart, n = {n}, {arguments.queries} queries an image, l-infinity {EPS}")
    print("| attack | sigma | clean | robust | claimed | wrong when asked again | 95 % interval | holds |")
    print("|---|---|---|---|---|---|---|---|")
    for sigma in arguments.sigmas.split(","):
        noise = build(f"gaussian-input-noise(sigma={sigma})", "defense")
        victim = noise.apply(net, Context(train=data.train, seed=0))
        clean = _wrong(victim, x, y, 20)
        for name, access in ATTACKS.items():
            threat, seeds = Linf(EPS, access), SeedStream(0, ("claims", name, sigma))
            oracle = CountingOracle(victim, threat, seeds.child("oracle"), per_image=arguments.queries)
            found, claimed = [], []
            for start in range(0, n, CHUNK):
                part = slice(start, min(start + CHUNK, n))
                targets = Targets(torch.arange(n)[part], x[part], y[part])
                result = build(name, "attack").run(oracle, data.attacker, targets, threat, seeds.child("attack"))
                found.append(threat.to_levels(to_tensor(images.images)[part], result.x).float() / 255)
                assert result.claimed is not None
                claimed.append(result.claimed)
            rates = _wrong(victim, torch.cat(found), y, arguments.draws)
            of = rates[torch.cat(claimed).numpy()]
            told = f"{100 * of.mean():.1f} | " if len(of) else "- | "
            holds = "-"
            if len(of):
                interval = stats.mean_interval(of, SeedStream(0).numpy(name, sigma))
                told += f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}] (least {100 * of.min():.1f})"
                holds = "yes" if interval.high >= RATE else "NO"
            else:
                told += "-"
            print(
                f"| {name} | {sigma} | {100 - 100 * clean.mean():.1f} | {100 - 100 * rates.mean():.1f} | {len(of)} "
                f"| {told} | {holds} |",
                flush=True,
            )


def _wrong(victim: Classifier, x: torch.Tensor, y: torch.Tensor, draws: int) -> stats.Floats:
    """(n,) share of fresh draws in which each image is answered wrongly."""
    seeds = SeedStream(1, ("claims", "fresh"))
    wrong = [(predict_blocks(victim, x, seeds.child(draw)).labels != y).numpy() for draw in range(draws)]
    return np.asarray(np.mean(wrong, axis=0), np.float64)


if __name__ == "__main__":
    main()
