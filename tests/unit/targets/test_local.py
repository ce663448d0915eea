"""Targets that are Python objects: networks, functions, estimators, ART's and Foolbox's models."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import robustnoise as rn
from robustnoise.errors import BadData, BadParameter, MissingCapability, TargetFailed
from robustnoise.foreign import seeded_globals
from robustnoise.models.classifier import evaluating
from robustnoise.models.targets.base import checked
from robustnoise.models.targets.probe import probe
from robustnoise.protocols import Classifier, Context
from robustnoise.seeds import SeedStream
from robustnoise.testing.toys import toy_split
from robustnoise.threat import Access
from robustnoise_defenses import GaussianInputNoise, LayerNoise, Vote

SHAPE, CLASSES = (2, 4, 4), 3
NOISE = SeedStream(0, ("test",))
X = torch.rand(9, *SHAPE, generator=NOISE.generator("x"))
SETTING: dict[str, Any] = {"input_shape": SHAPE, "num_classes": CLASSES}


class Net(nn.Module):
    """A layer, dropout and batch norm, so that train mode would show."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def net() -> Net:
    with seeded_globals(NOISE.seed("weights")):
        return Net()


def global_state() -> tuple[object, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


def sums(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Logits that can be computed by hand: sums of three rows of pixels."""
    return x.reshape(len(x), -1)[:, :CLASSES] * 10


def test_mean_and_std_go_inside_and_the_network_stays_as_it_is() -> None:
    mine = net().train()
    before = {k: v.clone() for k, v in mine.state_dict().items()}
    mean, std = [0.2, 0.7], [0.5, 2.0]
    classifier = rn.models.from_torch(mine, mean=mean, std=std, **SETTING)
    normal = (X - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    with evaluating(mine), torch.no_grad():
        expected = mine(normal)
    answer = classifier.predict(X, noise=NOISE)
    assert answer.logits is not None
    torch.testing.assert_close(answer.logits, expected)
    assert all(m.training for m in mine.modules())
    assert all(p.requires_grad for p in mine.parameters())
    assert all(torch.equal(v, before[k]) for k, v in mine.state_dict().items())


def test_a_torch_target_takes_noise_inside_and_a_vote() -> None:
    classifier = rn.models.from_torch(net(), **SETTING)
    stack = (LayerNoise(20) | Vote(8)).apply(classifier, Context(toy_split(16, SHAPE, CLASSES), seed=1))
    assert stack.stochastic
    assert stack.predict(X, noise=NOISE).scores is not None


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        ([0.5], [1.0, 1.0], "expected 2 finite numbers"),
        ([0.5, 0.5], [1.0, 0.0], "above 0"),
        ([0.5, float("nan")], [1.0, 1.0], "finite"),
        ([0.5, 0.5], None, "give both or none"),
        (["a", "b"], [1.0, 1.0], "finite numbers"),
    ],
)
def test_a_wrong_mean_or_std_is_refused(mean: Any, std: Any, words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        rn.models.from_torch(net(), mean=mean, std=std, **SETTING)


def test_a_network_of_other_images_or_classes_is_refused() -> None:
    with pytest.raises(BadParameter, match="doesn't take images"):
        rn.models.from_torch(net(), input_shape=(1, 4, 4), num_classes=CLASSES)
    with pytest.raises(BadParameter, match=r"expected logits \(2, 4\)"):
        rn.models.from_torch(net(), input_shape=SHAPE, num_classes=4)


def test_the_digest_of_a_network_follows_weights_normalisation_and_code() -> None:
    class Net(nn.Module):  # of the same name and layers as the other
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, CLASSES))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = -self.body(x)
            return out

    twin = Net()
    twin.load_state_dict(net().state_dict())
    other = net()
    with torch.no_grad():
        other.body[3].bias.add_(1)
    made = [
        rn.models.from_torch(n, **SETTING, **more)
        for n, more in [(net(), {}), (net(), {"mean": [0.5, 0.5], "std": [1.0, 1.0]}), (twin, {}), (other, {})]
    ]
    assert len({m.digest for m in made}) == 4
    assert rn.models.from_torch(net(), **SETTING).digest == made[0].digest


def test_a_function_is_asked_about_its_rows_alone() -> None:
    asked: list[int] = []

    def count(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        asked.append(len(x))
        x += 1  # its own to spoil
        return sums(x)

    target = rn.models.from_callable(count, name="sums", output="logits", **SETTING)
    before = X.clone()
    from robustnoise.blocks import predict_blocks

    big = torch.rand(130, *SHAPE, generator=NOISE.generator("big"))
    assert len(predict_blocks(target, big, NOISE).labels) == 130
    assert asked == [128, 2]
    asked.clear()
    noisy = (GaussianInputNoise(0.1) | Vote(3)).apply(target, Context(seed=0))
    predict_blocks(noisy, X, NOISE)
    assert asked == [9, 9, 9]
    assert torch.equal(X, before)


@pytest.mark.parametrize(
    ("output", "access"),
    [("labels", Access.LABELS), ("probabilities", Access.SCORES), ("logits", Access.LOGITS)],
)
def test_what_a_function_answers_is_what_it_declares(output: Any, access: Access) -> None:
    logits = torch.from_numpy(sums(X.numpy()))

    def answer(x: Tensor) -> Tensor:
        found = x.flatten(1)[:, :CLASSES] * 10
        return {"labels": found.argmax(1), "probabilities": found.softmax(1), "logits": found}[output]

    target = rn.models.from_callable(answer, name="f", output=output, arrays="torch", **SETTING)
    said = target.predict(X, noise=NOISE)
    assert target.access is access
    assert torch.equal(said.labels, logits.argmax(1))
    assert (said.scores is None) == (output == "labels")
    assert (said.logits is None) == (output != "logits")
    if said.scores is not None:
        torch.testing.assert_close(said.scores, logits.softmax(1))


@pytest.mark.parametrize(
    ("output", "said", "words"),
    [
        ("logits", np.zeros((9, 4)), "answered shape"),
        ("logits", np.full((9, 3), np.nan), "NaN"),
        ("logits", np.full((9, 3), 1e300), "NaN or infinite"),
        ("logits", np.full((9, 3), "a"), "expected numbers"),
        ("logits", np.ones((9, 3), dtype=bool), "expected numbers"),
        ("logits", [[1, 2, 3], [1]], "different lengths"),
        ("probabilities", np.full((9, 3), 5.0), "sum is off 1"),
        ("probabilities", np.tile([1.5, -0.5, 0.0], (9, 1)), "as low as -0.5"),
        ("labels", np.full(9, 3), "labels from 3 to 3"),
        ("labels", np.full(9, -2), "labels from -2"),
        ("labels", np.zeros(9), "whole numbers"),
        ("labels", None, "answered shape"),
    ],
)
def test_nonsense_is_refused(output: Any, said: Any, words: str) -> None:
    target = rn.models.from_callable(lambda _: said, name="f", output=output, **SETTING)
    with pytest.raises(TargetFailed, match=words):
        target.predict(X, noise=NOISE)


def test_no_random_bytes_become_an_answer_by_accident() -> None:
    generator = NOISE.numpy("fuzz")
    for _ in range(200):
        shape = tuple(generator.integers(0, 4, generator.integers(0, 4)))
        said = np.frombuffer(generator.bytes(int(np.prod(shape)) * 4), np.float32).reshape(shape)
        try:
            array = checked(said, "probabilities", 3, 3, "fuzz")
        except TargetFailed:
            continue
        assert np.abs(array.sum(1) - 1).max() < 0.02


def draw(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    noise = np.random.normal(size=(len(x), CLASSES)) + torch.randn(len(x), CLASSES).numpy() + random.random()  # noqa: NPY002
    return sums(x) + noise


def test_a_random_function_follows_the_stream_and_leaves_the_global_generators_alone() -> None:
    target = rn.models.from_callable(draw, name="noisy", output="logits", stochastic=True, **SETTING)
    before = global_state()
    first, same, other = (target.predict(X, noise=NOISE.child(i)).logits for i in (1, 1, 2))
    assert first is not None
    assert same is not None
    assert torch.equal(first, same)
    assert not torch.equal(first, other)  # type: ignore[arg-type]
    assert global_state() == before


def test_the_probe_finds_a_target_that_is_random_after_all() -> None:
    quiet = rn.models.from_callable(sums, name="q", output="logits", **SETTING)
    loud = rn.models.from_callable(draw, name="l", output="logits", **SETTING)
    told = rn.models.from_callable(draw, name="l", output="logits", stochastic=True, **SETTING)
    probe(quiet, X)
    probe(told, X)
    with pytest.raises(TargetFailed, match="declared deterministic"):
        probe(loud, X)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_object_needs_a_name(name: str) -> None:
    with pytest.raises(BadParameter, match="stands for this object"):
        rn.models.from_callable(sums, name=name, output="logits", **SETTING)


def test_a_network_as_a_function_is_sent_to_the_better_door() -> None:
    with pytest.raises(BadParameter, match="from_torch"):
        rn.models.from_callable(net(), name="n", output="logits", **SETTING)


def test_layers_of_a_function_are_out_of_reach() -> None:
    target = rn.models.from_callable(sums, name="q", output="logits", **SETTING)
    with pytest.raises(MissingCapability, match="LayerNoise"):
        LayerNoise(20).apply(target, Context(seed=0))


def test_an_estimator_answers_in_our_classes() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    flat, labels = X.reshape(9, -1).numpy(), np.array([0, 2] * 4 + [0])
    fitted = LogisticRegression().fit(flat, labels)
    target = rn.models.from_sklearn(fitted, name="lr", **SETTING)
    said = target.predict(X, noise=NOISE)
    assert said.scores is not None
    np.testing.assert_allclose(said.scores[:, [0, 2]].numpy(), fitted.predict_proba(flat), rtol=1e-5)
    assert (said.scores[:, 1] == 0).all()
    assert target.access is Access.SCORES
    hard = rn.models.from_sklearn(LinearSVC().fit(flat, labels), name="svm", **SETTING)
    assert hard.access is Access.LABELS
    assert set(hard.predict(X, noise=NOISE).labels.tolist()) <= {0, 2}


def test_an_estimators_labels_are_its_own() -> None:
    """An SVC's probabilities come from a cross-validation of their own, and disagree with what it predicts."""

    class Torn:
        classes_ = np.arange(CLASSES)

        def predict(self, flat: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return flat[:, :CLASSES].argmin(1)  # type: ignore[no-any-return]

        def predict_proba(self, flat: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return flat[:, :CLASSES] / flat[:, :CLASSES].sum(1, keepdims=True)  # type: ignore[no-any-return]

    said = rn.models.from_sklearn(Torn(), name="torn", **SETTING).predict(X, noise=NOISE)
    flat = X.reshape(len(X), -1)[:, :CLASSES]
    assert said.labels.tolist() == flat.argmin(1).tolist()
    assert said.scores is not None
    torch.testing.assert_close(said.scores, flat / flat.sum(1, keepdim=True))


def test_an_estimator_that_does_not_fit_is_refused() -> None:
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(BadParameter, match="fitted"):
        rn.models.from_sklearn(LogisticRegression(), name="lr", **SETTING)
    flat = X.reshape(9, -1).numpy()
    words = LogisticRegression().fit(flat, ["a", "b", "a"] * 3)
    with pytest.raises(BadParameter, match="whole numbers"):
        rn.models.from_sklearn(words, name="lr", **SETTING)
    small = LogisticRegression().fit(flat[:, :5], [0, 1, 2] * 3)
    with pytest.raises(BadParameter, match="5 features"):
        rn.models.from_sklearn(small, name="lr", **SETTING)


@pytest.mark.adapter
@pytest.mark.parametrize("clip", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), None])
def test_an_art_classifier_answers_what_it_answers_itself(clip: tuple[float, float] | None) -> None:
    from art.estimators.classification import PyTorchClassifier

    mine = net().train()
    theirs = PyTorchClassifier(mine, nn.CrossEntropyLoss(), SHAPE, CLASSES, clip_values=clip, device_type="cpu")
    target = rn.models.from_art(theirs, name="art", output="logits")
    mine.train()
    before = global_state()
    said = target.predict(X, noise=NOISE)
    low, high = clip or (0.0, 1.0)
    assert all(m.training for m in mine.modules())
    assert global_state() == before
    expected = theirs.predict((X * (high - low) + low).numpy().astype(np.float32))
    assert said.logits is not None
    np.testing.assert_allclose(said.logits.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert rn.models.from_art(theirs, name="art", output="labels").predict(X, noise=NOISE).scores is None


@pytest.mark.adapter
def test_a_foolbox_model_answers_what_it_answers_itself() -> None:
    import foolbox

    mine = net().eval()
    theirs = foolbox.PyTorchModel(
        mine, bounds=(-1, 1), preprocessing={"mean": [0.25, 0.5], "std": [0.5, 2.0], "axis": -3}, device="cpu"
    )
    target = rn.models.from_foolbox(theirs, name="fb", **SETTING)
    mine.train()
    said = target.predict(X, noise=NOISE)
    assert all(m.training for m in mine.modules())
    mine.eval()
    assert said.logits is not None
    torch.testing.assert_close(said.logits, theirs(X * 2 - 1).detach())
    with pytest.raises(BadParameter, match="no foolbox.PyTorchModel"):
        rn.models.from_foolbox(mine, name="fb", **SETTING)


FACTORY = """
import torch
from torch import nn
import robustnoise as rn
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
def ready():
    return rn.models.from_callable(lambda x: x.reshape(len(x), -1)[:, :3], name="f", output="logits",
                                   input_shape=(2, 4, 4), num_classes=3)
def broken():
    raise KeyError("no")
def text():
    return "no network"
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FACTORY)
    return path


def test_a_factory_makes_the_network_and_safetensors_its_weights(factory: Path) -> None:
    before = global_state()
    weights = {"1.weight": torch.arange(96.0).view(3, 32) / 100, "1.bias": torch.zeros(3)}
    path = factory.with_name("w.safetensors")
    save_file(weights, path)
    target = rn.models.from_factory(f"{factory}:make", weights=path, **SETTING)
    said = target.predict(X, noise=NOISE)
    assert said.logits is not None
    torch.testing.assert_close(said.logits, X.flatten(1) @ weights["1.weight"].T)
    assert global_state() == before
    # Without weights the network is as it is made: the same every time.
    unset = [rn.models.from_factory(f"{factory}:make", **SETTING).digest for _ in range(2)]
    assert unset[0] == unset[1] != target.digest
    assert isinstance(rn.models.from_factory(f"{factory}:ready", **SETTING), Classifier)
    factory.write_text(FACTORY + "\n# changed")
    assert rn.models.from_factory(f"{factory}:make", **SETTING).digest != unset[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [("broken", "KeyError"), ("text", "expected a torch.nn.Module"), ("absent", "no function 'absent'")],
)
def test_a_factory_that_makes_nothing_is_named(factory: Path, name: str, words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        rn.models.from_factory(f"{factory}:{name}", **SETTING)
    with pytest.raises(BadParameter, match="can't be imported"):
        rn.models.from_factory("no.such.module:make", **SETTING)


@pytest.mark.parametrize("spoil", [lambda c: c[:-7], lambda c: b"\x80\x04" + c, lambda _: b"", lambda c: c[:40] * 3])
def test_damaged_weights_are_refused(factory: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = factory.with_name("w.safetensors")
    save_file({"1.weight": torch.zeros(3, 32), "1.bias": torch.zeros(3)}, path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(BadData, match="w.safetensors"):
        rn.models.from_factory(f"{factory}:make", weights=path, **SETTING)
