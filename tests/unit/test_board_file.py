"""Recipes, curves and published figures of a board file: what they become, and what is refused."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from robustnoise.board import Board, board_from, find_board
from robustnoise.errors import BadBoard

BOARD = """
schema = 1
name = "sweeps"
[data]
name = "digits"
[run]
model = "mlp(hidden=8)"
[recipes]
plain = "plain-training(epochs=1)"
noisy = "{plain} | gaussian-input-noise(sigma=0.5)"
[victims]
plain = "{plain}"
noisy = "{noisy}"
[[curves]]
name = "sigma"
x = "sigma (pixels)"
values = [0.25, 0.5]
midpoint = true
[curves.lines]
"one pass" = "{plain} | gaussian-input-noise(sigma={x})"
"vote of 3" = "{plain} | gaussian-input-noise(sigma={x}) | vote(3)"
[[curves]]
name = "votes"
x = "votes"
values = [3, 5]
log = true
lines = { noisy = "{noisy} | vote({x})" }
"""
ATTACKS: dict[str, Any] = {"threat": {"norm": "linf", "eps": 0.1}, "attacks": {"null": "null"}}


def content(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(tomllib.loads(BOARD)) | changes


def board(**changes: Any) -> Board:
    return board_from(content(**changes), "board.toml")


def curve(**changes: Any) -> dict[str, Any]:
    return {"name": "c", "x": "sigma", "values": [0.1, 0.2], "lines": {"a": "{plain}"}} | changes


def test_recipes_are_written_out_in_attacks_too() -> None:
    attacks = {"pgd": "transfer(independent(training={plain}), pgd(3))"}
    short = board(**ATTACKS | {"attacks": attacks}).attacks
    assert (
        short
        == board(
            **ATTACKS | {"attacks": {"pgd": attacks["pgd"].replace("{plain}", "plain-training(epochs=1)")}}
        ).attacks
    )
    with pytest.raises(BadBoard, match=r"attacks\.pgd: \{plan\} is no recipe of this board"):
        _ = board(**ATTACKS | {"attacks": {"pgd": "transfer(independent(training={plan}))"}}).attacks


def test_without_attacks_there_is_no_threat() -> None:
    assert board().threat is None
    assert board().attacks == ()
    assert board().protocol()["threat"] is None
    assert board().protocol()["budget"] is None


def test_every_point_is_one_victim_with_a_readable_name() -> None:
    # sigma 0.5 in one pass is the listed victim noisy; three votes of it are a point of both curves.
    assert [v.name for v in board().victims] == [
        "plain",
        "noisy",
        "sigma | one pass | 0.25",
        "sigma | vote of 3 | 0.25",
        "sigma | vote of 3 | 0.5",
        "votes | noisy | 5",
    ]
    sigma, votes = board().curves
    assert [p.victim for p in sigma.lines[0].points] == ["sigma | one pass | 0.25", "noisy"]
    assert [p.victim for p in votes.lines[0].points] == ["sigma | vote of 3 | 0.5", "votes | noisy | 5"]
    assert sigma.lines[0].stack == "plain-training(epochs=1) | gaussian-input-noise(sigma={x})"


def test_points_take_no_reference_and_no_attack() -> None:
    attacked = board(**ATTACKS)
    assert {
        v.name: (v.reference, v.clean_only) for v in attacked.victims if v.name in ("noisy", "votes | noisy | 5")
    } == {
        "noisy": ("plain", False),
        "votes | noisy | 5": (None, True),
    }


def test_another_architecture_is_another_victim() -> None:
    other = board(curves=[curve(values=[0.5], lines={"a": "{plain} | gaussian-input-noise(sigma={x})"})])
    assert other.points == frozenset()
    other = board(
        curves=[curve(values=[0.5], model="mlp(hidden=9)", lines={"a": "{plain} | gaussian-input-noise(sigma={x})"})]
    )
    assert other.points == {"c | a | 0.5"}


def test_a_line_may_have_values_of_its_own() -> None:
    lines = {"a": {"stack": "{noisy} | vote({x})", "values": [3, 5, 7]}, "b": "{noisy}"}
    found = board(curves=[curve(x_is_passes=True, values=["fixed"], lines=lines)])
    assert [len(line.points) for line in found.curves[0].lines] == [3, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": {"a": "{b}", "b": "vote(3)"}}, "recipes.a: uses {b}, which isn't above it"),
        ({"recipes": {"x": "vote(3)"}}, "recipes.x: {x} stands for the value of a curve"),
        ({"victims": {"a": "{plan}"}}, "victims.a: {plan} is no recipe of this board (known: plain, noisy). Did"),
        ({"victims": {"a": "{noisy} | vote({x})"}}, "victims.a: {x} is no recipe"),
        ({"curves": [curve(lines={"a": "{pain}"})]}, "curves.c.lines.a: {pain} is no recipe"),
        ({"curves": [curve(lines={"a": "{plain} | vote({x})"})]}, "curves.c.lines.a at 0.1: "),
        ({"curves": [curve(values=None)]}, "curves.0.values: give them to the curve, or to each line"),
        ({"curves": [curve(values=[1, "b"])]}, "curves.0.values: expected numbers alone or texts alone"),
        ({"curves": [curve(values=[1, 1])]}, "curves.0.values: expected each once, not [1, 1]"),
        ({"curves": [curve(values=[True])]}, "curves.0.values.0"),
        ({"curves": [curve(values=[float("inf")])]}, "curves.0.values: expected finite numbers"),
        ({"curves": [curve(values=[0.0, 1.0], log=True)]}, "curves.0.log: a logarithmic axis needs numbers above 0"),
        ({"curves": [curve(values=["a", "b"], midpoint=True)]}, "curves.0.midpoint: needs an axis of numbers"),
        ({"curves": [curve(values=[1, 3, 2], midpoint=True)]}, "curves.0.midpoint: needs two or more values in order"),
        ({"curves": [curve(), curve()]}, "curves.c: two pictures would be called 'c'"),
        (
            {"curves": [curve(midpoint=True), curve(name="c-midpoint")]},
            "curves.c-midpoint: two pictures would be called 'c-midpoint'",
        ),
        ({"curves": [curve(name="a/b")]}, "curves.0.name"),
        ({"curves": [curve(colour="red")]}, "curves.0.colour: unknown key"),
        ({"published": [{"victim": "nosy", "accuracy": 21.1, "source": "s"}]}, "published.0.victim: 'nosy' is none of"),
        ({"published": [{"victim": "noisy", "accuracy": 211, "source": "s"}]}, "published.0.accuracy"),
        ({"attacks": {"null": "null"}}, "board.toml: threat: attacks need it"),
        ({"threat": {"norm": "linf", "eps": 0.1}}, "board.toml: threat: without attacks it has no meaning"),
        ({"budget": {"total": 3}}, "board.toml: budget: without attacks it has no meaning"),
        (ATTACKS | {"attacks": {}}, "board.toml: attacks"),
    ],
)  # fmt: skip
def test_bad_boards_are_refused_with_file_and_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadBoard) as caught:
        board(**changes)
    assert str(caught.value).startswith("board.toml: ")
    assert message in str(caught.value)


def test_the_nearest_recipe_and_victim_are_suggested() -> None:
    with pytest.raises(BadBoard, match="Did you mean 'plain'"):
        board(victims={"a": "{plan}"})
    with pytest.raises(BadBoard, match="Did you mean 'noisy'"):
        board(published=[{"victim": "nosy", "accuracy": 21.1, "source": "s"}])


def test_a_board_further_down_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaderboards" / "mine").mkdir(parents=True)
    (tmp_path / "leaderboards" / "mine" / "board.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadBoard, match=r"no board 'mine': .* Did you mean leaderboards/mine\?"):
        find_board("mine")
