"""One configuration as Python, text and JSON; names to classes; errors that say where and what."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustnoise import building, registry
from robustnoise.building import build, create, describe, from_json, spec_of
from robustnoise.compose import Identity
from robustnoise.errors import BadParameter, BadSpec, BrokenPlugin, DuplicatePlugin, UnknownPlugin
from robustnoise.registry import Registry
from robustnoise.spec import Plugin, Spec, canonical_json, parse_number, parse_text
from robustnoise_attacks import PGD, IndependentSubstitute, JacobianSubstitute, TransferAttack
from robustnoise_defenses import FastTraining, GaussianInputNoise, LayerNoise, PGDTraining, PlainTraining, Vote

EXAMPLES: list[tuple[str, Plugin]] = [
    ("defense", Identity()),
    ("defense", Vote(3)),
    ("defense", GaussianInputNoise(8 / 255)),
    ("defense", GaussianInputNoise(0.1 + 0.2)),
    ("defense", GaussianInputNoise(1e-7)),
    ("defense", LayerNoise(math.inf)),
    ("defense", LayerNoise(-3.5)),
    ("defense", PGDTraining(eps=8 / 255, inner=PGD(steps=3, random_start=False)) | LayerNoise(12) | Vote(5)),
    ("defense", FastTraining(epochs=2, learning_rate=1 / 3)),
    ("attack", TransferAttack(JacobianSubstitute(step=1 / 255), PGD(7, 1 / 7))),
    ("attack", TransferAttack(IndependentSubstitute(PlainTraining(epochs=1)), create("crafter", "mi-fgsm"))),
    ("model", create("model", "small-cnn", width=4)),
]


@pytest.mark.parametrize(("kind", "plugin"), EXAMPLES, ids=[describe(p) for _, p in EXAMPLES])
def test_text_and_json_build_the_same_plugin(kind: str, plugin: Plugin) -> None:
    assert build(describe(plugin), kind) == plugin
    again = from_json(spec_of(plugin).to_json())
    assert again == plugin
    assert spec_of(again).digest() == spec_of(build(describe(plugin), kind)).digest() == spec_of(plugin).digest()


@given(st.floats(-60, 1e6) | st.just(math.inf), st.integers(1, 100_000))
@settings(max_examples=100)
def test_any_number_survives_text_and_json(snr: float, passes: int) -> None:
    plugin = LayerNoise(snr) | Vote(passes)
    assert build(describe(plugin), "defense") == plugin
    assert from_json(spec_of(plugin).to_json()) == plugin


def test_forms_of_one_configuration() -> None:
    expected = PGDTraining(eps=8 / 255, inner=PGD(steps=3)) | Vote(4)
    assert build("pgd-training(eps=8/255, inner=pgd(3)) | vote(4)", "defense") == expected
    assert (
        build(' pgd-training ( eps = "8/255" , inner = pgd ( steps = 3 ), ) | vote ( passes = 4 ) ', "defense")
        == expected
    )
    table = {"name": "pgd-training", "eps": "8/255", "inner": {"name": "pgd", "steps": 3}}
    assert build(table, "defense") | create("defense", "vote", passes=4) == expected
    assert build({"name": "pgd-training", "eps": "8/255", "inner": "pgd(3)"}, "defense") | Vote(4) == expected


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), ("0.3", 0.3), ("1", 1.0), ("inf", math.inf), ("2.5/10", 0.25)]
)
def test_fractions_are_read_as_numbers(text: str, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["8/0", "a/b", "", "8/", "__import__('os')", "1/2/3"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number nor a fraction"):
        parse_number(text)
    with pytest.raises(BadParameter, match="sigma"):
        GaussianInputNoise(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1),
        ("vote(", 6),
        ("vote(3", 7),
        ("vote 3", 6),
        ("vote(3))", 8),
        ("vote(3) |", 10),
        ("| vote(3)", 1),
        ("vote(passes=3, 4)", 16),
        ("vote(passes=3, passes=4)", 16),
        ("vote(passes=)", 13),
        ("vote(3) & vote(4)", 9),
        ("vote(3);", 8),
        ('a("x)', 3),
        ("vote(,)", 6),
        ("vote(passes=3/0)", 13),
    ],
)
def test_a_text_that_cannot_be_read_names_the_position(text: str, position: int) -> None:
    with pytest.raises(BadSpec) as caught:
        parse_text(text)
    assert f"can't read {text!r} at position {position} (" in str(caught.value)


@given(st.text(alphabet="avote(),=|/03.\"' -", max_size=20))
@settings(max_examples=200)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadSpec):  # any other error is a bug
        parse_text(text)


def test_an_unknown_plugin_gets_a_suggestion() -> None:
    with pytest.raises(
        UnknownPlugin, match=r"no defense 'voet'\. Did you mean 'vote'\? 'robustnoise plugins' lists all \d+"
    ):
        build("voet(3)", "defense")


def test_an_unknown_parameter_gets_a_suggestion() -> None:
    with pytest.raises(BadParameter, match=r"vote: unknown parameter 'pases'\. Did you mean 'passes'.*It has: passes"):
        build("vote(pases=3)", "defense")


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: Vote(0), ["Vote", "passes = 0", "at least 1", "at most 100000"]),
        (lambda: Vote(2.5), ["passes = 2.5", "whole number"]),  # type: ignore[arg-type]
        (lambda: Vote(True), ["passes = True", "whole number"]),
        (lambda: Vote("3"), ["passes = '3'", "whole number"]),  # type: ignore[arg-type]
        (lambda: GaussianInputNoise(-0.1), ["sigma = -0.1", "at least 0", "at most 10"]),
        (lambda: GaussianInputNoise(math.nan), ["sigma = nan", "at least 0"]),
        (lambda: PGD(relative_step=0), ["relative_step = 0", "more than 0", "at most 4"]),
        (lambda: PGD(random_start=1), ["random_start = 1", "true or false"]),  # type: ignore[arg-type]
        (lambda: LayerNoise(None), ["snr_db = None", "at least -60"]),  # type: ignore[arg-type]
        (lambda: PGDTraining(inner=Vote(3)), ["inner = ", "a crafter"]),  # type: ignore[arg-type]
    ],
)
def test_a_bad_value_names_parameter_value_and_range(make: Any, parts: list[str]) -> None:
    with pytest.raises(BadParameter) as caught:
        make()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind", "error", "match"),
    [
        ("vote(3, 4)", "defense", BadParameter, "2 values given by position, but it takes 1"),
        ("transfer", "attack", BadParameter, "'substitute', 'crafter' must be given"),
        ("vote(3)", "attack", BadSpec, "'vote' is a defense, but an attack is expected"),
        ("pgd | pgd", "crafter", BadSpec, "composes defenses; a crafter is expected"),
        ("vote(pgd(3))", "defense", BadParameter, "passes takes no plugin"),
        ("pgd(3, steps=4)", "crafter", BadParameter, "'steps' is given twice"),
        (
            "my_own/vote(3)",
            "defense",
            UnknownPlugin,
            r"no defense 'my_own/vote'\. No package 'my_own' is installed: 'pip",
        ),
    ],
)
def test_what_does_not_fit_is_refused(text: str, kind: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        build(text, kind)


@pytest.mark.parametrize("value", [3, {}, {"passes": 3}, {"name": 3}, None])
def test_a_table_needs_a_name(value: Any) -> None:
    with pytest.raises(BadSpec, match="a table with a name"):
        build(value, "defense")


def test_every_parameter_and_child_moves_the_digest() -> None:
    variants = [
        PGDTraining(),
        FastTraining(inner=PGDTraining().inner),
        PGDTraining(eps=0.2),
        PGDTraining(ramp=0.1),
        PGDTraining(epochs=3),
        PGDTraining(learning_rate=0.1),
        PGDTraining(batch_size=7),
        PGDTraining(shift=1),
        PGDTraining(inner=PGD(steps=8)),
        PGDTraining() | Vote(3),
    ]
    assert len({spec_of(p).digest() for p in variants}) == len(variants)
    assert spec_of(PGDTraining(eps=0.3)).digest() == spec_of(PGDTraining()).digest()


def test_defaults_are_part_of_the_spec() -> None:
    assert spec_of(Vote()).params == {"passes": 16, "rule": "majority"}
    assert spec_of(Vote()) == Spec("defense", "vote", 1, {"passes": 16, "rule": "majority"})


def test_another_version_is_refused() -> None:
    plain = {**spec_of(Vote(3)).to_json(), "version": 9}
    with pytest.raises(BadSpec, match="recorded at version 9; installed is 1"):
        from_json(plain)


def test_digests_are_the_same_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from robustnoise.building import build, spec_of\n"
        "for kind, text in [line.split(chr(9)) for line in __import__('sys').argv[1:]]:\n"
        "    print(spec_of(build(text, kind)).digest())"
    )
    arguments = [f"{kind}\t{describe(plugin)}" for kind, plugin in EXAMPLES]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == [spec_of(plugin).digest() for _, plugin in EXAMPLES]


def test_canonical_json_has_one_form_and_no_nan() -> None:
    assert canonical_json({"b": 1, "a": [0.1, None]}) == '{"a":[0.1,null],"b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(math.nan)


# ------------------------------------------------------------------------------------------------------------ registry


def test_a_name_taken_twice_names_both_origins() -> None:
    found = Registry()
    found.add("pack", {"x": "pack.one:X"}, "pack 1.0")
    found.add("pack", {"x": "pack.one:X"}, "pack 1.0")  # the same again is no conflict
    with pytest.raises(DuplicatePlugin) as caught:
        found.add("pack", {"x": "pack.two:X"}, "other 2.0")
    for part in ("'pack/x'", "pack 1.0", "pack.one:X", "other 2.0", "pack.two:X"):
        assert part in str(caught.value)
    assert [e.target for e in found.entries()] == ["pack.one:X"]


PLUGIN = """
from dataclasses import dataclass
from robustnoise.api import Defense, DefenseTraits, Stage

