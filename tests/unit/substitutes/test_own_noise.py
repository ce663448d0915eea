"""Substitutes that carry the victim's kind of noise draw for themselves, in a craft and when agreement is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustnoise.api import BadParameter, Context, Linf, SeedStream, build
from robustnoise.compose import Identity
from robustnoise.harness.bench import Bench
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.store import Store
from robustnoise.testing import toy_dataset, toy_model, toy_split
from robustnoise.threat import Budget

NOISE = "gaussian-input-noise(sigma=0.5)"


def agreement(folder: Path, defense: str, draws: int) -> float:
    """Of one network behind `defense` with itself behind draws of the attacker's own."""
    net = toy_model(seed=1)
    victim = build(defense, "defense").apply(net, Context(toy_split(40), 0))
    substitute = build(f"independent(noise={defense})", "substitute")
    attack = build(f"transfer(independent(noise={defense}), fgsm)", "attack")
    experiment = Experiment(
        dataset=toy_dataset(),
        sizes={},
        threat=Linf(0.1),
        budget=Budget(),
        victims=(Victim("victim", Identity(), classifier=victim),),
        attacks=(Attack("attack", attack),),
        draws=draws,
    )
    bench = Bench(experiment, Store(folder))
    bench._source = lambda *_: substitute.source((net,), toy_split(40), Context())  # type: ignore[method-assign]
    return float(bench.agreement(experiment.attacks[0], experiment.victims[0]).facts["agreement"])


def test_agreement_never_shares_the_victims_draws(tmp_path: Path) -> None:
    """The same net under the same noise: equal draws would make it agree with itself everywhere."""
    assert 0.2 < agreement(tmp_path, NOISE, 1) < 0.95


def test_a_perfect_copy_of_a_noisy_victim_agrees_with_it(tmp_path: Path) -> None:
    """Single draws differ on many images; of 51 the most frequent only where two labels are nearly as frequent."""
    one, many = (agreement(tmp_path, NOISE, draws) for draws in (1, 51))
    assert one < 0.7
    assert many > 0.85


def test_a_quiet_victim_and_substitute_are_asked_once(tmp_path: Path) -> None:
    assert agreement(tmp_path, "identity", 1) == agreement(tmp_path, "identity", 7) == 1.0


def test_a_jacobian_substitute_carries_noise_only_when_images_are_crafted() -> None:
    plain, noisy = (build(f"jacobian({text})", "substitute") for text in ("", f"noise={NOISE}"))
    net, x = toy_model(seed=1), torch.full((4, 1, 8, 8), 0.5)
    assert plain.source((net,), toy_split(40), Context()) is net
    source = noisy.source((net,), toy_split(40), Context())
    assert source.stochastic
    first, again, other = (source.logits(x, noise=SeedStream(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(BadParameter, match="inference stages only"):
        build("jacobian(noise=plain-training)", "substitute")
