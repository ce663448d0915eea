"""Every check of an audit, from counts: those that raise its flag, those that don't, and what was not possible."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robustnoise.flags
from robustnoise.audits import AuditRecord, Measure
from robustnoise.errors import RowError
from robustnoise.flags import ALPHA, FLAGS, checks, raised_by
from robustnoise.flags.__main__ import document
from robustnoise.flags.ladder import CHECKS
from robustnoise.report.audit import Audit
from robustnoise.spec import digest_of
from robustnoise.tally import Tally

N = 300
SETTING: dict[str, Any] = {
    "seed": 0,
    "data": {"name": "digits", "classes": 10},
    "threat": {"norm": "linf", "eps": 0.1, "access": "labels"},
    "draws": 1,
    "block": 128,
    "identity": 1,
}
LOOK = {"shows": "logits", "closed": None, "flat": 0, "coupled": 0, "asked": 64}
NET = {"name": "at", "text": "pgd-training", "digest": "b"}
REASON = "it hides them."


def tally(right: int, draws: int = 1) -> Tally:
    counts = np.where(np.arange(N) < right, draws, 0).astype(np.uint16)
    return Tally(counts, np.zeros(N, np.uint16), counts if draws > 1 else None, draws)


def measure(role: str, right: int | None, *, eps: float = 0.1, name: str = "", draws: int = 1) -> Measure:
    attack = {"name": name or role, "text": name or role, "spec": {}}
    if right is None:
        return Measure(role, attack, eps, None, REASON)
    return Measure(role, attack, eps, tally(right, draws))


SOUND = {"null": 290, "control": 285, "transfer": 240, "query": 230, "white-box": 200, "steps": 199}
RADII = {0.05: 250, 0.2: 90, 1.0: 0}


def audit(*, draws: int = 1, radii: dict[float, int] | None = None, **changes: Any) -> AuditRecord:
    """A sound one, but for `changes`: right answers by role, None for what is not possible, or fields."""
    fields = {k: changes.pop(k) for k in ("look", "victim") if k in changes}
    right: dict[str, int | None] = SOUND | ({"draws": 198, "noise-off": 205} if draws > 1 else {})
    right |= {k.replace("_", "-"): v for k, v in changes.items()}
    names = {"white-box": "pgd", "steps": "pgd", "draws": "pgd"}
    measures = [
        measure(role, count, name=names.get(role, ""), draws=1 if role in ("noise-off", "baseline") else draws)
        for role, count in right.items()
    ]
    measures += [measure("eps", v, eps=k, name="pgd", draws=draws) for k, v in (radii or RADII).items()]
    known = AuditRecord(
        SETTING | {"draws": draws},
        {"name": "net", "text": "plain-training", "defense": {}, "digest": "d"},
        None,
        LOOK,
        draws > 1,
        1,
        tally(290, draws),
        tuple(measures),
        {},
    )
    return replace(known, **fields)


def state(record: AuditRecord, flag: str) -> str:
    return next(c.state for c in checks(record) if c.flag == flag)


def flags(record: AuditRecord) -> list[str]:
    return [r.flag for r in raised_by(record)]


def test_a_sound_victim_passes_everything() -> None:
    assert {c.state for c in checks(audit())} == {"passed"}
    assert flags(audit(draws=4)) == ["RANDOMISED"]


def test_few_images_are_told() -> None:
    small = audit()
    assert state(small, "TOO_FEW_IMAGES") == "passed"
    cut = [replace(m, tally=_first(m.tally, 100)) for m in small.measures]
    assert "TOO_FEW_IMAGES" in flags(replace(small, clean=_first(small.clean, 100), measures=tuple(cut)))


def _first(found: Tally | None, n: int) -> Tally:
    assert found is not None
    return Tally(found.right[:n], found.abstained[:n], None, 1)


def test_neighbours() -> None:
    assert flags(audit(look=LOOK | {"coupled": 1})) == ["BATCH_COUPLED"]
    assert state(audit(look=LOOK | {"coupled": None}), "BATCH_COUPLED") == "not possible"


def test_the_null_control() -> None:
    assert flags(audit(null=270)) == ["NULL_CONTROL_DROPS"]
    assert state(audit(null=None), "NULL_CONTROL_DROPS") == "not possible"


@pytest.mark.parametrize(("flat", "found"), [(0, "passed"), (14, "passed"), (15, "raised"), (None, "not possible")])
def test_gradients(flat: int | None, found: str) -> None:
    look = LOOK | {"flat": flat, "closed": REASON if flat is None else None}
    assert state(audit(look=look), "ZERO_GRADIENT") == found


def test_the_control() -> None:
    assert "CONTROL_AS_STRONG" in flags(audit(white_box=280, steps=280, transfer=280, query=280))
    assert "CONTROL_AS_STRONG" not in flags(audit(control=25, white_box=25, steps=25))  # 10 % is a constant answer
    blind = {"white_box": None, "steps": None, "look": LOOK | {"flat": None, "closed": REASON}}
    assert "CONTROL_AS_STRONG" in flags(audit(transfer=285, query=284, **blind))
    assert state(audit(transfer=285, query=200, **blind), "CONTROL_AS_STRONG") == "passed"
    assert state(audit(control=None), "CONTROL_AS_STRONG") == "not possible"


def test_ten_images_neither_raise_nor_pass_a_comparison() -> None:
    whole = audit(white_box=0, steps=0)
    cut = [replace(m, tally=_first(m.tally, 10)) for m in whole.measures]
    few = replace(whole, clean=_first(whole.clean, 10), measures=tuple(cut))
    states = {c.flag: c.state for c in checks(few)}
    # All ten are lost to the attack and none to noise: p = 0.002, and no sign of a weak attack.
    assert states["CONTROL_AS_STRONG"] == "passed"
    assert states["STEPS_NOT_CONVERGED"] == states["BLACKBOX_BEATS_WHITEBOX"] == "not possible"
    assert [c.flag for c in checks(few) if c.state == "raised"] == ["TOO_FEW_IMAGES"]
    weak = [m if m.role not in ("white-box", "steps") else replace(m, tally=_first(tally(10), 10)) for m in cut]
    assert state(replace(few, measures=tuple(weak)), "CONTROL_AS_STRONG") == "not possible"


@pytest.mark.parametrize(
    ("steps", "found"), [(250, "passed"), (195, "passed"), (188, "raised"), (None, "not possible")]
)
def test_steps(steps: int | None, found: str) -> None:
    assert state(audit(steps=steps), "STEPS_NOT_CONVERGED") == found


def test_many_images_that_differ_by_less_than_matters_raise_nothing() -> None:
    # 11 of 3,000 images are sure at alpha 0.001, and 0.4 points.
    large = audit()
    scaled = [replace(m, tally=_repeated(m.tally)) for m in large.measures]
    fewer = scaled[5].tally
    assert fewer is not None
    fewer.right[np.flatnonzero(fewer.right)[:1]] = 0
    found = replace(large, clean=_repeated(large.clean), measures=tuple(scaled))
    check = next(c for c in checks(found) if c.flag == "STEPS_NOT_CONVERGED")
    assert check.state == "passed"
    assert "p < 0.0001" in check.text or "e-" in check.text or "0.000" in check.text


def _repeated(found: Tally | None) -> Tally:
    assert found is not None
    return Tally(np.tile(found.right, 10), np.tile(found.abstained, 10), None, 1)


@pytest.mark.parametrize(
    ("draws", "found"), [(198, "passed"), (170, "raised"), (230, "raised"), (None, "not possible")]
)
def test_draws(draws: int | None, found: str) -> None:
    record = audit(draws=4)
    measures = [m for m in record.measures if m.role != "draws"]
    more = measure("draws", draws, name="pgd", draws=4)
    assert state(replace(record, measures=(*measures, more)), "EOT_NOT_CONVERGED") == found
    assert state(audit(), "EOT_NOT_CONVERGED") == "passed"  # nothing to average over


def test_radii() -> None:
    assert flags(audit(radii={0.05: 180, 0.2: 90, 1.0: 0})) == ["NOT_MONOTONE_IN_EPS"]
    assert flags(audit(radii={0.05: 197, 0.2: 90, 1.0: 0})) == []  # less, but not surely
    assert flags(audit(radii={0.05: 250, 0.2: 90, 1.0: 40})) == ["EPS_ONE_SURVIVES"]
    assert flags(audit(radii={0.05: 250, 0.2: 90, 1.0: 15})) == []  # 5 %
    gone = audit()
    gone = replace(gone, measures=tuple(m for m in gone.measures if m.role != "eps"))
    for flag in ("NOT_MONOTONE_IN_EPS", "EPS_ONE_SURVIVES"):
        assert state(gone, flag) == "not possible"


def test_black_box_against_white_box() -> None:
    assert flags(audit(query=150)) == ["BLACKBOX_BEATS_WHITEBOX"]
    assert flags(audit(query=196)) == []
    assert state(audit(white_box=None, steps=None), "BLACKBOX_BEATS_WHITEBOX") == "not possible"


def test_noise_switched_off() -> None:
    assert "NOISE_OFF_BELOW_BASELINE" not in flags(audit(draws=4))
    assert "NOISE_OFF_BELOW_BASELINE" in flags(audit(draws=4, noise_off=2))
    # The victim claims nothing: black-box attacks leave as little of it.
    broken = {"noise_off": 2, "transfer": 3, "query": 2, "white_box": 2, "steps": 2}
    assert "NOISE_OFF_BELOW_BASELINE" not in flags(audit(draws=4, **broken))
    # Above a constant answer, and below the baseline or not.
    weak = audit(draws=4, noise_off=100)
    for right, found in ((150, "raised"), (105, "passed")):
        against = replace(weak, baseline=NET, measures=(*weak.measures, measure("baseline", right)))
        assert state(against, "NOISE_OFF_BELOW_BASELINE") == found
    # Noise on a net that keeps more than a constant answer, and adds to it: who has no baseline can't tell.
    check = next(c for c in checks(weak) if c.flag == "NOISE_OFF_BELOW_BASELINE")
    assert check.state == "not possible"
    assert "baseline: give one" in check.text
    assert state(audit(draws=4, noise_off=225), "NOISE_OFF_BELOW_BASELINE") == "passed"
    assert state(audit(draws=4, noise_off=None), "NOISE_OFF_BELOW_BASELINE") == "not possible"


def test_code_that_is_trusted() -> None:
    victim = {"name": "v", "text": "a.py:f", "digest": "d", "target": {"text": "a.py:f", "options": {}}}
    assert flags(audit(victim=victim)) == ["TRUSTED_CODE"]


def test_every_check_has_an_entry_in_the_table() -> None:
    assert set(CHECKS) == {name for name, flag in FLAGS.items() if flag.where in ("audit", "both")}


def test_a_record_comes_back_and_a_changed_one_is_refused() -> None:
    record = audit(draws=4, query=None)
    plain = json.loads(json.dumps(record.to_json()))
    back = AuditRecord.from_json(plain)
    assert back.to_json() == record.to_json()
    assert checks(back) == checks(record)
    plain["outcome"]["ladder"][0]["draws"] = 5
    with pytest.raises(RowError, match="outcome was changed"):
        AuditRecord.from_json(plain)
    with pytest.raises(RowError, match="schema 99"):
        AuditRecord.from_json(record.to_json() | {"schema": 99})
    with pytest.raises(RowError, match="not an audit"):
        AuditRecord.from_json({"schema": 2})


@pytest.mark.parametrize(
    ("part", "key", "value", "why"),
    [
        ("look", "flat", -1, "flat = -1"),
        ("look", "coupled", "many", "coupled = 'many'"),
        ("look", "flat", None, "contradict"),
        ("look", "asked", 10**9, "asked = 1000000000"),
        ("setting", "threat", {"norm": "linf", "eps": 0}, "no ball"),
        ("setting", "threat", None, "not an audit"),
        ("setting", "data", {"name": "digits", "classes": 1}, "two or more classes"),
        ("victim", "digest", None, ""),
    ],
)
def test_what_no_audit_writes_is_refused(part: str, key: str, value: object, why: str) -> None:
    plain = json.loads(json.dumps(audit().to_json()))
    half = "outcome" if part == "look" else "identity"
    if why:
        plain[half][part][key] = value
    else:
        del plain[half][part][key]
    for name, content in (("digest", plain["identity"]), ("outcome_digest", plain["outcome"])):
        plain[name] = digest_of(content)
    with pytest.raises(RowError, match=why or "lacks digest"):
        AuditRecord.from_json(plain)


def test_the_draws_of_the_rungs_are_those_of_clean_images() -> None:
    record = audit(draws=4)
    odd = replace(record, measures=(*record.measures, measure("query", 200, draws=3)))
    with pytest.raises(RowError, match="query: 3 draws, but 4 on clean images"):
        AuditRecord.from_json(json.loads(json.dumps(odd.to_json())))


def test_the_verdict_names_what_blocks_and_what_was_not_possible() -> None:
    sound = Audit(audit())
    assert not sound.blocked
    assert "No check raised a flag that speaks against these numbers." in sound.verdict
    assert "66.3 [" in sound.verdict  # 199 of 300
    bad = Audit(audit(query=150, look=LOOK | {"coupled": None}))
    assert bad.blocked
    assert "- BLACKBOX_BEATS_WHITEBOX: black-box 50.0 %, white-box 66.3 %" in bad.verdict
    assert "Not possible: BATCH_COUPLED (the same batch is answered otherwise each time" in bad.verdict
    found = json.loads(json.dumps(bad.to_json(), allow_nan=False))
    assert found["blocked"] is True
    assert found["accuracy"]["worst"][0] == pytest.approx(0.5)
    assert AuditRecord.from_json(found["record"]).digest == bad.record.digest


def test_a_victim_of_which_nothing_is_left_is_called_not_robust() -> None:
    assert "it is not robust here" not in Audit(audit()).verdict
    assert "no more than a constant answer gets (10 %): it is not robust here." in Audit(audit(steps=20)).verdict


def test_the_worst_of_attacks_that_look_alike_is_the_one_that_leaves_least_elsewhere() -> None:
    """Both leave nothing of the first images in the choosing draws; the weak one is lucky in the others."""
    zeros = np.zeros(N, np.uint16)
    weak = Tally(np.full(N, 1, np.uint16), zeros, np.where(np.arange(N) < 200, 0, 4).astype(np.uint16), 4)
    strong = Tally(zeros, zeros, zeros, 4)
    record = audit(draws=4)
    measures = [replace(measure("query", 0), tally=weak), replace(measure("white-box", 0), tally=strong)]
    assert record.worst(measures).tolist() == record.worst(measures[::-1]).tolist() == [0.0] * N
    # Attacks of which neither is the stronger are averaged, so that their order says nothing.
    alike = [replace(m, tally=replace(weak, right=zeros + 2 * i)) for i, m in enumerate(measures)]
    assert set(record.worst(alike)) == {1.0}


def test_a_random_victims_randomness_alone_does_not_block() -> None:
    noisy = Audit(audit(draws=4))
    assert [c.flag for c in noisy.raised] == ["RANDOMISED"]
    assert not noisy.blocked
    assert "Also raised: RANDOMISED." in noisy.verdict


def test_the_docs_are_those_of_the_table() -> None:
    written = Path(__file__).parents[2] / "docs" / "flags.md"
    assert written.read_text(encoding="utf-8") == document()
    assert f"alpha {ALPHA:g}" in document()
    for name in FLAGS:
        assert f"### {name}\n" in document()


def test_a_command_writes_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(Path(robustnoise.flags.__file__).with_name("__main__.py")), run_name="__main__")
    assert capsys.readouterr().out == document()
