"""Gaussian noise of a given standard deviation inside the network, however strong the signal is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from robustnoise.api import BadParameter, DefenseTraits, Number, SeedStream, Stage
from robustnoise_defenses.noise.draws import Draws
from robustnoise_defenses.noise.inside import Effect, InsideDefense, Layers
from robustnoise_defenses.noise.layers import ON_INPUT, ON_OUTPUT
from robustnoise_defenses.noise.measure import Signals
from robustnoise_defenses.noise.power import add_scaled
from robustnoise_defenses.noise.products import CONVOLUTIONS, Op, product_names, select


@dataclass(frozen=True)
class AbsoluteNoise(InsideDefense):
    """Adds fresh Gaussian noise of standard deviation `sigma`, in units of the activations, at every matrix product.

    `layer-noise` measures its noise by the signal; this one doesn't, so a network that is trained under it can escape
    by growing its activations, and one `sigma` means something else in every layer of every network. Two defenses of
    the literature are settings of it:

    - ``random-features(0.1)``: the hidden activations that go into the products are noisy, the image isn't
      (``first=0``). Their code adds the noise between the blocks of a network; into a residual block ours goes on the
      branch, not on the way around it.
    - ``rse-noise``: 0.2 before the first convolution and 0.1 before every other (github.com/xuanqing94/BayesianDefense,
      train_rse.sh), in training and at inference:
      ``plain-training | noise-training(rse-noise) | rse-noise | vote(10, rule=mean-probability)``.

    Site:
        layer_input: what goes into a product, after the activation function before it. pre_activation: what comes out,
        with the bias, before any norm layer or activation; the logits included.
    """

    reference = (
        "Nguyen et al. 2024, arXiv 2310.00567 (randomized features); Liu et al. 2018, arXiv 1712.00673 (random "
        "self-ensemble)"
    )
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"sigma": 0.0, "first": 0.0})

    sigma: Annotated[Number, Field(ge=0, le=1000, description="standard deviation, in units of the activations")] = 0.1
    site: Annotated[
        Literal["layer_input", "pre_activation"], Field(description="where the noise comes in")
    ] = "layer_input"  # fmt: skip
    layers: Layers = "*"
    first: Annotated[
        Number | None,
        Field(ge=0, le=1000, description="standard deviation at the first product of the network; none: sigma"),
    ] = None
    among: Annotated[
        Literal["all", "convolutions"],
        Field(description="which products; a network without convolutions gets noise at all of them"),
    ] = "all"

    def is_off(self) -> bool:
        """At no strength, also at the first product."""
        return self.sigma == 0 and not self.first

    def products(self, module: nn.Module) -> list[str]:
        """The convolutions alone, if that is wanted and there are any."""
        names = product_names(module)
        if self.among == "all":
            return names
        convolutions = {name for name, layer in module.named_modules() if isinstance(layer, CONVOLUTIONS)}
        return [name for name in names if name in convolutions] or names

    def effect(self, names: list[str], signals: Callable[[], Signals], turn: int) -> Effect:
        """See `InsideDefense.effect`."""
        return self._effect(names, 0.0)

    def training_effect(self, names: list[str], extra_db: float, stream: SeedStream) -> Effect:
        """See `InsideDefense.training_effect`."""
        return self._effect(names, extra_db)

    def _effect(self, names: list[str], extra_db: float) -> Effect:
        sigmas = dict.fromkeys(select(names, self.layers, type(self).__name__), self.sigma)
        if self.first is not None and names[0] in sigmas:
            sigmas[names[0]] = self.first
        less = 10 ** (-extra_db / 20)
        noisy = {name: sigma * less for name, sigma in sigmas.items() if sigma}
        if not noisy:  # it would quietly defend nothing
            raise BadParameter(
                f"{type(self).__name__}: sigma = {self.sigma:g} and first = {self.first} leave no noise at any of "
                f"{', '.join(sigmas)}. Expected a strength above 0 there, or other layers."
            )
        return _Absolute(noisy, self.site)


class _Absolute(Effect):
    """Noise of the standard deviation `sigmas` by product."""

    def __init__(self, sigmas: dict[str, float], site: str) -> None:
        super().__init__(list(sigmas))
        self.sigmas = sigmas
        self.at_input = site == "layer_input"
        self.order = ON_INPUT if self.at_input else ON_OUTPUT

    def on_input(self, name: str, a: Tensor, axis: int, counted: Tensor | None, draws: Draws) -> Tensor:
        return self._noisy(name, a, draws) if self.at_input else a

    def on_output(
        self, name: str, out: Tensor, a: Tensor, weight: Tensor, op: Op, axis: int, counted: Tensor | None, draws: Draws
    ) -> Tensor:  # fmt: skip
        return out if self.at_input else self._noisy(name, out, draws)

    def _noisy(self, name: str, t: Tensor, draws: Draws) -> Tensor:
        return add_scaled(t, draws.normal_like(name, t), self.sigmas[name])
