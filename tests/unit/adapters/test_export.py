"""The way out: defended stacks as classifiers of ART and models of Foolbox."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import robustnoise as rn
from robustnoise.building import build
from robustnoise.errors import MissingCapability
from robustnoise.protocols import Answer, Context
from robustnoise.seeds import SeedStream
from robustnoise.testing import linear_toy, toy_model, toy_split
from robustnoise.testing.toys import SHAPE, CoinClassifier

X = toy_split(6, seed=1).floats()


def noisy(sigma: float = 0.3) -> Any:
    return build(f"gaussian-input-noise(sigma={sigma})", "defense").apply(toy_model(), Context())


def outputs(way: str, model: Any) -> Any:
    """(n, classes) of the exported model for `X`."""
    return model.predict(X) if way == "art" else model(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("way", ["art", "foolbox"])
def test_an_exported_net_answers_with_its_logits(way: str) -> None:
    net = toy_model()
    exported = getattr(rn, f"to_{way}")(net)
    expected = net.predict(torch.from_numpy(X), noise=SeedStream(0)).logits
    np.testing.assert_allclose(outputs(way, exported), expected, atol=1e-6)


@pytest.mark.parametrize("way", ["art", "foolbox"])
def test_noise_is_fresh_at_each_call_and_follows_the_seed(way: str) -> None:
    make = getattr(rn, f"to_{way}")
    first, again, other = make(noisy(), seed=1), make(noisy(), seed=1), make(noisy(), seed=2)
    one, two = outputs(way, first), outputs(way, first)
    assert not np.array_equal(one, two)
    torch.manual_seed(5)  # no global generator has a say
    assert np.array_equal(one, outputs(way, again))
    assert np.array_equal(two, outputs(way, again))
    assert not np.array_equal(one, outputs(way, other))


def test_arts_loss_gradient_is_that_of_the_net() -> None:
    net, y = toy_model(), np.arange(6) % 3
    found = rn.to_art(net).loss_gradient(X, np.eye(3, dtype=np.float32)[y])
    leaf = torch.from_numpy(X).requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(net.logits(leaf, noise=SeedStream(0)), torch.from_numpy(y))
    (expected,) = torch.autograd.grad(loss, leaf)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_float64_is_cast_for_both() -> None:
    """ART's HopSkipJump and BoundaryAttack hand over doubles, on which a float32 net crashes."""
    doubles = X.astype(np.float64)
    assert rn.to_art(toy_model()).predict(doubles).shape == (6, 3)
    assert rn.to_foolbox(toy_model())(torch.from_numpy(doubles)).shape == (6, 3)


def test_a_stack_without_gradients_is_a_black_box() -> None:
    exported = rn.to_art(CoinClassifier(0.5))
    assert not hasattr(exported, "loss_gradient")
    scores = exported.predict(X)
    assert scores.shape == (6, 10)
    assert set(np.unique(scores)) == {0.0, 1.0}
    leaf = torch.from_numpy(X).requires_grad_(True)
    with pytest.raises(MissingCapability):
        rn.to_foolbox(CoinClassifier(0.5))(leaf)


@pytest.mark.parametrize("shown", ["scores", "logits"])
def test_an_abstention_is_a_tie_of_all_classes(shown: str) -> None:
    class Mute:
        num_classes, input_shape, stochastic, passes, digest = 4, SHAPE, False, 1, "mute"

        def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
            first = torch.tensor([9.0, 0.0, 0.0, 0.0]).repeat(len(x), 1)
            return Answer(torch.full((len(x),), -1), first.softmax(1), first if shown == "logits" else None)

    assert np.array_equal(rn.to_art(Mute()).predict(X), np.full((6, 4), 0.25, np.float32))
    tied = rn.to_foolbox(Mute())(torch.from_numpy(X))
    assert torch.equal(tied, tied[:1, :1].expand(6, 4))


class Said:
    """Answers what it is told, whatever it is asked."""

    num_classes, input_shape, stochastic, passes, digest = 3, SHAPE, False, 1, "said"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        # Blocks are padded.
        filled = (None if p is None else torch.cat([p, p.new_zeros(len(x) - 6, *p.shape[1:])]) for p in self.answer)
        return Answer(*filled)


LABELS = torch.tensor([0, 1, 2, 2, 1, 0])
SCORES = [[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.2, 0.3], [0.2, 0.5, 0.3], [0.0, 0.5, 0.5]]


@pytest.mark.parametrize("shown", ["scores", "logits"])
def test_both_read_the_label_that_the_stack_gives(shown: str) -> None:
    """A vote gives a tie to the class answered first, an estimator needn't give the most probable class."""
    scores = torch.tensor(SCORES)
    answer = Answer(LABELS, scores, scores.clamp_min(1e-9).log() if shown == "logits" else None)
    probabilities, logits = rn.to_art(Said(answer)).predict(X), rn.to_foolbox(Said(answer))(torch.from_numpy(X))
    assert probabilities.argmax(1).tolist() == logits.argmax(1).tolist() == LABELS.tolist()
    np.testing.assert_allclose(np.delete(probabilities, [3, 5], 0), scores[[0, 1, 2, 4]], atol=1e-6)
    assert np.array_equal(probabilities[4], scores[4])  # as it is, where nothing is to be lifted


@pytest.mark.parametrize("stack", ["gaussian-input-noise(sigma=0.1) | vote(5)", "layer-noise(snr_db=10)"])
def test_a_defended_stack_can_be_taken_to_both(stack: str) -> None:
    victim = build(stack, "defense").apply(toy_model(), Context(train=toy_split(64)))
    assert rn.to_art(victim).predict(X).shape == (6, 3)
    assert rn.to_foolbox(victim)(torch.from_numpy(X)).shape == (6, 3)


@pytest.mark.adapter
def test_attacks_of_both_libraries_run_on_what_is_exported() -> None:
    from art.attacks.evasion import HopSkipJump, ProjectedGradientDescent
    from foolbox.attacks import LinfPGD

    toy = linear_toy()
    y = toy.predict(torch.from_numpy(X), noise=SeedStream(0)).labels.clone()
    found = {
        "pgd": ProjectedGradientDescent(rn.to_art(toy), eps=0.3, eps_step=0.05, max_iter=20, verbose=False).generate(X),
        "hsj": HopSkipJump(rn.to_art(toy), max_iter=2, max_eval=30, init_eval=10, verbose=False).generate(X),
        "foolbox": LinfPGD()(rn.to_foolbox(toy), torch.from_numpy(X), y, epsilons=0.3)[1].numpy(),
    }
    for x in found.values():
        wrong = toy.predict(torch.as_tensor(x, dtype=torch.float32), noise=SeedStream(0)).labels != y
        assert int(wrong.sum()) >= 5


def test_the_victims_flags_are_its_own() -> None:
    """ART's predict puts whatever it holds into eval mode, and its fit into train mode."""
    net = toy_model()
    net.module.train()
    exported = rn.to_art(net)
    exported.predict(X)
    assert all(module.training for module in net.module.modules())


def test_foolbox_is_imported_without_git_and_without_a_trace() -> None:
    code = (
        "import os, random, sys, warnings\n"
        "from robustnoise.foreign import import_quietly\n"
        "warnings.simplefilter('error')\n"
        "import robustnoise.api\n"
        "state = random.getstate()\n"
        "import_quietly('foolbox'); import_quietly('art.attacks.evasion')\n"
        "assert random.getstate() == state\n"
        "assert 'GIT_PYTHON_REFRESH' not in os.environ\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GIT_PYTHON_REFRESH"} | {"PATH": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
