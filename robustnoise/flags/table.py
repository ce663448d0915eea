"""The table of flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

ALPHA = 0.001
"""Level of every test of a flag, two-sided."""
MATTERS = 0.02
"""A difference of accuracies below it is told and raises nothing, however sure it is."""
ALIKE = 0.05
"""An attack is called as weak as another only where the 95 % interval leaves out that it takes this much more."""
FLAT = 0.05
"""Share of images without a gradient from which it is said that gradients are missing."""
ENOUGH = 256
"""Images of an audit below which little is found."""
TIGHT = 0.01
"""A delta whose 95 % interval lies this near to 0 is known well enough to be called none."""
OUTSIDE = 0.5 / 255
"""Pixels outside of the ball that rounding can explain."""
STRANGER = 0.2
"""How far the agreement of substitute and victim may lie below the victim's accuracy."""
UNSPENT = 0.5
"""Share of the budget, for the images that stood, below which it counts as unspent."""


class Flag(NamedTuple):
    """A kind of suspicion.

    Args:
        where: what it is raised on: ``"rows"``, ``"audit"`` or ``"both"``.
        raised_if: the test, with its threshold.
        means: what it says.
        do: what to do about it.
        blocks: whether a row with it is listed, but not ranked.
    """

    where: str
    raised_if: str
    means: str
    do: str
    blocks: bool


class Raised(NamedTuple):
    """A flag on a row or a victim, with the numbers that raised it in a sentence."""

    flag: str
    text: str


OF_ATTACKS = ("CONTROL_AS_STRONG", "BASELINE_NOT_HURT")
"""Blocking flags of a row that speak against its attack, not against its victim."""


def blocks(found: Iterable[Raised]) -> bool:
    """Whether one of them keeps a row out of the ranking."""
    return any(FLAGS[raised.flag].blocks for raised in found)


_TEST = f"(paired on the same images, alpha {ALPHA}, two-sided)"
_ALIKE = f"{_TEST}, and the 95 % interval leaves out {100 * ALIKE:g} points less: with few images nothing is said"
_BY = f"by {100 * MATTERS:g} points or more {_TEST}"

