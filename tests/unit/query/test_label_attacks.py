"""RayS, HopSkipJump and SignFlip: known optima, exact books, no neighbours, honest claims on noisy victims."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from robustnoise.errors import BadParameter
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import AttackResult, BlackBoxAttack, Classifier, Targets
from robustnoise.testing.toys import CoinClassifier, linear_toy, toy_model, toy_split
from robustnoise.threat import L2, Linf, Norm, ThreatModel
from robustnoise_attacks import HopSkipJump, RayS, SignFlip
from tests.unit.query.victims import SEEDS, Counting, NoisyInput, as_scored, wrong_rate

ALL: list[tuple[BlackBoxAttack, ThreatModel]] = [
    (RayS(), Linf(0.1)),
    (SignFlip(), Linf(0.1)),
    (HopSkipJump(), Linf(0.1)),
    (HopSkipJump(), L2(0.6)),
]
CASES = pytest.mark.parametrize(("plugin", "threat"), ALL, ids=["rays", "sign-flip", "hop-linf", "hop-l2"])


def targets_of(victim: Classifier, n: int, *, margin: float = 0.0) -> Targets:
    """Images of whole levels away from the box that `victim` gets right."""
    levels = 64 + toy_split(2000, num_classes=2, seed=1).images // 2
    x = torch.from_numpy(levels.astype("float32")) / 255
    answer = victim.predict(x, noise=SEEDS)
    assert answer.logits is not None
    top = answer.logits.topk(2).values
    rows = (top[:, 0] - top[:, 1] >= margin).nonzero()[:n, 0]
    return Targets(100 + torch.arange(len(rows)), x[rows], answer.labels[rows])


def attack(
    plugin: BlackBoxAttack,
    victim: Classifier,
    targets: Targets,
    threat: ThreatModel,
    *,
    queries: int = 1000,
    total: int | None = None,
    stops: tuple[int, ...] = (),
) -> tuple[AttackResult, CountingOracle]:
    oracle = CountingOracle(victim, threat, SEEDS.child("victim"), per_image=queries, total=total, stops=stops)
    return plugin.run(oracle, toy_split(20, num_classes=2), targets, threat, SEEDS), oracle


def needed(victim: Classifier, targets: Targets, norm: Norm) -> Tensor:
    """(n,) distance of the boundary of `linear_toy`: |s| over the dual norm of its unit weight."""
    logits = victim.predict(targets.x, noise=SEEDS).logits
    assert logits is not None
    weight = linear_toy().module.get_parameter("1.weight").detach()[0]
    return logits[:, 0].abs() / (weight.abs().sum() if norm is Norm.LINF else weight.norm())


def assert_counted(plugin: BlackBoxAttack, victim: Counting, oracle: CountingOracle, result: AttackResult) -> None:
    """The model saw every row that was charged; only RayS asks about black images, which look like padding."""
    assert result.queries == oracle.spent >= victim.rows > 0
    assert isinstance(plugin, RayS) or oracle.spent == victim.rows


@CASES
def test_finds_the_boundary_of_a_linear_victim(plugin: BlackBoxAttack, threat: ThreatModel) -> None:
    """Where the ball reaches a quarter farther than the nearest boundary."""
    victim = Counting(linear_toy())
    everyone = targets_of(victim.inner, 300)
    need = needed(victim.inner, everyone, threat.norm)
    near = (need < threat.eps / 1.25) & (need > threat.eps / 1.25 / 2)
    targets = Targets(*(part[near][:20] for part in everyone))
    assert len(targets.ids) == 20
    result, oracle = attack(plugin, victim, targets, threat)
    assert_counted(plugin, victim, oracle, result)
    assert result.claimed is not None
    wrong = victim.inner.predict(as_scored(targets, result.x, threat), noise=SEEDS).labels != targets.y
    assert torch.equal(result.claimed, wrong)
    assert wrong.float().mean() >= 0.9
    assert bool((threat.violation(targets.x, result.x) <= 1e-6).all())


@pytest.mark.parametrize("plugin", [RayS(), SignFlip()], ids=["rays", "sign-flip"])
def test_finds_the_boundary_from_black_and_white_images(plugin: BlackBoxAttack) -> None:
    """Half of all signs leave the box here. A pixel that was cut off there, and stayed so, would be lost for good."""
    victim, threat = linear_toy(), Linf(0.1)
    x = (torch.from_numpy(toy_split(300, num_classes=2, seed=1).images.copy()) > 128).float()
    answer = victim.predict(x, noise=SEEDS)
    assert answer.logits is not None
    weight = victim.module.get_parameter("1.weight").detach()[0]
    towards = -answer.logits[:, :1].sign() * weight.sign()
    free = torch.where(towards > 0, x.flatten(1) == 0, x.flatten(1) == 1)
    need = answer.logits[:, 0].abs() / (weight.abs() * free).sum(1)
    rows = ((need < 0.08) & (need > 0.04)).nonzero()[:20, 0]
    targets = Targets(rows, x[rows], answer.labels[rows])
    result, _ = attack(plugin, victim, targets, threat)
    assert result.claimed is not None
    assert result.claimed.float().mean() >= 0.9


def test_rays_finds_a_linear_boundary_in_few_queries() -> None:
    """Each bit of the sign vector costs one query when nothing is nearer, and 64 pixels have 127 blocks."""
    victim, threat = linear_toy(), Linf(0.1)
    everyone = targets_of(victim, 300)
    need = needed(victim, everyone, threat.norm)
    targets = Targets(*(part[(need > 0.04) & (need < 0.08)][:20] for part in everyone))
    result, oracle = attack(RayS(), victim, targets, threat)
    assert result.claimed is not None
    assert result.claimed.all()
    assert oracle.spent / len(targets.ids) < 300


@CASES
def test_an_image_does_not_see_its_neighbours(plugin: BlackBoxAttack, threat: ThreatModel) -> None:
    """Whole batch, parts of it, another order: the same bytes, claims and queries."""
    victim = toy_model()
    targets = targets_of(victim, 7)
    whole, oracle = attack(plugin, victim, targets, threat, queries=150, stops=(50, 100))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    for rows in (torch.arange(3), torch.arange(3, 7), order):
        part, counted = attack(
            plugin, victim, Targets(*(t[rows] for t in targets)), threat, queries=150, stops=(50, 100)
        )
        assert torch.equal(part.x, whole.x[rows])
        assert part.claimed is not None
        assert whole.claimed is not None
        assert torch.equal(part.claimed, whole.claimed[rows])
        assert all(torch.equal(part.trace[stop], whole.trace[stop][rows]) for stop in (50, 100))
        assert all(counted.counts[i] == oracle.counts[i] for i in counted.counts)


@CASES
def test_the_trace_is_what_a_smaller_budget_would_have_found(plugin: BlackBoxAttack, threat: ThreatModel) -> None:
    victim = linear_toy()
    targets = targets_of(victim, 60)
    long, _ = attack(plugin, victim, targets, threat, queries=1000, stops=(100, 400))
    rates = [
        wrong_rate(victim, as_scored(targets, x, threat), targets.y, 1).mean() for x in (*long.trace.values(), long.x)
    ]
    assert set(long.trace) == {100, 400}
    assert rates == sorted(rates)
    assert rates[-1] > 0


@CASES
def test_no_radius_asks_nothing_and_no_budget_returns_the_input(plugin: BlackBoxAttack, threat: ThreatModel) -> None:
    victim = linear_toy()
    targets = targets_of(victim, 6)
    for radius, queries, total in (
        (0.0, 1000, None),
        (threat.eps, 0, None),
        (threat.eps, 1000, 0),
        (threat.eps, 1000, 5),
    ):
        result, oracle = attack(plugin, victim, targets, ThreatModel(threat.norm, radius), queries=queries, total=total)
        assert torch.equal(result.x, targets.x)
        assert oracle.spent == result.queries == 0
        assert result.claimed is not None
        assert not result.claimed.any()


@pytest.mark.parametrize("plugin", [RayS(), SignFlip()], ids=["rays", "sign-flip"])
def test_l2_is_refused_where_the_method_has_none(plugin: BlackBoxAttack) -> None:
    victim = linear_toy()
    with pytest.raises(BadParameter, match="expected linf"):
        attack(plugin, victim, targets_of(victim, 2), L2(1.0))


# ----------------------------------------------------------------------------------------------------------- noise


@CASES
@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1])
def test_what_is_claimed_of_a_noisy_victim_holds_in_fresh_draws(
    plugin: BlackBoxAttack, threat: ThreatModel, sigma: float
) -> None:
    """Each claimed image's rate in 200 fresh draws is one half or more, within its 95 % interval; so is their mean."""
    victim = Counting(NoisyInput(linear_toy(), sigma))
    targets = targets_of(linear_toy(), 40, margin=0.1)
    wide = ThreatModel(threat.norm, 1.5 * threat.eps)
    result, oracle = attack(plugin, victim, targets, wide)
    assert_counted(plugin, victim, oracle, result)
    assert max(oracle.counts.values()) <= 1000
    assert result.claimed is not None
    assert result.claimed.sum() >= 5
    rate = wrong_rate(victim, as_scored(targets, result.x, wide), targets.y)
    claimed = rate[result.claimed]
    assert claimed.mean() >= 0.5
    assert (claimed >= 0.5 - 1.96 * math.sqrt(0.25 / 200)).float().mean() >= 0.9
    assert rate.mean() > wrong_rate(victim, targets.x, targets.y).mean() + 0.1


