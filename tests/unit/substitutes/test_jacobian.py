"""Jacobian augmentation: the known step on a linear model, a naive twin, the reservoir, and the bill."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from robustnoise.api import Answer, Context, Linf, Schedule, SeedStream, build, create_model, fit
from robustnoise.oracle import CountingOracle
from robustnoise.testing import CoinClassifier, linear_toy, toy_model, toy_split
from robustnoise_attacks import JacobianSubstitute
from robustnoise_attacks.substitutes import jacobian as jacobian_module
from robustnoise_attacks.substitutes.jacobian import augment

DATA = toy_split(40)
CTX = Context(seed=SeedStream(5))


def jacobian(**params: object) -> JacobianSubstitute:
    found = build("jacobian(seed_images=10, rounds=3, epochs=2, model=mlp(hidden=16))", "substitute")
    assert isinstance(found, JacobianSubstitute)
    return dataclasses.replace(found, **params)  # type: ignore[arg-type]


class Recording(CountingOracle):
    """Keeps what it is asked and what it answers."""

    def __init__(self, total: int | None = None, victim: object = None) -> None:
        super().__init__(victim or toy_model(seed=1), Linf(0.1), SeedStream(7), total=total)  # type: ignore[arg-type]
        self.batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def query(self, x: Tensor, ids: Tensor) -> Answer:
        answer = super().query(x, ids)
        self.batches.append((x, ids, answer.labels))
        return answer


@pytest.mark.parametrize(
    ("total", "digest", "queries"),
    [
        (None, "549fe7d7caf16d444fcacbbb87e34b772dd634d6f0927faf336ab17f1cc4f20f", 80),
        (50, "cfffb3105bfa92bcb78bcf500c4aae1334e9cc2567f97523a5d562ac06488750", 50),
    ],
)
def test_defaults_give_what_they_gave_before_there_were_more_fields(
    total: int | None, digest: str, queries: int
) -> None:
    oracle = Recording(total)
    (network,) = jacobian().fit(oracle, DATA, CTX)
    assert (network.digest, oracle.spent) == (digest, queries)


def test_on_a_linear_model_the_step_follows_the_weights() -> None:
    toy = linear_toy()
    sign = toy.module.get_parameter("1.weight")[0].sign().view(toy.input_shape)
    x, y = 0.25 + torch.rand(6, *toy.input_shape, generator=torch.Generator().manual_seed(0)) / 2, torch.arange(6) % 2
    towards = torch.where(y == 0, 1.0, -1.0).view(-1, 1, 1, 1)
    assert torch.allclose(augment(toy, x, y, 0.1), x + 0.1 * towards * sign)
    assert torch.allclose(augment(toy, x, y, -0.1), x - 0.1 * towards * sign)
    assert float(augment(toy, x, y, 1.0).max()) == 1.0  # clipped


def test_it_takes_few_images_at_a_time_and_what_all_at_once_would_give() -> None:
    source, seen = toy_model(), list[int]()
    x, y = torch.rand(300, *source.input_shape, generator=torch.Generator().manual_seed(0)), torch.arange(300) % 3
    whole = jacobian_module._step(source, x, y, 0.1)
    source.module.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    assert torch.equal(augment(source, x, y, 0.1), whole)
    assert seen == [128, 128, 44]


def test_it_asks_what_a_naive_twin_asks() -> None:
    plugin, oracle = jacobian(period=2), Recording()
    plugin.fit(oracle, DATA, CTX)
    assert [len(x) for x, _, _ in oracle.batches] == [10, 10, 20, 40]
    assert torch.equal(oracle.batches[0][0], torch.from_numpy(DATA.floats(0, 10)))
    for number in range(3):
        known = [torch.cat([b[k] for b in oracle.batches[: number + 1]]) for k in range(3)]
        fresh = create_model("mlp(hidden=16)", (1, 8, 8), 3, seed=CTX.seeds.child("weights", number))
        schedule = Schedule(2, 0.003, 100)
        net = fit(fresh, known[0], known[2], schedule, CTX.seeds.child("round", number)).module
        children = []
        for image, answer in zip(known[0], known[2], strict=True):
            leaf = image[None].clone().requires_grad_(True)
            net(leaf)[0, answer].backward()
            assert leaf.grad is not None
            step = -0.1 if number == 2 else 0.1
            children.append((image + step * leaf.grad[0].sign()).clamp(0, 1))
        asked, ids, _ = oracle.batches[number + 1]
        assert torch.equal(ids, known[1])
        # A gradient of almost 0 may round to either sign.
        assert torch.isclose(torch.stack(children), asked).float().mean() > 0.999


def test_a_reservoir_adds_so_many_after_so_many_rounds() -> None:
    oracle = Recording()
    jacobian(rounds=5, reservoir=7, after=2).fit(oracle, DATA, CTX)
    assert [len(x) for x, _, _ in oracle.batches] == [10, 10, 20, 7, 7, 7]
    assert oracle.spent == 10 * 2**2 + 7 * 3


def test_the_reservoir_keeps_every_candidate_alike() -> None:
    plugin, n, kept, seeds = jacobian(reservoir=5, after=0), 20, 5, 2000
    drawn = [plugin._parents(n, 1, SeedStream(seed)) for seed in range(seeds)]
    assert all(len(d.unique()) == kept for d in drawn)
    counts = torch.bincount(torch.cat(drawn), minlength=n).double()
    expected = seeds * kept / n
    # Without replacement the counts of one draw are negatively correlated: the statistic shrinks by this factor.
    statistic = float(((counts - expected) ** 2 / expected).sum() * (n - 1) / (n - kept))
    assert 6.84 < statistic < 38.6  # 0.5 % and 99.5 % of chi-square with 19 degrees of freedom
    first = torch.bincount(torch.stack(drawn)[:, 0], minlength=n).double()  # what a small budget would leave
    assert float(((first - seeds / n) ** 2 / (seeds / n)).sum()) < 38.6


@pytest.mark.parametrize("total", [3, 7, 29, 30, 31, 100, 1000])
def test_a_noisy_victims_bill_is_exact(total: int) -> None:
    oracle = Recording(total, CoinClassifier(0.7, num_classes=3))
    jacobian(repeats=3).fit(oracle, DATA, CTX)
    assert oracle.spent == min(total // 3, 80) * 3


def test_an_oracle_is_needed() -> None:
    with pytest.raises(ValueError, match="give it an oracle"):
        jacobian().fit(None, DATA, CTX)
