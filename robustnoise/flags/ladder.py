"""The checks of an audit, from the counts in its record."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from robustnoise.audits import BLACK_BOX, WHITE_BOX, AuditRecord, Measure
from robustnoise.flags.compare import accuracy, beside, chance, interval, lower, no_lower, percent, sure
from robustnoise.flags.rows import runs_code
from robustnoise.flags.table import ALPHA, ENOUGH, FLAGS, FLAT, Raised
from robustnoise.stats import Delta, paired_delta
from robustnoise.tally import Tally

PASSED, RAISED, IMPOSSIBLE = "passed", "raised", "not possible"


class Check(NamedTuple):
    """One rung's result.

    Args:
        flag: a key of `FLAGS`.
        state: ``"passed"``, ``"raised"`` or ``"not possible"``.
        text: the numbers, or the reason, in a sentence.
    """

    flag: str
    state: str
    text: str


Found = tuple[str, str]
"""State and text."""


def checks(audit: AuditRecord) -> list[Check]:
    """Every check, in the order of the ladder."""
    found = [Check(flag, *check(audit)) for flag, check in CHECKS.items()]
    if audit.n >= TESTABLE:
        return found
    few = f"{audit.n} images, of which no test at alpha {ALPHA:g} can say anything."
    return [Check(c.flag, IMPOSSIBLE, few) if c.flag in TESTS and c.state == PASSED else c for c in found]


def raised_by(audit: AuditRecord) -> tuple[Raised, ...]:
    """The flags that an audit raises on its victim."""
    return tuple(Raised(c.flag, c.text) for c in checks(audit) if c.state == RAISED)


def blocking(found: list[Check]) -> list[Check]:
    """Those that were raised and block."""
    return [c for c in found if c.state == RAISED and FLAGS[c.flag].blocks]


def _verdict(bad: bool, text: str) -> Found:
    return RAISED if bad else PASSED, text


def _random(audit: AuditRecord) -> Found:
    if not audit.stochastic:
        return PASSED, "the answers are not random."
    return RAISED, f"the answers are random; scored in {audit.clean.draws} fresh draws."


def _code(audit: AuditRecord) -> Found:
    if runs_code(audit.victim):
        return RAISED, f"the victim is {audit.victim['text']}."
    return PASSED, "the victim runs no code of its own that robustnoise was told to trust."


def _enough(audit: AuditRecord) -> Found:
    return _verdict(audit.n < ENOUGH, f"{audit.n} images; {ENOUGH} are wanted.")


def _coupled(audit: AuditRecord) -> Found:
    coupled, asked = audit.look["coupled"], audit.look["asked"]
    if coupled is None:
        return IMPOSSIBLE, "the same batch is answered otherwise each time, so neighbours can't be told from noise."
    return _verdict(coupled > 0, f"{coupled} of {asked} images are answered otherwise beside other neighbours.")


def _null(audit: AuditRecord) -> Found:
    for null in audit.done("null"):
        delta = _delta(audit, null.tally, audit.clean, "null")
        return _verdict(sure(delta), f"unchanged images, asked again: {beside(delta)}.")
    return IMPOSSIBLE, audit.why_not("null")


def _flat(audit: AuditRecord) -> Found:
    flat = audit.look["flat"]
    if flat is None:
        return IMPOSSIBLE, f"no gradients: {audit.look['closed']}"
    return _verdict(flat >= FLAT * audit.n, f"no gradient at {flat} of {audit.n} images.")


def _control(audit: AuditRecord) -> Found:
    attacks, controls = audit.done(*WHITE_BOX) or audit.done(*BLACK_BOX), audit.done("control")
    if not attacks or not controls:
        return IMPOSSIBLE, audit.why_not("control", *WHITE_BOX, *BLACK_BOX)
    control = controls[0].tally
    assert control is not None
    if interval(control.right, control.draws, audit.rng("chance")).low <= chance(audit.setting):
        return PASSED, f"random noise alone leaves {accuracy(control)} %, not surely more than a constant answer."
    delta = paired_delta(audit.worst(attacks), _draws(attacks), control.right, control.draws, audit.rng("control"))
    text = f"{_names(attacks)} against random noise, which leaves {accuracy(control)} %: {beside(delta)}."
    alike = no_lower(delta)
    if alike is None:
        return IMPOSSIBLE, f"{text.rstrip('.')}: too few images to tell."
    return _verdict(alike, text)


def _steps(audit: AuditRecord) -> Found:
    return _again(audit, "steps", both=False)


def _eot(audit: AuditRecord) -> Found:
    if not audit.stochastic:
        return PASSED, "the answers are not random."
    return _again(audit, "draws", both=True)


def _again(audit: AuditRecord, role: str, *, both: bool) -> Found:
    """The first white-box attack beside itself with twice the effort."""
    twice, once = audit.done(role), audit.done("white-box")
    if not twice or not once:
        return IMPOSSIBLE, audit.why_not("white-box", role)
    before = next((m for m in once if m.attack["name"] == twice[0].attack["name"]), once[0])
    delta = _delta(audit, twice[0].tally, before.tally, role)
    bad = lower(delta) or (both and lower(delta._replace(estimate=-delta.estimate)))
    return _verdict(bad, f"{twice[0].label} leaves {accuracy(twice[0].tally)} %: {beside(delta)}.")


def _radii(audit: AuditRecord) -> list[Measure]:
    """One attack at every radius, the smallest first."""
    further = audit.done("eps")
    if not further:
        return []
    name = further[0].attack["name"]
    own = [m for m in audit.done("white-box", "transfer") if m.attack["name"] == name]
    return sorted([*further, *own], key=lambda m: m.eps)


def _monotone(audit: AuditRecord) -> Found:
    found = _radii(audit)
    if len(found) < 2:
        return IMPOSSIBLE, audit.why_not("eps")
    text = f"{found[0].attack['name']} leaves " + ", ".join(f"{accuracy(m.tally)} % at {m.eps:.4g}" for m in found)
    for i, small in enumerate(found):
        for large in found[i + 1 :]:
            delta = _delta(audit, small.tally, large.tally, f"eps {small.eps} {large.eps}")
            if lower(delta):
                return RAISED, f"{text}: {beside(delta)} at {small.eps:.4g} against {large.eps:.4g}."
    return PASSED, f"{text}."


def _unbounded(audit: AuditRecord) -> Found:
    found = _radii(audit)
    if not found:
        return IMPOSSIBLE, audit.why_not("eps")
    last = found[-1]
    assert last.tally is not None
    level = chance(audit.setting) / 2
    low = interval(last.tally.right, last.tally.draws, audit.rng("unbounded")).low
    text = f"{last.label} leaves {accuracy(last.tally)} %; at most {percent(level)} % are right of a working attack."
    return _verdict(low > level, text)


def _black_beats_white(audit: AuditRecord) -> Found:
    black, white = audit.done(*BLACK_BOX), audit.done(*WHITE_BOX)
    if not black or not white:
        return IMPOSSIBLE, audit.why_not(*WHITE_BOX) if not white else audit.why_not(*BLACK_BOX)
    delta = _worst_delta(audit, black, white, "black beats white")
    left = [percent(float(audit.worst(part).mean()) / _draws(part)) for part in (black, white)]
    return _verdict(lower(delta), f"black-box {left[0]} %, white-box {left[1]} %: {beside(delta)}.")


def _noise_off(audit: AuditRecord) -> Found:
    if not audit.stochastic:
        return PASSED, "the answers are not random."
    off, black = audit.done("noise-off"), audit.done(*BLACK_BOX)
    if not off or not black:
        return IMPOSSIBLE, audit.why_not("noise-off", *BLACK_BOX)
    quiet, baseline = off[0].tally, audit.done("baseline")
    assert quiet is not None
    gain = paired_delta(quiet.right, quiet.draws, audit.worst(black), _draws(black), audit.rng("gain"))
    if baseline:
        below = sure(delta := _delta(audit, quiet, baseline[0].tally, "baseline")) and delta.estimate < 0
        against = f"the baseline {accuracy(baseline[0].tally)} %"
    else:
        level = chance(audit.setting)
        below = interval(quiet.right, quiet.draws, audit.rng("quiet")).high < level
        against = f"a constant answer {percent(level)} % (no baseline was given)"
    left = percent(float(audit.worst(black).mean()) / _draws(black))
    text = f"noise off, {off[0].label} leaves {accuracy(quiet)} %, of {against}; "
    text += f"with noise, black-box attacks leave {left} %."
    if not below and not baseline and lower(gain):
        return IMPOSSIBLE, f"{text} Whether that is more than noise needs an adversarially trained baseline: give one."
    return _verdict(below and lower(gain), text)


def _delta(audit: AuditRecord, a: Tally | None, b: Tally | None, name: str) -> Delta:
    assert a is not None
    assert b is not None
    return paired_delta(a.right, a.draws, b.right, b.draws, audit.rng(name))


def _worst_delta(audit: AuditRecord, a: list[Measure], b: list[Measure], name: str) -> Delta:
    left, right = audit.worst(a), audit.worst(b)
    return paired_delta(left, _draws(a), right, _draws(b), audit.rng(name))


def _draws(measures: list[Measure]) -> int:
    return next(m.tally.draws for m in measures if m.tally is not None)


def _names(measures: list[Measure]) -> str:
    return " and ".join(dict.fromkeys(str(m.attack["name"]) for m in measures))


CHECKS: dict[str, Callable[[AuditRecord], Found]] = {
    "RANDOMISED": _random,
    "TRUSTED_CODE": _code,
    "TOO_FEW_IMAGES": _enough,
    "BATCH_COUPLED": _coupled,
    "NULL_CONTROL_DROPS": _null,
    "ZERO_GRADIENT": _flat,
    "CONTROL_AS_STRONG": _control,
    "STEPS_NOT_CONVERGED": _steps,
    "EOT_NOT_CONVERGED": _eot,
    "NOT_MONOTONE_IN_EPS": _monotone,
    "EPS_ONE_SURVIVES": _unbounded,
    "BLACKBOX_BEATS_WHITEBOX": _black_beats_white,
    "NOISE_OFF_BELOW_BASELINE": _noise_off,
}
"""The ladder: cheap checks first."""

TESTS = (
    "NULL_CONTROL_DROPS",
    "STEPS_NOT_CONVERGED",
    "EOT_NOT_CONVERGED",
    "NOT_MONOTONE_IN_EPS",
    "BLACKBOX_BEATS_WHITEBOX",
    "NOISE_OFF_BELOW_BASELINE",
)
"""Those that compare accuracies, and can be raised from `TESTABLE` images on."""
TESTABLE = math.ceil(1 - math.log2(ALPHA))
"""Where all pairs are discordant in one direction, McNemar's p is 2^(1 - n)."""
