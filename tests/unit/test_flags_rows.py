"""Every flag of a row: counts that raise it, and counts that don't."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from robustnoise.flags import FLAGS, blocks, raised
from robustnoise.flags.rows import CHECKS
from robustnoise.records import Arm, EvaluationRecord
from robustnoise.tally import Tally

N = 500
VICTIM = {"name": "net", "text": "plain-training", "digest": "d"}
SETTING: dict[str, Any] = {
    "seed": 0,
    "data": {"name": "digits"},
    "threat": {"norm": "linf", "eps": 0.1, "access": "labels"},
    "budget": {"per_image": None, "total": None, "seed_examples": None},
}


def tally(right: int, draws: int = 1, *, half: int = 0) -> Tally:
    """The first `right` images always right, the next `half` in every other draw."""
    counts = np.zeros(N, np.uint16)
    counts[:right] = draws
    counts[right : right + half] = draws // 2
    return Tally(counts, np.zeros(N, np.uint16), counts if draws > 1 else None, draws)


def arm(clean: int, adversarial: int, **changes: Any) -> Arm:
    known = Arm(VICTIM, False, 1, tally(clean), tally(adversarial), 0, None)
    return replace(known, **changes)


def row(scope: str, right: int, *, name: str = "", null: bool = False, **changes: Any) -> EvaluationRecord:
    """A row in which `right` of 500 images stand, and 480 do when they are clean."""
    attack = {"name": name or scope, "text": scope, "scope": scope, "null": null, "spec": {"name": name or scope}}
    victim = changes.pop("victim", arm(480, right))
    known = EvaluationRecord(SETTING, attack, victim, None, None, 0.0, {})
    return replace(known, **changes)


def flags(record: EvaluationRecord, *others: EvaluationRecord) -> list[str]:
    return [r.flag for r in raised(record, others)]


def test_a_sound_row_has_none() -> None:
    rows = [row("control", 480, null=True), row("control", 470), row("shared", 400), row("per-victim", 350)]
    rows += [row("audit", 300)]
    assert [flags(r, *rows) for r in rows] == [[]] * 5


def test_randomised_names_the_draws_and_never_blocks() -> None:
    noisy = replace(arm(0, 0), stochastic=True, clean=tally(480, 10), adversarial=tally(300, 10))
    (found,) = raised(row("shared", 0, victim=noisy))
    assert (found.flag, found.text) == ("RANDOMISED", "scored in 10 fresh draws.")
    assert not blocks([found])
    assert flags(row("shared", 300)) == []


@pytest.mark.parametrize(("right", "found"), [(480, []), (476, []), (460, ["NULL_CONTROL_DROPS"])])
def test_a_null_attack_that_takes_something_speaks_against_all_rows(right: int, found: list[str]) -> None:
    null = row("control", right, name="null", null=True)
    assert flags(null) == found
    assert flags(row("shared", 300), null) == found


@pytest.mark.parametrize(("right", "found"), [(400, []), (465, ["CONTROL_AS_STRONG"]), (478, ["CONTROL_AS_STRONG"])])
def test_an_attack_must_beat_random_noise(right: int, found: list[str]) -> None:
    control = row("control", 470)
    assert flags(row("shared", right), control) == found
    assert flags(control, row("shared", right)) == []


def first(record: EvaluationRecord, n: int) -> EvaluationRecord:
    """The record of its first images; those that stand are spread over them."""

    def cut(found: Arm | None) -> Arm | None:
        def few(t: Tally) -> Tally:
            right = t.right[:: N // n][:n]
            return Tally(right, np.zeros(n, np.uint16), None, t.draws)

        return found and replace(
            found, clean=few(found.clean), adversarial=found.adversarial and few(found.adversarial)
        )

    victim = cut(record.victim)
    assert victim is not None
    return replace(record, victim=victim, undefended=cut(record.undefended))


@pytest.mark.parametrize(
    ("n", "left", "raised"), [(10, 0, False), (10, 480, False), (50, 480, False), (250, 480, True)]
)
def test_few_images_do_not_show_that_an_attack_is_weak(n: int, left: int, raised: bool) -> None:
    found = flags(first(row("shared", left), n), first(row("control", 480), n))
    assert ("CONTROL_AS_STRONG" in found) == raised
    record = first(row("shared", 300, undefended=arm(480, left)), n)
    assert ("BASELINE_NOT_HURT" in flags(record)) == raised


def test_where_noise_leaves_nothing_no_attack_need_beat_it() -> None:
    assert flags(row("shared", 0), row("control", 0)) == []


@pytest.mark.parametrize(("black", "found"), [(340, []), (295, []), (250, ["BLACKBOX_BEATS_WHITEBOX"])])
def test_black_box_rows_are_held_against_the_strongest_audit(black: int, found: list[str]) -> None:
    audits = [row("audit", 300, name="pgd"), row("audit", 380, name="fgsm")]
    strong, other = row("per-victim", black), row("shared", 450, name="weak")
    rows = [*audits, strong, other]
    # A row of another attack has it too: without the strong one the victim's worst case would look better.
    assert [flags(r, *rows) for r in rows] == [found] * 4
    if found:
        assert "pgd" not in raised(audits[0], rows)[0].text  # told beside the audit that it beats by least
        assert raised(audits[0], rows)[0].text.startswith("per-victim against the strongest audit: -10.0 points")
    assert flags(strong) == []


def test_another_victims_rows_and_another_settings_are_not_looked_at() -> None:
    other = arm(480, 100, victim={**VICTIM, "digest": "e"})
    audit = row("audit", 400)
    assert flags(audit, row("shared", 0, victim=other)) == []
    assert flags(audit, row("shared", 100, setting=SETTING | {"seed": 1})) == []


def test_an_attack_must_hurt_the_undefended_net() -> None:
    def under(right: int, scope: str = "shared") -> list[str]:
        return flags(row(scope, 300, undefended=arm(480, right)))

    assert under(200) == []
    assert under(478) == ["BASELINE_NOT_HURT"]
    assert under(480, "control") == []


def test_who_asks_must_not_be_beaten_by_who_does_not() -> None:
    asking = row("per-victim", 400)
    assert flags(asking, row("shared", 350)) == ["ATTACK_ORDER"]
    assert flags(asking, row("shared", 395)) == []
    assert flags(row("shared", 400), row("shared", 350, name="other")) == []


@pytest.mark.parametrize(("agreement", "found"), [(0.9, []), (0.77, []), (0.7, ["SUBSTITUTE_DISAGREES"])])
def test_a_substitute_must_know_the_victim(agreement: float, found: list[str]) -> None:
    assert flags(row("shared", 300, victim=arm(480, 300, agreement=agreement))) == found


def test_queries_must_be_spent_on_images_that_stand() -> None:
    claimed = np.arange(N) >= 300  # 300 images stood, with 100 queries each

    def spent(queries: int, per_image: int | None = 100, total: int | None = None) -> list[str]:
        victim = arm(480, 300, queries=queries, claimed=claimed)
        return flags(
            row(
                "per-victim", 300, victim=victim, setting=SETTING | {"budget": {"per_image": per_image, "total": total}}
            )
        )

    assert spent(30_000) == spent(15_000) == []
    assert spent(14_999) == ["BUDGET_UNSPENT"]
    assert spent(9_000, total=10_000) == []
    assert spent(100, per_image=None) == []
    # Of a total alone each image has its share: 300 of 500 stood, with 60 % of it.
    assert spent(2_999, per_image=None, total=10_000) == ["BUDGET_UNSPENT"]
    assert spent(3_000, per_image=None, total=10_000) == []
    handed_in = row("per-victim", 300, victim=arm(480, 300), setting=SETTING | {"budget": {"per_image": 100}})
    assert flags(handed_in) == ["BUDGET_UNSPENT"]
    assert handed_in.attack is not None
    assert flags(replace(handed_in, attack={**handed_in.attack, "submitted": {}})) == []


@pytest.mark.parametrize(("outside", "found"), [(0.0, []), (0.0019, []), (0.01, ["PROJECTION_NEEDED"])])
def test_images_far_outside_of_the_ball_are_told(outside: float, found: list[str]) -> None:
    assert flags(row("shared", 300, outside=outside)) == found


def test_too_few_images_are_told() -> None:
    assert flags(row("shared", 300, reference=arm(480, 200))) == []
    assert flags(row("shared", 300, reference=arm(480, 299))) == ["TOO_FEW_IMAGES"]
    assert flags(row("control", 300, reference=arm(480, 299))) == []


def test_a_null_that_is_known_tightly_needs_no_more_images() -> None:
    def beside(n: int) -> list[str]:
        """Six images of each of the two alone, of n."""
        right = np.ones((2, n), np.uint16)
        right[0, :6] = right[1, 6:12] = 0
        a, b = (Tally(r, np.zeros(n, np.uint16), None, 1) for r in right)
        mine = replace(arm(480, 0), clean=a, adversarial=a)
        return flags(row("shared", 0, victim=mine, reference=replace(mine, adversarial=b)))

    assert beside(5_000) == []
    assert beside(200) == ["TOO_FEW_IMAGES"]


def test_trusted_code_is_told() -> None:
    victim = VICTIM | {"target": {"text": "theirs.py:build", "options": {}}, "text": "theirs.py:build"}
    assert flags(row("shared", 300, victim=arm(480, 300, victim=victim))) == ["TRUSTED_CODE"]
    victim = VICTIM | {"target": {"text": "onnx:theirs.onnx", "options": {}}}
    assert flags(row("shared", 300, victim=arm(480, 300, victim=victim))) == []


def test_random_victims_are_compared_by_their_draws() -> None:
    def noisy(scope: str, right: int, half: int) -> EvaluationRecord:
        counts = tally(right, 10, half=half)
        victim = replace(arm(0, 0), stochastic=True, clean=tally(480, 10), adversarial=counts)
        return row(scope, 0, victim=victim)

    control = noisy("control", 450, 40)
    assert flags(noisy("shared", 300, 100), control) == ["RANDOMISED"]
    assert flags(noisy("shared", 448, 40), control) == ["CONTROL_AS_STRONG", "RANDOMISED"]


def test_rows_without_an_attack_are_only_told_to_be_random() -> None:
    clean = replace(arm(480, 0), adversarial=None, stochastic=True)
    record = EvaluationRecord(SETTING | {"threat": None, "budget": None}, None, clean, None, None, None, {})
    assert flags(record) == ["RANDOMISED"]


def test_every_check_has_an_entry_in_the_table() -> None:
    assert set(CHECKS) == {name for name, flag in FLAGS.items() if flag.where in ("rows", "both")}
