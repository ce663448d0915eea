"""What noise costs: 16 noisy passes against 16 noise-free ones, on the same images, in one process and one precision.

    python benchmarks/noise_speed.py

Prints the median speed of noisy passes as a share of the noise-free speed, for this package and for a naive loop (a
forward hook that adds `randn_like`), and checks that both add noise of the asked power.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import robustnoise as rn
from robustnoise.allocator import keep_memory
from robustnoise.building import build
from robustnoise.protocols import Classifier, Context
from robustnoise.seeds import SeedStream

NETS = {
    "madry-mnist": (1, 28, 28),
    "norm-cnn": (1, 28, 28),
    "resnet9(width=16)": (3, 32, 32),
    "resnet9(width=32)": (3, 32, 32),
}
NOISE = "layer-noise(snr_db=0, power=sample)"
PASSES = 16
IMAGES = 128


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="timings of each; their median counts (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_memory()
    print(f"{NOISE}, {PASSES} passes over {IMAGES} images, float32, {arguments.threads} threads")
    print(f"{'network':20} {'noise-free':>12} {'noisy':>12} {'naive loop':>12}   share of the noise-free speed")
    for name, shape in NETS.items():
        clean, noisy, naive = compare(name, shape, arguments.rounds)
        print(
            f"{name:20} {clean * 1000:9.1f} ms {noisy * 1000:9.1f} ms {naive * 1000:9.1f} ms   "
            f"{clean / noisy:.2f} (naive loop {clean / naive:.2f})"
        )


def compare(name: str, shape: tuple[int, int, int], rounds: int) -> tuple[float, float, float]:
    """Median seconds of the noise-free, the noisy and the naively noisy passes, taken in turns."""
    model = rn.models.create(name, shape)
    noisy = build(NOISE, "defense").apply(model, Context())
    x = torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    check_power(model, noisy, x)

    def passes(classifier: Classifier) -> Callable[[], None]:
        def run() -> None:
            for t in range(PASSES):
                classifier.predict(x, noise=SeedStream(0, (t,)))

        return run

    def naively() -> None:
        hooks = [
            layer.register_forward_hook(_add_naively)
            for layer in model.module.modules()
            if isinstance(layer, nn.Linear | nn.Conv2d)
        ]
        passes(model)()
        for hook in hooks:
            hook.remove()

    contestants = [passes(model), passes(noisy), naively]
    times: list[list[float]] = [[], [], []]
    for _ in range(rounds + 1):
        for run, taken in zip(contestants, times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    clean, own, naive = (statistics.median(taken[1:]) for taken in times)  # the first round warms up
    return clean, own, naive


def _add_naively(_layer: nn.Module, _inputs: object, out: Tensor) -> Tensor:
    sigma = out.square().mean(tuple(range(1, out.dim())), keepdim=True).sqrt()
    return out + sigma * torch.randn_like(out)


def check_power(model: rn.models.TorchClassifier, noisy: Classifier, x: Tensor) -> None:
    """Both do the same work: noise on the last product alone has the power of the logits."""
    last = [name for name, layer in model.module.named_modules() if isinstance(layer, nn.Linear)][-1]
    alone = build(f'layer-noise(snr_db=0, power=sample, layers="{last}")', "defense").apply(model, Context())
    plain = model.predict(x, noise=SeedStream(0)).logits
    assert plain is not None
    total = torch.zeros(())
    for t in range(20):
        logits = alone.predict(x, noise=SeedStream(1, (t,))).logits
        assert logits is not None
        total += (logits - plain).square().mean() / 20
    ratio = (total / plain.square().mean()).item()
    assert abs(ratio - 1) < 0.05, f"noise power is {ratio:.3f} of the signal's; expected 1"
    assert noisy.stochastic


if __name__ == "__main__":
    main()
