"""What do defenses at inference do to one undefended net, under query attacks and under an audit?

    python -m benchmarks.defenses

The net is a small-cnn, trained on mnist-5k without any defense. Square and NES on tiles see scores, RayS labels, and
each asks 300 times an image; the audit sees the gradients of the whole stack and averages them over 8 draws. A defense
that only Square respects hides something; one that the others and the audit respect, too, may be a defense.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import torch

import robustnoise as rn
from robustnoise.data import SplitSizes

DEFENSES = (
    "identity",
    "gaussian-input-noise(0.05)",
    "random-resize",
    "jpeg(50)",
    "bit-depth(1)",
    "median-smoothing(3)",
    "output-noise(1.0)",
    "rounding(2)",
    "rounding(1)",
    "aaa",
)
QUERIES = 300
ATTACKS = (
    f"square(queries={QUERIES})",
    f"nes(queries={QUERIES}, tile=4, samples=50, sigma=0.1, relative_step=2)",
    f"rays(queries={QUERIES})",
    "audit(pgd(steps=20, eot=8))",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="evaluation images (default 200)")
    parser.add_argument("--eps", type=float, default=0.15, help="l-infinity radius (default 0.15)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default 1)")
    parser.add_argument(
        "--defense", nargs="*", default=DEFENSES, help="stages of inference (default: those of the docs)"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = rn.load_dataset("mnist-5k", sizes=SplitSizes())
    data = replace(data, evaluation=data.evaluation.take(options.images))
    training = rn.build("plain-training(epochs=8, batch_size=50)", "defense")
    fresh = rn.models.create("small-cnn", data.input_shape, data.num_classes)
    net = training.apply(fresh, rn.Context(train=data.train, seed=0))
    print(f"{options.images} images, l-infinity {options.eps:g}, per cent right")
    print("| defense | clean | Square | NES | RayS | audit |\n|---|---|---|---|---|---|")
    for text in options.defense:
        victim = rn.build(text, "defense").apply(net, rn.Context(train=data.train, seed=0))
        cells: list[float] = []
        for attack in ATTACKS:
            record = rn.evaluate(
                victim,
                rn.build(attack, "attack"),
                data=data,
                threat=rn.Linf(options.eps, access=rn.Access.SCORES),
                budget=rn.Budget(per_image=QUERIES),
                draws=5,
                threads=options.threads,
            )
            assert record.victim.adversarial is not None
            clean = record.victim.clean.accuracy
            cells.append(record.victim.adversarial.accuracy)
        shown = " | ".join(f"{100 * share:.1f}" for share in (clean, *cells))
        print(f"| {'none' if text == 'identity' else f'`{text}`'} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
