"""Answers of single passes, kept while a run lasts: a vote of 4, of 64, another rule of voting ask for the same passes.

Pass t of a vote draws from a stream that doesn't depend on how many passes there are or what is made of them, so
victims that differ in the vote alone share their passes. Noise on what a net answers leaves the net's own answer the
same in every draw, and in every victim that adds such noise to it. Forgetting costs time and changes nothing.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustnoise.data import Split
from robustnoise.harness.scoring import most_frequent
from robustnoise.models.classifier import InputWrapper, LayerWrapper, Wrapper, is_ours
from robustnoise.protocols import Answer, Classifier, Differentiable
from robustnoise.seeds import SeedStream

LIMIT = 512 * 2**20
"""Bytes of answers, where nobody says otherwise; beyond it all are forgotten."""
SLAB = 16 * 2**20
"""Bytes of a block of memory that answers are copied to. Left where they were made, the small answers would lie between
the large activations and keep gigabytes of freed memory from being used again."""


class Memory:
    """The answers of any number of classifiers.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._answers: dict[tuple[object, ...], Answer] = {}
        self._bytes = 0
        self._slab, self._used = torch.empty(0, dtype=torch.uint8), 0

    def attach(self, classifier: Classifier) -> Classifier:
        """A classifier that asks for each random answer once, where it only makes something of another's answers.

        Any other comes back as it is. `classifier` itself is left alone: it may be the caller's own.
        """
        if (
            not isinstance(classifier, Wrapper)
            or not is_ours(classifier)
            or isinstance(classifier, Differentiable)
            or not classifier.inner.stochastic
        ):
            return classifier
        return _around(classifier, _Remembered(classifier.inner, self))

    def redrawn(self, classifier: Classifier) -> Classifier:
        """A classifier to be asked about the same images in draw after draw: what is not random inside answers once.

        That is what lies under a wrapper of robustnoise's own that hands the image on as it is. Any other classifier
        comes back as it is: a stranger's may do something to the network each time before it asks.
        """
        if not (isinstance(classifier, Wrapper) and is_ours(classifier) and classifier.stochastic):
            return classifier
        if isinstance(classifier, (InputWrapper, LayerWrapper)):  # the net sees another image, or draws itself
            return classifier
        inner = classifier.inner
        return _around(classifier, self.redrawn(inner) if inner.stochastic else _Remembered(inner, self))

    def recall(self, classifier: Classifier, digest: str, x: Tensor, noise: SeedStream) -> Answer:
        """What `classifier` answers, from memory or asked now; the caller's own to write to.

        Args:
            classifier: asked where nothing is remembered.
            digest: its own, which can take long to compute.
            x: (n, C, H, W) float32.
            noise: a deterministic classifier's answer is the same for any.
        """
        # sha256, which processors have instructions for: this is most of what remembering costs.
        image_bytes = hashlib.sha256(x.cpu().contiguous().numpy().data).digest()
        key = (digest, image_bytes, *((noise.root, noise.path) if classifier.stochastic else ()))
        if key not in self._answers:
            answer = classifier.predict(x, noise=noise)
            size = sum(part.nbytes for part in answer if part is not None)
            if size > self.limit:
                return answer
            if self._bytes + size > self.limit:
                self._answers.clear()
                self._bytes = 0
            self._answers[key] = Answer(*(None if part is None else self._kept(part) for part in answer))  # type: ignore[arg-type]
            self._bytes += size
        return Answer(*(None if part is None else part.clone() for part in self._answers[key]))  # type: ignore[arg-type]

    def _kept(self, part: Tensor) -> Tensor:
        """A copy of `part` in the slab."""
        if self._used + part.nbytes > len(self._slab):
            with torch.inference_mode(False):
                self._slab, self._used = torch.empty(max(SLAB, part.nbytes), dtype=torch.uint8), 0
        place = self._slab[self._used : self._used + part.nbytes].view(part.dtype).view(part.shape)
        self._used += -(-part.nbytes // 8) * 8  # the next part is aligned whatever its type
        return place.copy_(part)


class Answers:
    """Most frequent answers of any number of classifiers: each is in many pairs of substitute and victim.

    Args:
        memory: of what isn't random in them.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._found: dict[tuple[object, ...], npt.NDArray[np.int64]] = {}

    def most_frequent(
        self, digest: str, load: Callable[[], Classifier], images: Split, draws: int, noise: SeedStream
    ) -> npt.NDArray[np.int64]:
        """What `robustnoise.harness.scoring.most_frequent` says.

        Args:
            digest: names the classifier.
            load: makes it, where it wasn't asked before.
            images: what it is asked about.
            draws: how often, where answers are random.
            noise: of the draws.
        """
        key = (digest, images.digest, draws, noise.root, noise.path)
        if key not in self._found:
            self._found[key] = most_frequent(self.memory.redrawn(load()), images.images, draws, noise)
        return self._found[key]


def _around(wrapper: Wrapper, inner: Classifier) -> Wrapper:
    """A copy of `wrapper` around another; the same where it is no other."""
    if inner is wrapper.inner:
        return wrapper
    other = copy.copy(wrapper)
    other.inner = inner
    return other


class _Remembered:
    """A classifier that answers from memory what it was asked before."""

    def __init__(self, inner: Classifier, memory: Memory) -> None:
        self.inner, self.memory = inner, memory
        self.num_classes, self.input_shape = inner.num_classes, inner.input_shape
        self.stochastic, self.passes, self.digest = inner.stochastic, inner.passes, inner.digest

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return self.memory.recall(self.inner, self.digest, x, noise)

    def __getattr__(self, name: str) -> Any:
        # Asked for what isn't found above alone. Python's own names stay out, so that copies are made as ever.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)
