"""What `audit` must expose, and whom it must leave alone; on digits, with a ladder of less effort."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robustnoise as rn
from robustnoise.api import Answer, BadParameter, SeedStream, TorchClassifier, Wrapper, create
from robustnoise.data import Dataset, Split
from robustnoise.harness import auditing
from robustnoise.testing.toys import CoinClassifier

EPS = 0.15
NET = "mlp(hidden=64)"
AT = f"pgd-training(eps={EPS}, epochs=15, batch_size=50, inner=pgd(steps=3, relative_step=0.5))"
PLAIN = "plain-training(epochs=20, batch_size=50)"


@dataclass(frozen=True)
class Bench:
    """Data, trained nets and a store that the audits of this file share."""

    data: Dataset
    plain: TorchClassifier
    trained: TorchClassifier
    store: Path

    def audit(self, victim: object, **changes: object) -> rn.Audit:
        known = {"data": self.data, "threat": rn.Linf(EPS), "draws": 5, "threads": 1, "store": self.store}
        return rn.audit(victim, **(known | changes))  # type: ignore[arg-type]

    def behind(self, defense: str, net: TorchClassifier | None = None) -> object:
        stack = rn.build(defense, "defense")
        return stack.apply(net or self.plain, rn.Context(train=self.data.train, seed=0))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    torch.set_num_threads(1)
    data = rn.load_dataset("digits", sizes=rn.SplitSizes(train=1000, attacker=250, validation=100, evaluation=256))
    plain, trained = (
        rn.build(text, "defense").apply(
            rn.models.create(NET, data.input_shape, data.num_classes), rn.Context(train=data.train, seed=0)
        )
        for text in (PLAIN, AT)
    )
    return Bench(data, plain, trained, tmp_path_factory.mktemp("audits"))


@pytest.fixture(autouse=True)
def little_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "STEPS", 20)
    monkeypatch.setattr(auditing, "DRAWS", 4)
    monkeypatch.setattr(auditing, "QUERIES", 150)


def flags(audit: rn.Audit) -> set[str]:
    return {check.flag for check in audit.raised}


def test_an_adversarially_trained_net_passes(bench: Bench) -> None:
    audit = bench.audit(bench.trained)
    assert flags(audit) == set()
    assert {check.state for check in audit.checks} == {"passed"}
    assert not audit.blocked
    worst, clean = audit.worst(), audit.clean
    assert worst is not None
    assert 0.3 < worst.value < clean.value - 0.1


def test_with_noise_around_it_it_is_told_to_be_random_and_no_more(bench: Bench) -> None:
    audit = bench.audit(bench.behind("gaussian-input-noise(sigma=0.05)", bench.trained), baseline=bench.trained)
    assert flags(audit) == {"RANDOMISED"}
    assert not audit.blocked


def test_an_undefended_net_passes_with_nothing_left(bench: Bench) -> None:
    audit = bench.audit(bench.plain)
    assert not audit.blocked
    worst = audit.worst()
    assert worst is not None
    assert worst.value < 0.2


def test_a_coin_is_exposed(bench: Bench) -> None:
    def zeros(split: Split) -> Split:
        labels = np.zeros(len(split), np.int64)
        return Split(split.ids, images=split.images, labels=labels, num_classes=10, name=split.name)

    d = bench.data
    data = Dataset(
        "zeros", digest="zeros", num_classes=10, input_shape=d.input_shape, train=zeros(d.train),
        attacker=zeros(d.attacker), validation=zeros(d.validation), evaluation=zeros(d.evaluation),
    )  # fmt: skip
    audit = bench.audit(CoinClassifier(0.9, d.input_shape), data=data)
    assert flags(audit) == {"RANDOMISED", "CONTROL_AS_STRONG", "EPS_ONE_SURVIVES"}
    assert audit.blocked
    # Nothing that was done to it changes the 0.9, and what needs gradients says that there are none.
    worst = audit.worst()
    assert worst is not None
    assert worst.low < 0.9 < worst.high
    undone = {check.flag for check in audit.checks if check.state == "not possible"}
    assert undone == {
        "ZERO_GRADIENT",
        "STEPS_NOT_CONVERGED",
        "EOT_NOT_CONVERGED",
        "BLACKBOX_BEATS_WHITEBOX",
        "NOISE_OFF_BELOW_BASELINE",
    }
    assert "CoinClassifier has none" in audit.verdict


@pytest.mark.parametrize("baseline", [True, False])
def test_noise_without_adversarial_training_is_exposed(bench: Bench, baseline: bool) -> None:
    victim = bench.behind("gaussian-input-noise(sigma=0.3)")
    audit = bench.audit(victim, threat=rn.Linf(0.2), baseline=bench.trained if baseline else None)
    assert "NOISE_OFF_BELOW_BASELINE" in flags(audit)
    assert audit.blocked
    assert ("no baseline was given" in audit.verdict) != baseline


class Rounded(nn.Module):
    """Sees four levels of grey; torch's rounding has no gradient."""

    def __init__(self, net: nn.Module, *, straight: bool) -> None:
        super().__init__()
        self.net, self.straight = net, straight

    def extra_repr(self) -> str:
        return f"straight={self.straight}"  # two nets of the same weights must have two digests

    def forward(self, x: Tensor) -> Tensor:
        rounded = (x * 3).round() / 3
        out: Tensor = self.net(x + (rounded - x).detach() if self.straight else rounded)
        return out


