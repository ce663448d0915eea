"""The built-in defenses do what they say: measured noise, counted votes, nothing left behind."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from robustnoise.compose import Defense, Identity
from robustnoise.data import Split
from robustnoise.errors import BadData, BadParameter, MissingCapability
from robustnoise.models import create, save_classifier
from robustnoise.models.classifier import TorchClassifier
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Answer, Classifier, Context
from robustnoise.seeds import SeedStream
from robustnoise.threat import Access, Linf
from robustnoise_attacks import PGD
from robustnoise_defenses import FastTraining, GaussianInputNoise, LayerNoise, NoiseTraining, Pretrained, Vote
from robustnoise_defenses.voting import Ballot

SHAPE = (1, 8, 8)
NOISE = SeedStream(0, ("victim",))
IMAGES = np.random.default_rng(0).integers(0, 256, (256, *SHAPE)).astype(np.uint8)
TRAIN = Split(np.arange(256), images=IMAGES, labels=np.arange(256) % 3, num_classes=3, name="train")
CTX = Context(train=TRAIN)
X = torch.from_numpy(TRAIN.floats())


@pytest.fixture
def model() -> TorchClassifier:
    return create("small-cnn(width=4, hidden=10)", SHAPE, 3)


class Scripted:
    """Pass t answers what the t-th row of a table says."""

    num_classes, input_shape, stochastic, passes, digest = 3, SHAPE, True, 1, "scripted"

    def __init__(self, table: list[list[int]]) -> None:
        self.table, self.asked = table, 0

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.asked += 1
        return Answer(torch.tensor(self.table[self.asked - 1]))


class Coin:
    """Blind to the image: label 1 with probability p, else 0."""

    num_classes, input_shape, stochastic, passes, digest = 2, SHAPE, True, 1, "coin"

    def __init__(self, p: float) -> None:
        self.p = p

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return Answer((torch.rand(len(x), generator=noise.generator("coin")) < self.p).long())


def _state(model: TorchClassifier) -> tuple[object, ...]:
    return (
        {k: v.numpy().tobytes() for k, v in model.module.state_dict().items()},
        [
            (name, m.training, len(m._forward_hooks), len(m._forward_pre_hooks))
            for name, m in model.module.named_modules()
        ],
        [(p.requires_grad, p.grad) for p in model.module.parameters()],
        model.digest,
    )


def test_layer_noise_comes_before_the_stages_that_only_see_answers(model: TorchClassifier) -> None:
    """What it does in the network: tests/unit/noise."""
    with pytest.raises(MissingCapability, match=r"LayerNoise.*before the stages that only see answers"):
        (Vote(3) | LayerNoise(10)).apply(model, CTX)


# ------------------------------------------------------------------------------------------- every defense of inference

NOISY = [LayerNoise(10), GaussianInputNoise(0.3), GaussianInputNoise(0.3) | LayerNoise(10), LayerNoise(3) | Vote(3)]
OFF = [Identity(), LayerNoise(math.inf), GaussianInputNoise(0), Vote(1), LayerNoise(math.inf) | GaussianInputNoise(0)]


@pytest.mark.parametrize("defense", OFF, ids=str)
def test_no_strength_is_the_same_object(model: TorchClassifier, defense: Defense) -> None:
    assert defense.apply(model, CTX) is model


@pytest.mark.parametrize("defense", NOISY, ids=str)
def test_noise_is_fresh_by_stream_and_reproducible(model: TorchClassifier, defense: Defense) -> None:
    victim = defense.apply(model, CTX)
    assert victim.stochastic
    first, again, other = (victim.predict(X, noise=NOISE.child(t)) for t in (0, 0, 1))
    assert torch.equal(first.labels, again.labels)
    assert first.scores is not None
    assert other.scores is not None
    assert not torch.equal(first.scores, other.scores)
    plain = model.predict(X, noise=NOISE).scores
    assert not torch.equal(first.scores, plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("defense", [*NOISY, Vote(3)], ids=str)
def test_the_model_inside_and_the_global_state_are_untouched(model: TorchClassifier, defense: Defense) -> None:
    model.module[1].train()  # flags are kept one by one  # type: ignore[index]
    before, state = _state(model), torch.get_rng_state()
    victim = defense.apply(model, CTX)
    victim.predict(X, noise=NOISE)
    assert _state(model) == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("defense", NOISY, ids=str)
def test_a_reseeded_global_generator_does_not_move_the_noise(model: TorchClassifier, defense: Defense) -> None:
    victim = defense.apply(model, CTX)
    answers = []
    for reseed in (False, True):
        oracle = CountingOracle(victim, Linf(0.3, Access.SCORES), NOISE)
        with torch.random.fork_rng(devices=[]):
            scores = []
            for _ in range(3):
                if reseed:  # what ART does at each call
                    torch.manual_seed(0)
                scores.append(oracle.query(X[:5], torch.arange(5)).scores)
        answers.append(torch.stack(scores))  # type: ignore[arg-type]
    assert torch.equal(*answers)
    assert not torch.equal(answers[0][0], answers[0][1])


def test_the_digest_names_defense_strength_weights_and_calibration(model: TorchClassifier) -> None:
    other = create("small-cnn(width=4, hidden=10)", SHAPE, 3, seed=1)
    victims = [
        model,
        other,
        LayerNoise(10).apply(model, CTX),
        LayerNoise(11).apply(model, CTX),
        LayerNoise(10).apply(other, CTX),
        LayerNoise(10).apply(model, Context(train=TRAIN.take(100))),
        GaussianInputNoise(0.1).apply(model, CTX),
        Vote(3).apply(model, CTX),
        Vote(4).apply(model, CTX),
    ]
    assert len({v.digest for v in victims}) == len(victims)
    assert LayerNoise(10).apply(model, CTX).digest == victims[2].digest


@pytest.mark.parametrize("defense", [LayerNoise(10), GaussianInputNoise(0.2)], ids=str)
def test_gradients_flow_through_the_noise(model: TorchClassifier, defense: Defense) -> None:
    victim = defense.apply(model, CTX)
    x = PGD(steps=3).craft(victim, X[:4], torch.zeros(4, dtype=torch.int64), Linf(0.1), NOISE)
    assert not torch.equal(x, X[:4])


def test_adversarial_training_moves_no_global_state() -> None:
    start = create("mlp(hidden=4)", SHAPE, 3)
    state, before = torch.get_rng_state(), _state(start)
    trained = FastTraining(epochs=1).apply(start, CTX)
    assert torch.equal(torch.get_rng_state(), state)
    assert _state(start) == before
    assert trained.digest != start.digest


# --------------------------------------------------------------------------------------------------------- input noise


def test_gaussian_noise_has_the_stated_moments() -> None:
    seen: list[Tensor] = []

    class Looking:
        num_classes, input_shape, stochastic, passes, digest = 2, SHAPE, False, 1, "looking"

        def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
            seen.append(x.clone())
            return Answer(torch.zeros(len(x), dtype=torch.int64))

    victim = GaussianInputNoise(0.25).apply(Looking(), Context())
    for t in range(10):
        victim.predict(X, noise=NOISE.child(t))
    noise = torch.stack(seen).sub(X).double().numpy().ravel()
    n = noise.size
    assert abs(noise.mean()) < 4 * 0.25 / math.sqrt(n)
    assert noise.std() == pytest.approx(0.25, rel=0.01)
    assert abs(stats.skew(noise)) < 0.05
    assert abs(stats.kurtosis(noise)) < 0.05
    assert min(s.min() for s in seen) < 0  # not clipped
    assert abs(np.corrcoef((seen[0] - X).flatten(), (seen[1] - X).flatten())[0, 1]) < 0.04


# ---------------------------------------------------------------------------------------------------------------- votes


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        ([0, 1, 1], 1),
        ([2, 2, 0, 1], 2),
        ([1, 0], 1),
        ([0, 1], 0),
        ([2, 0, 1], 2),
        ([0, 2, 2, 0, 1], 0),
        ([1, 2, 2, 1, 2], 2),
        ([-1, -1, -1, 2], 2),
        ([-1, 1, 0, -1], 1),
        ([-1, -1], -1),
        ([-1, -1, -1, 0, 1, 1], 1),
        ([0], 0),
    ],
)
def test_majority_by_hand(votes: list[int], winner: int) -> None:
    ballot = Ballot(3, len(votes))
    for vote in votes:
        ballot.add(Answer(torch.tensor([vote])))
    answer = ballot.answer()
    assert answer.labels.tolist() == [winner]
    cast = [v for v in votes if v >= 0]
    assert answer.scores is not None
    assert answer.scores[0].tolist() == pytest.approx([cast.count(c) / max(len(cast), 1) for c in range(3)])
    assert answer.logits is None


def test_each_image_has_its_own_vote() -> None:
    table = [[0, 1, 2, -1], [0, 2, 1, -1], [1, 2, 1, -1]]
    inner = Scripted(table)
    answer = Vote(3).apply(inner, Context()).predict(X[:4], noise=NOISE)
    assert answer.labels.tolist() == [0, 2, 1, -1]
    assert inner.asked == 3


def test_passes_multiply() -> None:
    coin: Classifier = Coin(0.5)
    assert Vote(5).apply(Vote(3).apply(coin, Context()), Context()).passes == 15


@pytest.mark.parametrize(("p", "passes"), [(0.6, 5), (0.3, 7), (0.6, 16)])
def test_the_vote_of_a_coin_is_binomial(p: float, passes: int) -> None:
    """Odd: P(more than half). Even: half of the ties, since a tie goes to the first answer."""
    n = 20_000
    labels = Vote(passes).apply(Coin(p), Context()).predict(torch.zeros(n, *SHAPE), noise=NOISE).labels
    binomial = stats.binom(passes, p)
    expected = binomial.sf(passes // 2) + (binomial.pmf(passes // 2) / 2 if passes % 2 == 0 else 0)
    assert labels.float().mean().item() == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / n))


# ----------------------------------------------------------------------------------------------------------- pretrained


def test_pretrained_weights_take_part_in_no_training(model: TorchClassifier, tmp_path) -> None:
    path = tmp_path / "net.safetensors"
    save_classifier(model, path)
    stack = Pretrained(str(path)) | NoiseTraining()
    with pytest.raises(BadParameter, match="trains nothing, so NoiseTraining would have no effect"):
        stack.apply(model, Context())


def test_pretrained_weights_are_known_by_their_hash(model: TorchClassifier, tmp_path) -> None:
    path = tmp_path / "net.safetensors"
    save_classifier(model, path)
    defense = Pretrained(str(path))
    start = create("small-cnn(width=4, hidden=10)", SHAPE, 3, seed=9)
    assert defense.apply(start, Context()).digest == model.digest
    with pytest.raises(BadData, match="2 classes"):
        defense.apply(create("mlp(hidden=4)", SHAPE, 2), Context())
    save_classifier(start, path)
    with pytest.raises(BadData, match="the file has changed"):
        defense.apply(start, Context())
    with pytest.raises(BadData, match="No such file"):
        Pretrained(str(tmp_path / "absent"))
