"""How long an audit takes, and how often it accuses nets that deserve none: adversarially trained ones, seed by seed.

    python -m benchmarks.audits

Every seed trains a net of its own, with and without inference noise around it, and audits both. Nothing here should
raise a blocking flag; each that is raised is a false alarm. Trainings and attacks are cached.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch

from robustnoise.building import build
from robustnoise.cli.caching import open_store
from robustnoise.data import SplitSizes, load_dataset
from robustnoise.flags import blocking
from robustnoise.harness.auditing import audit
from robustnoise.harness.bench import Bench
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.report.audit import Audit
from robustnoise.threat import Budget, Linf

DIGITS = ("digits", "mlp(hidden=64)", 0.1, "pgd-training(eps=0.1, epochs=30, inner=pgd(steps=5, relative_step=0.4))")
MNIST = ("mnist-5k", "small-cnn", 0.3, "pgd-training(eps=0.3, ramp=0.5, epochs=20, batch_size=50, shift=2)")
NOISE = "layer-noise(snr_db=20) | vote(4)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, default=20, help="seeds on digits (default 20)")
    parser.add_argument("--mnist", type=int, default=3, help="seeds on mnist-5k (default 3)")
    parser.add_argument("--images", type=int, default=256, help="evaluation images (default 256)")
    parser.add_argument("--quiet", action="store_true", help="leave out the noisy victims")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| data | seed | victim | clean | worst | blocking flags | seconds, training aside (CPU) |")
    print("|---|---|---|---|---|---|---|")
    audits = alarms = 0
    for (data, model, eps, stack), seeds in ((DIGITS, arguments.digits), (MNIST, arguments.mnist)):
        for seed in range(seeds):
            experiment = _experiment(data, model, eps, stack, seed, noisy=not arguments.quiet)
            for victim in experiment.victims:
                Bench(experiment, open_store()).weights(victim)
                started, cpu = time.monotonic(), time.process_time()
                (record,) = audit(experiment, open_store(), [victim.name], images=arguments.images)
                took = f"{time.monotonic() - started:.0f} ({time.process_time() - cpu:.0f})"
                found = Audit(record)
                flags = [c.flag for c in blocking(list(found.checks))]
                worst = found.worst()
                assert worst is not None
                audits, alarms = audits + 1, alarms + bool(flags)
                cells = (data, seed, victim.name, f"{100 * found.clean.value:.1f}", f"{100 * worst.value:.1f}")
                print("|", " | ".join(map(str, (*cells, ", ".join(flags) or "none", took))), "|", flush=True)
    print(f"\n{alarms} of {audits} audits raised a blocking flag.")


def _experiment(data: str, model: str, eps: float, stack: str, seed: int, *, noisy: bool) -> Experiment:
    sizes = {"digits": SplitSizes(train=1000, attacker=250, validation=100, evaluation=256)}
    sizes["mnist-5k"] = SplitSizes(train=2500, attacker=1000, validation=500, evaluation=1000)
    net = Victim("plain", build(stack, "defense"), build(model, "model"))
    noise = replace(net, name="noisy", defense=build(f"{stack} | {NOISE}", "defense"))
    return Experiment(
        dataset=load_dataset(data, sizes=sizes[data]),
        sizes={},
        threat=Linf(eps),
        budget=Budget(),
        victims=(net, noise) if noisy else (net,),
        attacks=(Attack("null", build("null", "attack")),),
        seed=seed,
        threads=1,
    )


if __name__ == "__main__":
    main()