FLAGS: dict[str, Flag] = {
    "RANDOMISED": Flag(
        "both",
        raised_if="the victim's answers are random",
        means="Gradient-free attacks fail against noise without the model being robust (Carlini et al. 2019, arXiv "
        "1902.06705, section 4).",
        do="Read it beside attacks that average over the noise, and beside any_fail_m.",
        blocks=False,
    ),
    "BATCH_COUPLED": Flag(
        "audit",
        raised_if="of the first 64 even rows of a batch, one is answered otherwise when the odd rows are exchanged, "
        "with the same draws of noise",
        means="An answer depends on its neighbours, such as by batch statistics. Accuracy then depends on who is asked "
        "with whom, and attacks that work on batches see another model than the one that is scored.",
        do="Put the model into evaluation mode, or give it one image at a time.",
        blocks=True,
    ),
    "NULL_CONTROL_DROPS": Flag(
        "both",
        raised_if=f"accuracy on unchanged images, asked again in other draws, is not that on clean images {_TEST}",
        means="What is lost is lost without any attack: the answers drift, or draws of noise are not independent.",
        do="Find out what changes between two times of asking. Until then no delta on this victim means anything.",
        blocks=True,
    ),
    "ZERO_GRADIENT": Flag(
        "audit",
        raised_if=f"at {100 * FLAT:g} % or more of the images the gradient of the cross-entropy is exactly 0 in every "
        "pixel (float32; of a random victim in each of four draws)",
        means="Attacks by gradients stand still: rounding without straight-through gradients, or logits so large that "
        "the softmax saturates. Gradients that are masked are no robustness (Athalye et al. 2018, arXiv 1802.00420).",
        do="Pass gradients straight through what rounds; attack the margin of the logits; believe the query attack.",
        blocks=True,
    ),
    "CONTROL_AS_STRONG": Flag(
        "both",
        raised_if=f"an attack leaves no lower accuracy than random noise of the same radius {_ALIKE}; not where noise "
        "leaves nothing (rows) or not surely more than a constant answer would (audit). Audit: the white-box attacks "
        "together, without gradients the black-box ones",
        means="The attack does nothing that noise doesn't do: it is broken, or the victim doesn't look at the image.",
        do="Repair the attack, or use a stronger one. A row with it says nothing about robustness.",
        blocks=True,
    ),
    "STEPS_NOT_CONVERGED": Flag(
        "audit",
        raised_if=f"with twice the steps the first white-box attack leaves less {_BY}",
        means="The attack was stopped before it was done: its number is too high.",
        do="Take more steps until nothing changes.",
        blocks=True,
    ),
    "EOT_NOT_CONVERGED": Flag(
        "audit",
        raised_if="averaging gradients over twice the draws of noise, the first white-box attack leaves another "
        f"accuracy, apart {_BY}",
        means="The attack doesn't see through the noise yet: its number is too high, and more draws lower it.",
        do="Double the draws (eot) until nothing changes.",
        blocks=True,
    ),
    "NOT_MONOTONE_IN_EPS": Flag(
        "audit",
        raised_if=f"at a larger radius the same attack leaves more {_BY}; radii eps/2, eps, 2 eps, unbounded",
        means="A larger ball holds the smaller one, so the attack misses what is there: it is broken, or led astray by "
        "the gradients.",
        do="Look at the attack's step sizes and at the gradients.",
        blocks=True,
    ),
    "EPS_ONE_SURVIVES": Flag(
        "audit",
        raised_if="with a radius at which every image can become every other, accuracy stays above half of what a "
        f"constant answer gets (interval at alpha {ALPHA})",
        means="Nothing can be robust there: the attack is broken, or the victim doesn't look at the image.",
        do="Repair the attack before any of its numbers is believed.",
        blocks=True,
    ),
    "BLACKBOX_BEATS_WHITEBOX": Flag(
        "both",
        raised_if=f"black-box attacks leave less than white-box attacks of the same radius do, {_BY}",
        means="Who sees everything must do at least as well. Gradients are masked.",
        do="Believe the black-box number; find what breaks the gradients.",
        blocks=True,
    ),
    "NOISE_OFF_BELOW_BASELINE": Flag(
        "audit",
        raised_if="with its noise switched off the same net, under the first white-box attack, keeps less than the "
        f"baseline does {_TEST}; while black-box attacks leave more of the noisy victim {_BY}. Without a baseline: "
        f"surely keeps less than a constant answer would, 1 in the number of classes (interval at alpha {ALPHA}); "
        "where it keeps more, and noise adds to it, nothing can be said without one",
        means="The net itself has no robustness beyond the baseline's: what is gained is randomness, which hides the "
        "way to adversarial images and removes none.",
        do="Give the audit a baseline. Train the net adversarially, and report the noise's gain beside that net's own "
        "robustness.",
        blocks=True,
    ),
    "BASELINE_NOT_HURT": Flag(
        "rows",
        raised_if=f"the undefended net loses nothing to the attack {_ALIKE}; controls aside",
        means="An attack that can't hurt a net without defense shows nothing about one with it.",
        do="Use a stronger attack or a larger radius.",
        blocks=True,
    ),
    "ATTACK_ORDER": Flag(
        "rows",
        raised_if=f"an attack that never asks the victim leaves less than this one, which does, {_BY}",
        means="Asking should pay. The query attack is weak, or short of queries; worst cases over attacks hold all the "
        "same.",
        do="Raise the budget, or use a better attack through queries.",
        blocks=False,
    ),
    "SUBSTITUTE_DISAGREES": Flag(
        "rows",
        raised_if=f"substitute and victim give the same label {100 * STRANGER:g} points more seldom than the victim is "
        "right on clean images",
        means="Little that is crafted on such a substitute can carry over: the attack is weak, not the victim strong.",
        do="Train the substitute longer or on more data.",
        blocks=False,
    ),
    "BUDGET_UNSPENT": Flag(
        "rows",
        raised_if=f"the attack used less than {100 * UNSPENT:g} % of the queries that it had for images which stood "
        "(of a total budget: its even share for each); not images that were handed in, whose queries are claimed",
        means="It gave up early. The number is one for fewer queries than the board grants.",
        do="Let it ask on, or state the smaller budget.",
        blocks=False,
    ),
    "PROJECTION_NEEDED": Flag(
        "rows",
        raised_if="an image was outside of the ball by more than half a level (1/510 of the range) before the harness "
        "projected it",
        means="What was found outside of the ball was moved into it, and may not fool anyone there.",
        do="Let the attack keep to the radius itself.",
        blocks=False,
    ),
    "TOO_FEW_IMAGES": Flag(
        "both",
        raised_if="the delta to the reference can't be resolved at this n: fewer than 10 discordant pairs, or a "
        f"smallest delta (80 % power) above the one seen, unless its 95 % interval lies within {100 * TIGHT:g} point "
        f"of 0. Audit: fewer than {ENOUGH} images",
        means="Differences of this size can't be told from chance.",
        do="Take more images, or make no claim about the difference.",
        blocks=False,
    ),
    "TRUSTED_CODE": Flag(
        "both",
        raised_if="the victim is made by somebody's Python factory, run under --trust-code",
        means="What that code does can't be seen from its name: answers may come from anywhere.",
        do="Read the code, or ask for weights over a registered architecture.",
        blocks=False,
    ),
}