def test_a_quantised_net_is_exposed_unless_gradients_pass_straight_through(bench: Bench) -> None:
    shape = bench.data.input_shape
    closed = bench.audit(TorchClassifier(Rounded(bench.plain.module, straight=False), shape, 10))
    assert flags(closed) >= {"ZERO_GRADIENT", "CONTROL_AS_STRONG", "BLACKBOX_BEATS_WHITEBOX"}
    assert closed.blocked
    straight = bench.audit(TorchClassifier(Rounded(bench.plain.module, straight=True), shape, 10))
    assert not {"ZERO_GRADIENT", "CONTROL_AS_STRONG", "BLACKBOX_BEATS_WHITEBOX"} & flags(straight)


class Saturated(nn.Module):
    """The softmax of a thousand times the logits is 1 at the answer, and its gradient 0."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = 1000 * self.net(x)
        return out


def test_a_saturated_softmax_is_exposed(bench: Bench) -> None:
    audit = bench.audit(TorchClassifier(Saturated(bench.plain.module), bench.data.input_shape, 10))
    assert "ZERO_GRADIENT" in flags(audit)
    assert audit.blocked
    # The margin of the logits doesn't saturate: what the net really keeps is found all the same.
    worst = audit.worst()
    assert worst is not None
    assert worst.value < 0.2


class Batched(nn.Module):
    """Subtracts the mean of the batch."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x - x.mean(0, keepdim=True))
        return out


def test_neighbours_that_decide_are_exposed(bench: Bench) -> None:
    audit = bench.audit(TorchClassifier(Batched(bench.plain.module), bench.data.input_shape, 10), images=64)
    assert {"BATCH_COUPLED", "TOO_FEW_IMAGES"} <= flags(audit)


class Drifting(Wrapper):
    """Random, and worse the more often it was asked."""

    asked = 0

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        Drifting.asked += 1
        labels = self.inner.predict(x, noise=noise).labels.clone()
        late = torch.rand(len(x), generator=noise.generator("drift")) < Drifting.asked / 60
        labels[late] = -1
        return Answer(labels)


def test_answers_that_drift_are_exposed(bench: Bench, tmp_path: Path) -> None:
    drifting = Drifting(bench.plain, create("defense", "identity"), stochastic=True)
    assert {"NULL_CONTROL_DROPS"} <= flags(bench.audit(drifting, images=128, store=tmp_path))


def test_a_second_audit_computes_nothing_and_says_the_same(bench: Bench) -> None:
    first = bench.audit(bench.plain)
    before = sorted(bench.store.rglob("*.json"))
    again = bench.audit(bench.plain)
    assert sorted(bench.store.rglob("*.json")) == before
    assert (again.record.identity, again.record.outcome) == (first.record.identity, first.record.outcome)
    assert again.verdict == first.verdict


def test_without_a_ball_there_is_nothing_to_audit(bench: Bench) -> None:
    with pytest.raises(BadParameter, match="eps above 0"):
        bench.audit(bench.plain, threat=rn.Linf(0))
    with pytest.raises(BadParameter, match="images = 0"):
        bench.audit(bench.plain, images=0)


def test_an_l2_ball_has_its_own_rungs(bench: Bench) -> None:
    audit = bench.audit(bench.plain, threat=rn.L2(1.0), images=64)
    assert {m.attack["name"] for m in audit.record.done("query")} == {"hop-skip-jump"}
    assert max(m.eps for m in audit.record.measures) == 8.0
    assert not audit.blocked
