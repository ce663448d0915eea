"""Defenses that act on the matrix products of a network, and the classifier that carries them.

Whatever the order of such stages in a stack, they act in the physical order of a device: converter to analog, noise on
the input, weights as they are stored, noise of reading them, noise on the output, converter to digital.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from robustnoise.api import (
    BadParameter,
    Classifier,
    Context,
    Defense,
    InputWrapper,
    LayerWrapper,
    MissingCapability,
    Modular,
    SeedStream,
    TorchClassifier,
    require_modular,
)
from robustnoise_defenses.noise.draws import Draws, Stored
from robustnoise_defenses.noise.measure import INPUT, LOGITS, Signals, measure
from robustnoise_defenses.noise.prefix import Prefix
from robustnoise_defenses.noise.products import Op, channel_axis, product_names, replaced, running

Layers = Annotated[str, Field(description="shell patterns of product names, ! takes away: '*, !head'")]
"""The field by which a defense of this kind chooses products; see `products.select`."""


class Effect:
    """What one defense does to a signal on its way; every method gives back what it was given, changed or not.

    Args:
        names: the places where it acts: matrix products, `measure.INPUT`, `measure.LOGITS`.
    """

    order = 0
    """Place among the effects of a device; equal ones act in the order of the stack."""
    changes_weights = False
    """Whether `on_weight` does anything."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    @property
    def state(self) -> Any:
        """JSON of what was measured or drawn for it, for the victim's identity."""
        return None

    def on_input(self, name: str, a: Tensor, axis: int, counted: Tensor | None, draws: Draws) -> Tensor:
        """The input `a` (n, ...) of product `name`, with channels along `axis`."""
        return a

    def meet(self, module: nn.Module) -> None:
        """The network that is about to run; for an effect that follows from more of it than its products' names."""

    def on_weight(self, name: str, weight: Tensor, draws: Draws) -> Tensor:
        """The weight of product `name` as it is stored, the same at every product; at inference it is asked once."""
        return weight

    def on_output(
        self, name: str, out: Tensor, a: Tensor, weight: Tensor, op: Op, axis: int, counted: Tensor | None, draws: Draws
    ) -> Tensor:  # fmt: skip
        """The output of product `name`, before any norm layer or activation."""
        return out


class InsideDefense(Defense):
    """Base of the defenses that act inside the network: a subclass says which effect it has."""

    def is_off(self) -> bool:
        """Whether it does nothing."""
        raise NotImplementedError

    def products(self, module: nn.Module) -> list[str]:
        """The products of the network among which it chooses; override it where not every kind is meant."""
        return product_names(module)

    def prepared(self, model: Classifier) -> Classifier:
        """What a training under this effect starts from; override it where the network is to hold something more."""
        return model

    def effect(self, names: list[str], signals: Callable[[], Signals], turn: int) -> Effect:
        """The effect at inference.

        Args:
            names: what `products` gave.
            signals: measures the network on training images, once however often it is called.
            turn: how many defenses of this kind the device has already; a part of the stream of what is drawn once, so
                that two of a kind are independent.
        """
        raise NotImplementedError

    def training_effect(self, names: list[str], extra_db: float, stream: SeedStream) -> Effect:
        """The effect in a step of training, where weights and signals still move.

        Args:
            names: what `products` gave.
            extra_db: by how much less noise there is than at inference, dB.
            stream: of what is drawn once for a device; every step is another device.
        """
        raise NotImplementedError

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """The classifier with this effect in its layers."""
        who = type(self).__name__
        modular = require_modular(model, who)
        if self.is_off():
            return model
        names = self.products(modular.module)
        if not names:
            raise BadParameter(f"{who}: the network has no linear, convolutional, recurrent or attention layer.")
        root = modular.root if isinstance(modular, Inside) else modular

        def signals() -> Signals:
            train = ctx.need_train(who)
            key = ("signals", root.digest, train.digest)
            if key not in ctx.shared:
                ctx.shared[key] = measure(modular.module, train)
            found = ctx.shared[key]
            assert isinstance(found, Signals)
            return found

        return Inside(modular, self, self.effect(names, signals, _how_many(type(self), modular)))