@dataclass(frozen=True)
class Mine(Defense):
    traits = DefenseTraits(Stage.INFERENCE)
    k: int = {k}
    def apply(self, model, ctx):
        return model

PLUGINS = {{"x": "Mine"}}
"""


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry of its own, so that a test's plugins don't stay."""
    known = registry.registry()
    found = Registry()
    found._entries.update(known._entries)
    monkeypatch.setattr(registry, "registry", lambda: found)
    monkeypatch.setattr(building, "registry", lambda: found)
    building._name_of.cache_clear()
    return found


TEXTS = ["", "12", "1e3", "true", "None", "3nets", "a b", "it's", 'a "b"', "x/y.z", "x-y_1", "d\u00e9f", "\u00e9"]


@pytest.mark.parametrize("value", TEXTS)
def test_any_text_parameter_survives(tmp_path: Path, fresh: Registry, value: str) -> None:
    path = tmp_path / "texts.py"
    path.write_text(PLUGIN.format(k=repr("default")).replace("k: int", "k: str"))
    fresh.add_file(path)
    plugin = create("defense", "texts/x", k=value)
    assert build(describe(plugin), "defense") == plugin
    assert from_json(spec_of(plugin).to_json()) == plugin


def test_a_one_file_plugin_is_named_after_its_file_and_hashed(tmp_path: Path, fresh: Registry) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(k=3))
    fresh.add_file(path)
    plugin = build("mine/x(k=5) | vote(3)", "defense")
    spec = spec_of(plugin).children["0"]
    assert (spec.name, spec.params, spec.code) == ("mine/x", {"k": 5}, hashlib.sha256(path.read_bytes()).hexdigest())
    assert from_json(spec_of(plugin).to_json()) == plugin
    assert describe(plugin) == "mine/x(k=5) | vote(passes=3)"
    fresh.add_file(path)  # twice on one command line is no conflict


