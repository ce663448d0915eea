"""The way out: a defended stack as a classifier of ART and as a model of Foolbox."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustnoise.blocks import predict_blocks
from robustnoise.errors import MissingCapability
from robustnoise.foreign import import_quietly
from robustnoise.protocols import Answer, Classifier, require_differentiable
from robustnoise.seeds import SeedStream

TINY = 1e-12
"""The least probability whose logarithm is taken."""


def to_art(classifier: Classifier, seed: int | SeedStream = 0) -> Any:
    """`classifier` as an ART classifier with ``clip_values = (0, 1)``.

    Every call draws fresh noise from a named stream. ART takes one draw for the truth: what it reports of a noisy stack
    is the luck of that draw, good for comparison only. An abstention becomes a tie of all classes; else the largest
    entry is the stack's label, which is lifted by a hair where it isn't. Gradients of a vote are those of its
    differentiable stand-in.

    Args:
        classifier: any; its answers are what `predict` gives.
        seed: of the noise; an integer or a stream.

    Returns:
        A ``PyTorchClassifier`` (logits and gradients, float32) where `classifier` has gradients, else a
        ``BlackBoxClassifierNeuralNetwork`` (probabilities; one-hot where the stack answers labels alone).
    """
    art = import_quietly("art.estimators.classification")
    asked = _Asked(classifier, seed)
    shape, classes = tuple(classifier.input_shape), classifier.num_classes
    if _has_gradients(classifier):
        loss = nn.CrossEntropyLoss()
        return art.PyTorchClassifier(
            asked, loss=loss, input_shape=shape, nb_classes=classes, clip_values=(0.0, 1.0), device_type="cpu"
        )

    def predict(x: Any) -> Any:
        return asked.probabilities(torch.as_tensor(x)).numpy()

    return art.BlackBoxClassifierNeuralNetwork(predict, shape, classes, clip_values=(0.0, 1.0))


def to_foolbox(classifier: Classifier, seed: int | SeedStream = 0) -> Any:
    """`classifier` as a Foolbox ``PyTorchModel`` of logits with bounds (0, 1), on the CPU.

    Noise, abstention and `seed` are as for `to_art`. A stack without gradients works under decision attacks and raises
    `MissingCapability` under the others.
    """
    foolbox = import_quietly("foolbox")
    return foolbox.PyTorchModel(_Asked(classifier, seed).eval(), bounds=(0, 1), device="cpu")


class _Asked(nn.Module):
    """A classifier as a module without weights; whatever flags a library sets on it, the classifier keeps its own."""

    def __init__(self, classifier: Classifier, seed: int | SeedStream) -> None:
        super().__init__()
        self.classifier = classifier
        self.seeds = seed if isinstance(seed, SeedStream) else SeedStream(seed, ("export",))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits for (n, C, H, W): the answers', or where `x` wants a gradient those that give it."""
        if x.requires_grad:
            model = require_differentiable(self.classifier, "an attack with gradients")
            return model.logits(x.float(), noise=self._fresh()).to(x.device)
        answer = self._answer(x)
        if answer.logits is None:
            shown = self._spread(answer).clamp_min(TINY).log()
        else:
            shown = answer.logits.masked_fill((answer.labels < 0)[:, None], 0)
        return _led(shown, answer.labels).to(x.device)

    def probabilities(self, x: Tensor) -> Tensor:
        """(n, num_classes) float32 on the CPU."""
        answer = self._answer(x)
        return _led(self._spread(answer), answer.labels)

    def _answer(self, x: Tensor) -> Answer:
        return predict_blocks(self.classifier, x.detach().float().clamp(0, 1), self._fresh())

    def _spread(self, answer: Answer) -> Tensor:
        if answer.scores is not None:
            scores = answer.scores.clone()
        else:
            scores = nn.functional.one_hot(answer.labels.clamp_min(0), self.classifier.num_classes).float()
        scores[answer.labels < 0] = 1 / self.classifier.num_classes
        return scores

    def _fresh(self) -> SeedStream:
        self.calls += 1
        return self.seeds.child("call", self.calls)


def _led(shown: Tensor, labels: Tensor) -> Tensor:
    """`shown` (n, num_classes) with the answer's label a hair above the rest where it isn't: both libraries read the
    first of the largest, while a vote's tie goes to another and an estimator's label needn't be the most probable."""
    said = labels.clamp_min(0)[:, None]
    own, others = shown.gather(1, said), shown.scatter(1, said, -torch.inf).amax(1, keepdim=True)
    above = torch.nextafter(others, torch.full_like(others, torch.inf))
    return shown.scatter(1, said, torch.where((own > others) | (labels < 0)[:, None], own, above))


def _has_gradients(classifier: Classifier) -> bool:
    """Whether gradients reach the input; a stack may have `logits` around an inner classifier that has none."""
    try:
        model = require_differentiable(classifier, "an attack with gradients")
        model.logits(torch.zeros(1, *classifier.input_shape), noise=SeedStream(0))
    except MissingCapability:
        return False
    return True
