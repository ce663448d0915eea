"""Noise on the weights whose strength the network learns, product by product: parametric noise injection (PNI)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from robustnoise.api import Classifier, DefenseTraits, Model, Number, SeedStream, Stage, TorchClassifier, create
from robustnoise_defenses.noise.draws import Draws, normals
from robustnoise_defenses.noise.inside import Effect, InsideDefense, Layers
from robustnoise_defenses.noise.layers import ON_OUTPUT
from robustnoise_defenses.noise.measure import Signals
from robustnoise_defenses.noise.products import Op, product_names, select

INITIAL = 0.25
"""The strength of every product before training, as in the authors' code (elliothe/CVPR_2019_PNI, noise_layer.py)."""
PLACE = "noise_strengths"
"""The name of the strengths among the children of a network."""
ON_READ_WEIGHT = 48
"""Place among the effects of a device: after all that happens to stored weights."""


class Strengths(nn.Module):
    """The learned strengths of a network, a child of it that computes nothing.

    Args:
        count: of the network's matrix products.

    Attributes:
        alpha: (count,) float32, in the order of `product_names`.
    """

    starts_constant = True  # robustnoise.models.fresh.initialise calls reset_parameters, which draws nothing

    def __init__(self, count: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(count))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every strength as before training."""
        nn.init.constant_(self.alpha, INITIAL)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: in an `nn.Sequential` it runs behind the last layer."""
        return x


def strengths_of(module: nn.Module) -> Tensor | None:
    """(products,) learned strengths of a network; None where it was never trained for them."""
    found = getattr(module, PLACE, None)
    return found.alpha if isinstance(found, Strengths) else None


@dataclass(frozen=True)
class PNINet(Model):
    """An architecture that holds a noise strength for each of its products; what a training under `pni` ends in.

    Alone it computes what `model` does. It exists so that learned strengths are weights like all others: stored and
    loaded with them, part of their digest, moved by the optimizer. Nobody has to ask for it, the training does.
    """

    reference = "He, Rakin & Fan 2019, arXiv 1811.09310"

    model: Model = field(default_factory=lambda: create("model", "small-cnn"))

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """See `Model.build`."""
        return _with_strengths(self.model.build(input_shape, num_classes))


def _with_strengths(module: nn.Module) -> nn.Module:
    module.add_module(PLACE, Strengths(len(product_names(module))))
    return module


@dataclass(frozen=True)
class PNI(InsideDefense):
    """Parametric noise injection on weights: ``W' = W + alpha std(W) n``, one learned alpha a product, n fresh normal.

    ``pgd-training(eps=8/255) | noise-training(pni, while_crafting=true) | pni``. The training begins with alpha = 0.25
    and moves it with the weights; std(W) is taken as a constant, as in the authors' code, so that
    ``dL/dalpha = std(W) sum(dL/dW' n)``. Leave ``pni`` out behind the training and the same weights run without noise.
    A network that was trained without it has 0.25 everywhere.

    In training one W' serves the batch, as in the paper, and every forward pass draws afresh. At inference every image
    has a W' of its own, which serves all its places and time steps: for image i the one draw of the pass gets random
    signs, ``n_i = r_i n s_i^T`` (Wen et al. 2018, arXiv 1803.04386, "Flipout"). W' is Gaussian for each image as the
    paper has it, while images are uncorrelated, so that a bad draw is the bad luck of one image and not of its block.

    Why two stages and a child module: a training ends in weights and nothing else, so the strengths are weights, in a
    child beside the layers, which thereby keep their classes and names. And the noise at inference is a stage like
    every other, which can be left out, voted over or put into a device.
    """

    reference = "He, Rakin & Fan 2019, arXiv 1811.09310 (PNI-W, layer-wise)"
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"scale": 0.0})

    scale: Annotated[Number, Field(ge=0, le=100, description="times the learned strengths; 0 switches it off")] = 1.0
    layers: Layers = "*"

    def is_off(self) -> bool:
        """At a scale of 0."""
        return self.scale == 0

    def prepared(self, model: Classifier) -> Classifier:
        """See `InsideDefense.prepared`: with strengths, 0 at products that aren't trained for noise.

        Strengths that the network holds already stay as they are.
        """
        if not isinstance(model, TorchClassifier) or strengths_of(model.module) is not None:
            return model  # what is no network of ours the training refuses
        names = product_names(model.module)
        chosen = set(select(names, self.layers, type(self).__name__))
        module = _with_strengths(copy.deepcopy(model.module)).to(model.device)
        alpha = strengths_of(module)
        assert alpha is not None
        with torch.no_grad():
            alpha.mul_(torch.tensor([float(name in chosen) for name in names], device=alpha.device))
        architecture = model.architecture and PNINet(model.architecture)
        return TorchClassifier(module, model.input_shape, model.num_classes, architecture)

    def effect(self, names: list[str], signals: Callable[[], Signals], turn: int) -> Effect:
        """See `InsideDefense.effect`."""
        return _OfEachImage(names, select(names, self.layers, type(self).__name__), self.scale)

    def training_effect(self, names: list[str], extra_db: float, stream: SeedStream) -> Effect:
        """See `InsideDefense.training_effect`."""
        chosen = select(names, self.layers, type(self).__name__)
        return _OfThePass(names, chosen, self.scale * 10 ** (-extra_db / 20))