def test_two_files_of_one_name_conflict(tmp_path: Path, fresh: Registry) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "mine.py").write_text(PLUGIN.format(k=number))
    fresh.add_file(tmp_path / "1" / "mine.py")
    with pytest.raises(DuplicatePlugin, match="'mine/x' is registered twice"):
        fresh.add_file(tmp_path / "2" / "mine.py")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("1/0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("import no_such_module_here", "no_such_module_here"),
        ("x = 1", "PLUGINS"),
        ("PLUGINS = 3", "PLUGINS"),
    ],
)
def test_a_broken_file_is_named_with_its_cause(tmp_path: Path, fresh: Registry, content: str, cause: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(content)
    with pytest.raises(BrokenPlugin, match=cause) as caught:
        fresh.add_file(path)
    assert str(path) in str(caught.value)
    assert not [name for name in sys.modules if name.startswith("robustnoise_file_broken") and cause != "PLUGINS"]


def test_an_absent_file_is_named(tmp_path: Path, fresh: Registry) -> None:
    with pytest.raises(BrokenPlugin, match="No such file") as caught:
        fresh.add_file(tmp_path / "absent.py")
    assert "absent.py" in str(caught.value)


def test_a_table_that_leads_nowhere_is_named(tmp_path: Path, fresh: Registry) -> None:
    path = tmp_path / "nowhere.py"
    path.write_text("class X: pass\nPLUGINS = {'a': 'X', 'b': 'Y'}")
    fresh.add_file(path)
    with pytest.raises(BrokenPlugin, match=r"'nowhere/a' of nowhere\.py.*no dataclass based on Plugin"):
        build("nowhere/a", "defense")
    with pytest.raises(BrokenPlugin, match=r"'nowhere/b' of nowhere\.py.*AttributeError"):
        build("nowhere/b", "defense")


def test_a_package_that_fails_stays_listed_as_broken(fresh: Registry) -> None:
    fresh.add_entry_point(EntryPoint("badpack", "no_such_package_here:PLUGINS", "robustnoise.plugins"))
    assert "no_such_package_here" in fresh.broken["badpack"]
    with pytest.raises(UnknownPlugin, match=r"Package 'badpack' is broken: .*no_such_package_here"):
        build("badpack/x", "defense")
    assert build("vote(3)", "defense") == Vote(3)


def test_every_built_in_name_loads() -> None:
    entries = registry.registry().entries()
    assert {"vote", "layer-noise", "gradient", "transfer", "small-cnn", "identity"} <= {e.name for e in entries}
    for entry in entries:
        cls = entry.load()
        assert cls.kind in {"defense", "attack", "crafter", "substitute", "model"}
        assert registry.registry().entry_of(cls) == entry
