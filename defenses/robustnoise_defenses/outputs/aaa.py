"""AAA: logits that send attacks by scores the wrong way, under labels that stay as they are.

With the margin ``l = z_first - max of the other logits`` of the answered class, the period tau and the step alpha,

    l_attractor = (floor(l / tau) + 1/2) tau,    l_target = l_attractor - alpha (l - l_attractor):

inside each period of length tau the shown margin falls where the true one rises, so a change of the image that looks
like progress is a setback, until the attacker has come a whole period far. The shown logits u minimise

    |margin(u) - l_target| + beta |softmax(u)_first - p_target|,    p_target = softmax(z / T)_first,

by `steps` of Adam from u = z. The second term keeps the shown confidence, calibrated with the temperature T.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from robustnoise.api import (
    Access,
    Answer,
    Classifier,
    Context,
    Defense,
    DefenseTraits,
    Differentiable,
    Number,
    SeedStream,
    Stage,
    Wrapper,
)
from robustnoise_defenses.outputs.beneath import Beneath
from robustnoise_defenses.outputs.scores import need_scores, shown_logits

FIRST_MOMENT, SECOND_MOMENT, TINY = 0.9, 0.999, 1e-8
"""Adam's constants: Kingma & Ba 2015, arXiv 1412.6980, algorithm 1."""


@dataclass(frozen=True)
class AAA(Defense):
    """Adversarial Attack on Attackers, the linear one: scores that mislead attacks through queries.

    The module's text has the formulas. Labels never change: an image whose shown logits would name another class, as
    may happen where `alpha` is above 1, is shown its true logits. A classifier that shows scores alone is treated by
    their logarithms. The defaults are those of the authors' code. Attacks that look at labels alone, substitutes and
    audits with gradients, which climb the logits beneath, are not misled.
    """

    reference = (
        "Chen, Huang, Tao, Wu, Xie & Huang 2022, arXiv 2205.12134 (NeurIPS 2022), AAA-linear; its formulas as in the "
        "authors' code, github.com/Sizhe-Chen/AAA, victim.py, class AAALinear"
    )
    traits = DefenseTraits(Stage.INFERENCE, differentiable=False, softened=True)

    tau: Annotated[Number, Field(gt=0, le=1000, description="period of the misleading curve, logits")] = 4.0
    _: KW_ONLY
    alpha: Annotated[Number, Field(gt=0, le=10, description="how steeply the shown margin falls where it rises")] = 1.0
    beta: Annotated[Number, Field(ge=0, le=1000, description="weight of the calibrated confidence")] = 5.0
    temperature: Annotated[
        Number, Field(gt=0, le=100, description="T of the calibrated confidence, tuned on validation images")
    ] = 1.0
    steps: Annotated[int, Field(ge=1, le=10_000, description="of Adam, for every answer")] = 100
    rate: Annotated[Number, Field(gt=0, le=10, description="Adam's step, logits")] = 0.1

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return _Misleading(model, self)

    def shows(self, inner: Access) -> Access:
        """What the inner classifier shows, which must be scores at least."""
        need_scores(inner, "aaa")
        return inner


class _Misleading(Wrapper):
    def __init__(self, inner: Classifier, defense: AAA) -> None:
        super().__init__(inner, defense, stochastic=False)
        self.defense = defense

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        with torch.inference_mode():
            answer = self.inner.predict(x, noise=noise.child("inner"))
            logits = mislead(shown_logits(answer, "aaa"), self.defense)
            return Answer(answer.labels, logits.softmax(1), None if answer.logits is None else logits, answer.passes)

    def softened(self) -> Differentiable:
        return Beneath(self)


def target_margin(margin: Tensor, tau: float, alpha: float) -> Tensor:
    """The margin to show instead of `margin`: the module's ``l_target``."""
    attractor = ((margin / tau).floor() + 0.5) * tau
    return attractor - alpha * (margin - attractor)


def mislead(logits: Tensor, defense: AAA) -> Tensor:
    """The logits to show instead of `logits`, (n, K); each row follows from itself alone."""
    true, first = logits.double(), functional.one_hot(logits.argmax(1), logits.shape[1]).bool()
    target = target_margin(_margin(true, first), defense.tau, defense.alpha)
    confidence = (true / defense.temperature).softmax(1)[first]
    u, mean, square = true.clone(), torch.zeros_like(true), torch.zeros_like(true)
    for step in range(1, defense.steps + 1):
        slope = _slope(u, first, target, confidence, defense.beta)
        mean = FIRST_MOMENT * mean + (1 - FIRST_MOMENT) * slope
        square = SECOND_MOMENT * square + (1 - SECOND_MOMENT) * slope**2
        scale = (square / (1 - SECOND_MOMENT**step)).sqrt() + TINY
        u = u - defense.rate * mean / (1 - FIRST_MOMENT**step) / scale
    kept = (u.argmax(1) == true.argmax(1))[:, None]
    return torch.where(kept, u, true).to(logits.dtype)


def _margin(z: Tensor, first: Tensor) -> Tensor:
    """(n,) the logit of the class in `first` less the largest other one."""
    return z[first] - z.masked_fill(first, -torch.inf).amax(1)


def _slope(u: Tensor, first: Tensor, target: Tensor, confidence: Tensor, beta: float) -> Tensor:
    """The gradient of the module's objective, (n, K)."""
    second = functional.one_hot(u.masked_fill(first, -torch.inf).argmax(1), u.shape[1])
    away = (_margin(u, first) - target).sign()[:, None]
    p = u.softmax(1)
    shown = p[first][:, None]
    surer = (shown[:, 0] - confidence).sign()[:, None]
    return away * (first.to(u.dtype) - second) + beta * surer * shown * (first.to(u.dtype) - p)
