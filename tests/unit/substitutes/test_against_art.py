"""Knockoff and copycat beside ART's KnockoffNets and CopycatCNN: same network, images, epochs and queries."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustnoise.api import Access, Context, Linf, SeedStream, TorchClassifier, build, create_model, predict_blocks
from robustnoise.data import SplitSizes, load_dataset
from robustnoise.foreign import kept_globals
from robustnoise.oracle import CountingOracle

QUERIES, EPOCHS, BATCH, RATE = 300, 20, 32, 0.003


class Softmaxed(nn.Module):
    """ART learns what the victim answers, and of logits learns nothing."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x).softmax(1)


@pytest.mark.parametrize("answers", ["scores", "labels"])
def test_agreement_is_not_below_arts(answers: str) -> None:
    data = load_dataset("digits", sizes=SplitSizes(600, attacker=500, validation=100, evaluation=300))
    shape, classes, model = data.train.input_shape, data.train.num_classes, "mlp(hidden=32)"
    fresh = create_model(model, shape, classes, seed=SeedStream(1))
    victim = build("plain-training(epochs=20)", "defense").apply(fresh, Context(data.train, 0))
    assert isinstance(victim, TorchClassifier)
    x = torch.from_numpy(data.evaluation.floats())
    truth = predict_blocks(victim, x, SeedStream(0)).labels

    # Our rate is a triangle: twice the peak, for the same mean as the constant rate that ART trains with.
    training = f"plain-training(epochs={EPOCHS}, batch_size={BATCH}, learning_rate={2 * RATE})"
    plugin = build(f"knockoff(answers={answers}, queries={QUERIES}, training={training}, model={model})", "substitute")
    oracle = CountingOracle(victim, Linf(0.1, Access.SCORES), SeedStream(7), total=QUERIES)
    networks = plugin.fit(oracle, data.attacker, Context(seed=3))
    assert oracle.spent == QUERIES
    ours = (predict_blocks(networks[0], x, SeedStream(0)).labels == truth).float().mean().item()

    start = create_model(model, shape, classes, seed=SeedStream(2))  # not where the victim started
    theirs = (_stolen(answers, victim, start, data.attacker.floats(0, QUERIES), x) == truth).float().mean().item()
    assert theirs > 0.7  # ART has learned: the trap of logits would leave it near 0.1
    assert ours > theirs - 3 * math.sqrt(2 * theirs * (1 - theirs) / len(x))


def _stolen(answers: str, victim: TorchClassifier, fresh: TorchClassifier, seed: np.ndarray, x: Tensor) -> Tensor:
    """The labels of ART's substitute for `x`."""
    from art.attacks.extraction import CopycatCNN, KnockoffNets
    from art.estimators.classification import PyTorchClassifier

    def wrapped(module: nn.Module) -> PyTorchClassifier:
        optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=0.0)
        loss, shape = nn.CrossEntropyLoss(), fresh.input_shape
        return PyTorchClassifier(module, loss, shape, fresh.num_classes, optimizer, clip_values=(0, 1))

    attack, scores = (KnockoffNets, True) if answers == "scores" else (CopycatCNN, False)
    with kept_globals():
        np.random.seed(0)  # noqa: NPY002 - the generator that ART draws from
        torch.manual_seed(0)
        stolen = attack(
            wrapped(Softmaxed(copy.deepcopy(victim.module))),
            batch_size_fit=BATCH,
            batch_size_query=BATCH,
            nb_epochs=EPOCHS,
            nb_stolen=QUERIES,
            use_probability=scores,
            **({"verbose": False} if scores else {}),
        ).extract(seed, thieved_classifier=wrapped(copy.deepcopy(fresh.module).requires_grad_(True)))
        return torch.from_numpy(stolen.predict(x.numpy()).argmax(1))