class Inside(LayerWrapper):
    """A classifier whose network runs with effects; one pass, however many effects are stacked.

    Args:
        inner: the classifier; where it is such a one itself, its effects and this one make one device.
        defense: the plugin.
        effect: its effect.
    """

    def __init__(self, inner: Modular, defense: InsideDefense, effect: Effect) -> None:
        super().__init__(inner, defense, stochastic=defense.traits.stochastic, state=effect.state)
        below = inner if isinstance(inner, Inside) else None
        self.root: Modular = below.root if below else inner
        self.effects: tuple[Effect, ...] = (*(below.effects if below else ()), effect)
        self.defense = defense
        # The stored weights belong to the whole device, so to the classifier that is asked, not to one of its effects.
        self.stored = Stored()
        self.prefix: Prefix | None = None

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `robustnoise.protocols.Differentiable.logits`."""
        with device(self.module, self.effects, noise.child("effect"), self.stored, self.prefix):
            return self.root.logits(x, noise=noise.child("inner"))

    @contextmanager
    def repeating(self) -> Iterator[None]:
        """What comes before the first noisy product is run once for the same images."""
        if self.prefix is not None:  # somebody around has asked for it
            yield
            return
        places = self._reached()
        prefix = None if places is None else Prefix(self.module, places)
        self.prefix = prefix if prefix and prefix.length else None
        try:
            yield
        finally:
            self.prefix = None

    def _reached(self) -> set[str] | None:
        """Where effects act in a pass, those of stages behind an input defense too; None where that isn't known."""
        places: set[str] = set()
        layer: object = self
        while layer is not None:
            if isinstance(layer, Inside):
                places |= {name for effect in layer.effects for name in effect.names}
            elif not isinstance(layer, (InputWrapper, TorchClassifier)):  # it may draw, or hide one that does
                return None
            layer = getattr(layer, "inner", None)
        return places


def _how_many(kind: type[InsideDefense], model: object) -> int:
    """The defenses of this kind in the stack that ends in `model`, also behind wrappers of another sort."""
    count = 0
    while model is not None:
        count += isinstance(model, Inside) and type(model.defense) is kind
        model = getattr(model, "inner", None)
    return count


@contextmanager
def device(
    module: nn.Module, effects: Sequence[Effect], noise: SeedStream, stored: Stored | None = None,
    prefix: Prefix | None = None,
) -> Iterator[None]:  # fmt: skip
    """Run `module` with `effects` in its products; one pass draws from `noise`.

    Where a device is active already, the two act as one, so that the physical order holds for all their effects.

    Args:
        module: the network.
        effects: in the order of the stack.
        noise: of all that is drawn afresh.
        stored: keeps the weights of the device, where those of the network stay as they are; None, in training, makes
            them once in every forward pass.
        prefix: runs the network; None has it run as its author wrote it.
    """
    mine = [(effect, Draws(noise.child(number))) for number, effect in enumerate(effects)]
    for effect in effects:
        effect.meet(module)
    outer = running(module)
    if isinstance(outer, _Device):
        around = outer.acting
        # What is entered later is the earlier stage of the stack.
        outer.acting = _in_order([*mine, *around])
        try:
            yield
        finally:
            outer.acting = around
        return
    whole = _Device(_in_order(mine), stored)
    with replaced(module, whole, whole.before, whole.after, prefix):
        yield


_Acting = list[tuple[Effect, Draws]]


def _in_order(acting: _Acting) -> _Acting:
    return sorted(acting, key=lambda pair: pair[0].order)


class _Device:
    """The product of `device`, see `products.Product`."""

    def __init__(self, acting: _Acting, stored: Stored | None) -> None:
        self.acting, self.stored = acting, stored
        self.rows = 0
        self._this_pass: dict[str, Tensor] = {}

    def __call__(
        self, name: str, a: Tensor, weight: Tensor, bias: Tensor | None, op: Op, counted: Tensor | None = None
    ) -> Tensor:
        axis = channel_axis(op)
        self._check_rows_first(name, a, axis)
        acting = [pair for pair in self.acting if name in pair[0].names]
        for effect, draws in acting:
            a = effect.on_input(name, a, axis, counted, draws)
        weight = self._stored_weight(name, weight, [pair for pair in acting if pair[0].changes_weights])
        out = op(a, weight, bias)
        for effect, draws in acting:
            out = effect.on_output(name, out, a, weight, op, axis, counted, draws)
        return out

    def _stored_weight(self, name: str, weight: Tensor, acting: _Acting) -> Tensor:
        def make() -> Tensor:
            return functools.reduce(lambda w, pair: pair[0].on_weight(name, w, pair[1]), acting, weight)

        if not acting:
            return weight
        if name not in self._this_pass:  # a recurrent layer asks at every step
            effects = [effect for effect, _ in acting]
            self._this_pass[name] = make() if self.stored is None else self.stored.get(name, weight, effects, make)
        return self._this_pass[name]

    def before(self, x: Tensor) -> Tensor:
        self.rows = len(x)
        self._this_pass = {}
        return self._at(INPUT, x, 1)

    def after(self, out: Tensor) -> Tensor:
        self._this_pass = {}
        return self._at(LOGITS, out, -1)

    def _check_rows_first(self, name: str, a: Tensor, axis: int) -> None:
        """With time first, the images of a batch would change each other's noise."""
        if axis == -1 and a.dim() == 3 and a.shape[1] == self.rows != len(a):
            raise MissingCapability(
                f"layer {name!r} gets a tensor of shape {tuple(a.shape)} for {self.rows} images: noise inside the "
                "network expects the batch first. Transpose before the layer, or build it with batch_first=True."
            )

    def _at(self, name: str, t: Tensor, axis: int) -> Tensor:
        for effect, draws in self.acting:
            if name in effect.names:
                t = effect.on_input(name, t, axis, None, draws)
        return t
