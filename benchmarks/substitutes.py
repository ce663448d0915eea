"""How well does a substitute learn from labels alone, and does it pay to ask a noisy victim several times?

    python -m benchmarks.substitutes

The victim is a small-cnn trained on 10,000 images of MNIST, undefended in the first table, with noise at inference in
the second. Substitutes are `jacobian` from 150 images and 6 rounds. The first may ask 9,600 labels, all that it wants;
in the second table there are 4,800 answers in all, and each label is the majority of r of them: the larger r is, the
fewer labels there are. Agreement is the share of validation images to which substitute and victim give the same label,
of a noisy victim the most frequent one of 51 draws. The victim's errors are over all evaluation images (the mean of 20
fresh draws, where it has noise), after the attack on the substitute at l-infinity 0.3 and rounding to 8 bit. Shown is
the mean over seeds of the substitute, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robustnoise.blocks import predict_blocks, to_tensor
from robustnoise.building import build
from robustnoise.data import Dataset, Split, SplitSizes, load_dataset
from robustnoise.models.fresh import create
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Classifier, Context
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf

BUDGET, NOISY_BUDGET = 9600, 4800
THREAT = Linf(0.3, Access.LABELS)
MAJORITY, DRAWS = 51, 20
HEAD = "| {} | labels | agreement % | victim's errors % under FGSM | under PGD-40 |\n| --- | --- | --- | --- | --- |"


class Result(NamedTuple):
    """Of one substitute; shares are in percent."""

    labels: int
    agreement: float
    fgsm: float
    pgd: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="validation and evaluation images (default 1000)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the substitutes (default 3)")
    parser.add_argument("--noise", default="layer-noise(6)", help="the defense of the second victim")
    parser.add_argument("--repeats", default="1,5,21", help="answers for a label (default 1,5,21)")
    parser.add_argument("--only", choices=["undefended", "noisy"], help="one table alone")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = load_dataset("mnist", sizes=SplitSizes(10_000))
    base = build("plain-training", "defense").apply(create("small-cnn"), Context(data.train, 0))
    n, seeds = arguments.images, range(arguments.seeds)
    print(f"n = {n} images, {len(seeds)} seeds, clean accuracy {100 - _errors(base, data.evaluation, n):.1f} %")
    if arguments.only != "noisy":
        print(HEAD.format("victim"))
        _row("undefended", [_measure(base, data, n, 1, seed) for seed in seeds])
    if arguments.only == "undefended":
        return
    noisy = build(arguments.noise, "defense").apply(base, Context(data.train, 0))
    _, other = _majority(noisy, _floats(data.validation, n))
    print(f"{arguments.noise}: {other:.1f} % of single answers differ from the majority of {MAJORITY}; ", end="")
    print(f"clean accuracy {100 - _errors(noisy, data.evaluation, n):.1f} %")
    print(HEAD.format("answers for a label"), flush=True)
    for repeats in map(int, arguments.repeats.split(",")):
        _row(str(repeats), [_measure(noisy, data, n, repeats, seed) for seed in seeds])


def _row(name: str, results: Sequence[Result]) -> None:
    def cell(values: Sequence[float]) -> str:
        return f"{sum(values) / len(values):.1f} ({min(values):.1f} to {max(values):.1f})"

    shares = " | ".join(cell([r[k] for r in results]) for k in (1, 2, 3))
    print(f"| {name} | {results[0].labels} | {shares} |", flush=True)


def _measure(victim: Classifier, data: Dataset, n: int, repeats: int, seed: int) -> Result:
    substitute = build(f"jacobian(repeats={repeats})", "substitute")
    oracle = CountingOracle(
        victim, THREAT, SeedStream(seed, ("oracle",)), total=NOISY_BUDGET if victim.stochastic else BUDGET
    )
    ctx = Context(seed=SeedStream(seed, ("substitute",)))
    source = substitute.source(substitute.fit(oracle, data.attacker, ctx), data.attacker, ctx)
    x = _floats(data.validation, n)
    theirs = predict_blocks(source, x, SeedStream(0)).labels
    agreement = 100 * (theirs == _majority(victim, x)[0]).float().mean().item()
    fgsm, pgd = (_errors(victim, data.evaluation, n, source, crafter, seed) for crafter in ("fgsm", "pgd"))
    return Result(oracle.spent // (repeats if victim.stochastic else 1), agreement, fgsm, pgd)


def _majority(victim: Classifier, x: Tensor) -> tuple[Tensor, float]:
    """The victim's most frequent labels, and how often, in percent, one answer isn't that."""
    draws = MAJORITY if victim.stochastic else 1
    each = torch.stack([predict_blocks(victim, x, SeedStream(k, ("majority",))).labels for k in range(draws)])
    labels = each.mode(0).values
    return labels, 100 * (each != labels).float().mean().item()


def _errors(
    victim: Classifier, split: Split, n: int, source: Classifier | None = None, crafter: str = "", seed: int = 0
) -> float:
    """Percent of the first `n` images that the victim gets wrong, after an attack on `source` where there is one."""
    x, y, levels = _floats(split, n), to_tensor(split.labels[:n]), to_tensor(split.images[:n])
    if source is not None:
        crafted = build(crafter, "crafter").craft(source, x, y, THREAT, SeedStream(seed, ("craft",)))
        x = THREAT.to_levels(levels, crafted).float() / 255
    draws = DRAWS if victim.stochastic else 1
    wrong = [predict_blocks(victim, x, SeedStream(k, ("score",))).labels != y for k in range(draws)]
    return 100 * torch.stack(wrong).float().mean().item()


def _floats(split: Split, n: int) -> Tensor:
    return torch.from_numpy(split.floats(0, n))


if __name__ == "__main__":
    main()
