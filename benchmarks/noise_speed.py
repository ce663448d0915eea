"""What noise costs: 16 noisy passes against 16 noise-free ones, on the same images, in one process and one precision.

    python -m benchmarks.noise_speed

Prints the speed of noisy passes as a share of the noise-free speed, for this package, for passes whose noise costs
nothing but its random numbers, and for a naive loop (a forward hook that adds `randn_like`); checks that the noise has
the asked power. One thread, CPU time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

import robustnoise as rn
from benchmarks.goals import Goal, Report
from benchmarks.timing import Seconds, in_turns, milliseconds, one_thread, ratio, told
from robustnoise.building import build
from robustnoise.protocols import Classifier, Context
from robustnoise.seeds import SeedStream
from robustnoise_defenses.noise.draws import normals

NETS = {
    "madry-mnist": (1, 28, 28),
    "norm-cnn": (1, 28, 28),
    "resnet9(width=16)": (3, 32, 32),
}
WANTED = 0.6
"""Share of the noise-free speed."""
NOISE = "layer-noise(snr_db=0, power=sample)"
PASSES = 16
IMAGES = 128


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="timings of each; their median counts (default 3)")
    arguments = parser.parse_args()
    one_thread()
    print("\n".join(table(arguments.rounds).lines))


def table(rounds: int, images: int = IMAGES, nets: Sequence[str] = tuple(NETS)) -> Report:
    """Lines of Markdown, and the goals."""
    goals = []
    lines = [
        "| net | noise-free | noisy | speed, noise-free 1 | were noise its random numbers alone | of a naive loop |",
        "|---|---|---|---|---|---|",
    ]
    for name in nets:
        found = compare(name, NETS[name], rounds, images)
        free, noisy = found["noise-free"], found["noisy"]
        least = [a + b for a, b in zip(free, found["numbers"], strict=True)]
        shown = milliseconds(free), milliseconds(noisy), *(told(free, t) for t in (noisy, least, found["naive"]))
        lines.append(f"| {name} | {' | '.join(shown)} |")
        goals.append(Goal(f"16 noisy passes of {name}, speed to noise-free ones", WANTED, ratio(free, noisy)))
    return Report(lines, goals)


def compare(name: str, shape: tuple[int, int, int], rounds: int, images: int = IMAGES) -> Seconds:
    """CPU seconds of `PASSES` noise-free, noisy and naively noisy passes and of the numbers alone, taken in turns."""
    model = rn.models.create(name, shape)
    noisy = build(NOISE, "defense").apply(model, Context())
    x = torch.rand(images, *shape, generator=torch.Generator().manual_seed(0))
    check_power(model, noisy, x)

    def passes(classifier: Classifier) -> Callable[[], None]:
        def run() -> None:
            for t in range(PASSES):
                classifier.predict(x, noise=SeedStream(0, (t,)))

        return run

    counts: list[int] = []
    with _hooked(model.module, lambda _layer, _inputs, out: counts.append(out.numel())):
        model.predict(x, noise=SeedStream(0))

    def numbers() -> None:
        for t in range(PASSES):
            for place, count in enumerate(counts):
                normals(count, SeedStream(0, (t, place)))

    def naively() -> None:
        with _hooked(model.module, _add_naively):
            passes(model)()

    return in_turns({"noise-free": passes(model), "noisy": passes(noisy), "numbers": numbers, "naive": naively}, rounds)


@contextmanager
def _hooked(module: nn.Module, hook: Callable[[nn.Module, object, Tensor], Tensor | None]) -> Iterator[None]:
    """With `hook` behind every layer that gets noise."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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