class _Learned(Effect):
    """Noise of the strengths that the network holds.

    Args:
        names: all products of the network, in order.
        chosen: those that get noise.
        scale: times the strengths.
    """

    def __init__(self, names: list[str], chosen: list[str], scale: float) -> None:
        super().__init__(chosen)
        self.index = {name: number for number, name in enumerate(names)}
        self.scale = scale
        self.alpha: Tensor | None = None

    def meet(self, module: nn.Module) -> None:
        self.alpha = strengths_of(module)

    def _strength(self, name: str) -> Tensor | float:
        return self.scale * (INITIAL if self.alpha is None else self.alpha[self.index[name]])


class _OfThePass(_Learned):
    """One W' for a forward pass, with gradients to W and alpha; for training."""

    order = ON_READ_WEIGHT
    changes_weights = True

    def on_weight(self, name: str, weight: Tensor, draws: Draws) -> Tensor:
        noise = draws.normal_like(name, weight) * _deviation(weight)
        return weight + (self._strength(name) * noise).to(weight.dtype)


class _OfEachImage(_Learned):
    """A W' for each image of a pass, by what it adds to the product's output; for inference."""

    order = ON_OUTPUT

    def on_output(
        self, name: str, out: Tensor, a: Tensor, weight: Tensor, op: Op, axis: int, counted: Tensor | None, draws: Draws
    ) -> Tensor:  # fmt: skip
        strength = float(self._strength(name))
        if strength == 0:
            return out
        inputs = self._signs(name, "inputs", a, axis, draws)
        outputs = self._signs(name, "outputs", out, axis, draws)
        noise = self._noise(name, weight, draws) * (strength * _deviation(weight))
        return out + op(a * inputs, noise.to(weight.dtype), None) * outputs

    def _noise(self, name: str, weight: Tensor, draws: Draws) -> Tensor:
        def make() -> Tensor:
            return normals(weight.numel(), draws.stream.child(name, "weights")).view(weight.shape).to(weight.device)

        return draws.once.get(name, "weights", make=make)

    def _signs(self, name: str, side: str, t: Tensor, axis: int, draws: Draws) -> Tensor:
        """(n, 1, ..., channels, ..., 1): plus or minus 1 for each image and channel, the same all through the pass."""
        shape = [1] * t.dim()
        shape[0], shape[axis] = t.shape[0], t.shape[axis]

        def make() -> Tensor:
            generator = draws.stream.child(name).generator(side)
            drawn = torch.randint(0, 2, (t.shape[0], t.shape[axis]), generator=generator)
            return (2 * drawn - 1).to(t.device, t.dtype)

        return draws.once.get(name, side, t.shape[0], t.dtype, make=make).view(shape)


def _deviation(weight: Tensor) -> Tensor:
    """The standard deviation of a product's weights, a constant to gradients; a single weight has none to speak of."""
    return weight.detach().std(correction=0)
