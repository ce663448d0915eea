"""The classifier around a torch module, and the base of classifiers that wrap another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from robustnoise.building import spec_of
from robustnoise.compose import Defense
from robustnoise.errors import BadParameter, told
from robustnoise.models.structure import digest_of_any, settings_digest, source_digest
from robustnoise.protocols import (
    Answer,
    Classifier,
    Model,
    Modular,
    access_of,
    require_differentiable,
    require_modular,
)
from robustnoise.seeds import SeedStream
from robustnoise.spec import Plugin, digest_of


def memory_layout(module: nn.Module) -> torch.memory_format:
    """Channels last for a network with 2-d convolutions, which then run faster; else contiguous."""
    convolves = any(isinstance(layer, nn.Conv2d) for layer in module.modules())
    return torch.channels_last if convolves else torch.contiguous_format


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """`module` in eval mode, where norm layers neither look at the batch nor learn from it; flags come back singly."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class TorchClassifier:
    """A deterministic classifier from a module of logits.

    The module is put into eval mode, its parameters are frozen, and its weights laid out channels last where it has 2-d
    convolutions; to train, copy it first.

    Args:
        module: (n, C, H, W) float32 in [0, 1] to (n, num_classes) logits, normalisation inside.
        input_shape: (C, H, W).
        num_classes: at least 2.
        architecture: the plugin that builds the module, so that it can be stored and rebuilt; None for a module of
            the user's own.

    Raises:
        BadParameter: the weights can't be frozen, as of a scripted network.
    """

    stochastic = False
    passes = 1

    def __init__(
        self, module: nn.Module, input_shape: tuple[int, int, int], num_classes: int, architecture: Model | None = None
    ) -> None:
        try:
            frozen = module.eval().requires_grad_(False)
        except RuntimeError as error:
            raise BadParameter(
                f"a network whose weights can't be frozen ({told(error)}). Give what was traced or scripted, or "
                "write it as ONNX (docs/targets.md)."
            ) from error
        self.module = frozen.to(memory_format=memory_layout(module))  # type: ignore[call-overload]
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.architecture = architecture
        # Now: in another process the source of a class that came in a pickle isn't found, and a network may keep in
        # itself what it was asked last.
        self._told = None if architecture else digest_of([source_digest(module), settings_digest(module)])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def digest(self) -> str:
        """sha256 over the architecture (or the module's structure, settings and code) and every weight and buffer."""
        hasher = hashlib.sha256()
        known = self.architecture
        structure: object = spec_of(known).canonical() if known else [repr(self.module), self._told]
        hasher.update(digest_of_any([structure, list(self.input_shape), self.num_classes]).encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            plain = tensor.detach().cpu().contiguous()
            hasher.update(digest_of([name, str(plain.dtype), list(plain.shape)]).encode())
            hasher.update(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
        return hasher.hexdigest()

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `robustnoise.protocols.Differentiable.logits`."""
        out: Tensor = self.module(x.to(self.device))
        return out

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`."""
        with torch.inference_mode():
            return answer_from_logits(self.logits(x, noise=noise))


def device_of(classifier: object) -> str:
    """Where the network inside a classifier is, such as ``"cpu"`` or ``"cuda"``; ``"cpu"`` where none is found."""
    while classifier is not None:
        if isinstance(classifier, TorchClassifier):
            return classifier.device.type
        classifier = getattr(classifier, "inner", None)
    return "cpu"


def answer_from_logits(logits: Tensor) -> Answer:
    """Labels, probabilities and logits."""
    return Answer(logits.argmax(1), logits.softmax(1), logits)


class Wrapper:
    """Base of a classifier that changes how another is asked or what it answers.

    A subclass implements `predict`. Its digest is that of the inner classifier, of the defense, and of whatever else
    the subclass hands over as `state`.

    Args:
        inner: the wrapped classifier.
        defense: the plugin that wraps it.
        stochastic: the answers are random even where the inner ones aren't.
        state: further JSON that decides the answers, such as a calibration.
    """

    def __init__(self, inner: Classifier, defense: Plugin, *, stochastic: bool, state: object = None) -> None:
        self.inner = inner
        self.input_shape = inner.input_shape
        self.num_classes = inner.num_classes
        self.stochastic = stochastic or inner.stochastic
        self.passes = inner.passes
        self.access = defense.shows(access_of(inner)) if isinstance(defense, Defense) else access_of(inner)
        self.metered: bool = getattr(inner, "metered", False)
        self.digest = digest_of([inner.digest, spec_of(defense).to_json(), state])

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`."""
        raise NotImplementedError


class InputWrapper(Wrapper):
    """Base of a wrapper that changes the image and passes it on: a subclass implements `change`.

    Logits and module are those of the inner classifier, and raise `MissingCapability` where it has none.
    """

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        """The image that the inner classifier sees, float32 (n, C, H, W)."""
        raise NotImplementedError

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`."""
        with torch.inference_mode():
            return self.inner.predict(self.change(x, noise), noise=noise.child("inner"))

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `robustnoise.protocols.Differentiable.logits`."""
        inner = require_differentiable(self.inner, "an attack")
        return inner.logits(self.change(x, noise), noise=noise.child("inner"))

    @property
    def module(self) -> nn.Module:
        """The bare network inside."""
        return require_modular(self.inner, "a defense inside the network").module


class LayerWrapper(Wrapper):
    """Base of a wrapper that acts inside the network: a subclass implements `logits`."""

    inner: Modular

    def __init__(self, inner: Classifier, defense: Plugin, *, stochastic: bool, state: object = None) -> None:
        super().__init__(inner, defense, stochastic=stochastic, state=state)
        self.inner = require_modular(inner, type(defense).__name__)

    @property
    def module(self) -> nn.Module:
        """The bare network inside."""
        return self.inner.module

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `robustnoise.protocols.Differentiable.logits`."""
        raise NotImplementedError

    def repeating(self) -> AbstractContextManager[None]:
        """Where the same images are asked about several times: may keep what is the same in each of them."""
        return nullcontext()

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`."""
        with torch.inference_mode():
            return answer_from_logits(self.logits(x, noise=noise))


@contextmanager
def repeating(classifier: Classifier) -> Iterator[None]:
    """While `classifier` is asked about the same images several times; changes no answer."""
    layer: object = classifier
    while not isinstance(layer, LayerWrapper) and (isinstance(layer, InputWrapper) or is_ours(layer)):
        layer = getattr(layer, "inner", None)
    with layer.repeating() if isinstance(layer, LayerWrapper) else nullcontext():
        yield


def is_ours(part: object) -> bool:
    """Whether `part` is of robustnoise itself: what a stranger's does to the network beneath it nobody here knows."""
    return type(part).__module__.startswith(("robustnoise.", "robustnoise_defenses."))
