"""Answers of single passes, kept while a run lasts: a vote of 4, of 64, another rule of voting ask for the same passes.

Pass t of a vote draws from a stream that doesn't depend on how many passes there are or what is made of them, so
victims that differ in the vote alone share their passes. Forgetting costs time and changes nothing.
"""

from __future__ import annotations

import hashlib

from torch import Tensor

from robustnoise.models.classifier import Wrapper
from robustnoise.protocols import Answer, Classifier, Differentiable
from robustnoise.seeds import SeedStream

LIMIT = 512 * 2**20
"""Bytes of answers; beyond it all are forgotten."""


class Memory:
    """The answers of any number of classifiers."""

    def __init__(self) -> None:
        self._answers: dict[tuple[object, ...], Answer] = {}
        self._bytes = 0

    def attach(self, classifier: Classifier) -> None:
        """Let a classifier that only makes something of another's random answers ask for each of them once."""
        if (
            isinstance(classifier, Wrapper)
            and not isinstance(classifier, Differentiable)
            and classifier.inner.stochastic
        ):
            classifier.inner = _Remembered(classifier.inner, self)

    def recall(self, classifier: Classifier, x: Tensor, noise: SeedStream) -> Answer:
        """What `classifier` answers, from memory or asked now."""
        image_bytes = hashlib.blake2b(x.cpu().numpy().tobytes(), digest_size=16).digest()
        key = (classifier.digest, image_bytes, noise.root, noise.path)
        if key not in self._answers:
            answer = classifier.predict(x, noise=noise)
            size = sum(part.nbytes for part in answer if part is not None)
            if self._bytes + size > LIMIT:
                self._answers.clear()
                self._bytes = 0
            self._answers[key] = answer
            self._bytes += size
        return self._answers[key]


class _Remembered:
    """A classifier that answers from memory what it was asked before."""

    def __init__(self, inner: Classifier, memory: Memory) -> None:
        self.inner, self.memory = inner, memory
        self.num_classes, self.input_shape = inner.num_classes, inner.input_shape
        self.stochastic, self.passes, self.digest = inner.stochastic, inner.passes, inner.digest

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return self.memory.recall(self.inner, x, noise)