@CASES
def test_noise_of_a_hundredth_does_not_stop_an_attack(plugin: BlackBoxAttack, threat: ThreatModel) -> None:
    """A boundary search that walks off on lucky draws, or probes that drown in the noise, would lose most of it."""
    targets = targets_of(linear_toy(), 30, margin=0.1)
    wide = ThreatModel(threat.norm, 1.5 * threat.eps)
    plain, _ = attack(plugin, linear_toy(), targets, wide, queries=300)
    noisy, _ = attack(plugin, NoisyInput(linear_toy(), 0.01), targets, wide, queries=1500)
    assert plain.claimed is not None
    assert noisy.claimed is not None
    assert noisy.claimed.sum() >= 0.7 * plain.claimed.sum() > 0


@CASES
@pytest.mark.parametrize("p", [0.9, 0.7])
def test_a_coin_comes_back_as_itself(plugin: BlackBoxAttack, threat: ThreatModel, p: float) -> None:
    """The attack finishes, claims (nearly) nothing, and fresh draws of what it hands in are right at the rate p."""
    n, draws = 60, 50
    victim = CoinClassifier(p)
    targets = targets_of(linear_toy(), n)._replace(y=torch.zeros(n, dtype=torch.int64))
    result, _ = attack(plugin, victim, targets, threat, queries=300)
    assert result.claimed is not None
    assert result.claimed.sum() <= 1
    rate = wrong_rate(victim, as_scored(targets, result.x, threat), targets.y, draws)
    assert rate.mean().item() == pytest.approx(1 - p, abs=4.5 * math.sqrt(p * (1 - p) / (n * draws)))


@CASES
def test_claims_follow_the_confidence(plugin: BlackBoxAttack, threat: ThreatModel) -> None:
    """A coin that is wrong in 60 % is claimed at a confidence of 0.3 and not at 0.9."""
    targets = targets_of(linear_toy(), 40)._replace(y=torch.zeros(40, dtype=torch.int64))
    for confidence, least, most in ((0.3, 30, 40), (0.9, 0, 1)):
        asking = type(plugin)(queries=200, confidence=confidence)  # type: ignore[call-arg]
        result, _ = attack(asking, CoinClassifier(0.4), targets, threat)
        assert result.claimed is not None
        assert least <= result.claimed.sum() <= most
