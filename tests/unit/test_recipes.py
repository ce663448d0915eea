"""A recipe's name stands for a configured plugin, wherever a plugin's name can stand."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from robustnoise import building, registry
from robustnoise.building import build, create, describe, from_json, spec_of, stands_for, written_out
from robustnoise.cli.listing import show_plugins
from robustnoise.errors import BadParameter, BadSpec, BrokenPlugin, DuplicatePlugin, UnknownPlugin
from robustnoise.recipes import Recipe, read_recipes
from robustnoise.registry import Registry
from robustnoise_attacks import MIFGSM, PGD, TransferAttack

RECIPES = registry.registry().recipes()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_every_recipe_is_its_plugin_written_out(recipe: Recipe) -> None:
    kind = registry.registry().find(recipe.name).kind
    plugin = build(recipe.name, kind)
    assert plugin == build(stands_for(recipe), kind) == create(kind, recipe.name)
    assert plugin == getattr(importlib.import_module(recipe.package), recipe.attribute)()
    assert spec_of(plugin).name == recipe.plugin
    assert describe(plugin).split("(")[0] == recipe.name
    assert build(describe(plugin), kind) == plugin
    assert from_json(spec_of(plugin).to_json()) == plugin
    assert "arXiv" in recipe.reference


def test_given_parameters_come_first() -> None:
    assert MIFGSM(steps=20) == create("crafter", "mi-fgsm", steps=20) == build("mi-fgsm(20)", "crafter")
    expected = build("gradient(steps=20, relative_step=0.1, random_start=false, momentum=0.5)", "crafter")
    assert MIFGSM(20, momentum=0.5) == expected
    assert build("transfer(independent, pgd(3))", "attack").crafter == PGD(3)
    assert isinstance(build("transfer(independent(), mi-fgsm(steps=20))", "attack"), TransferAttack)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("gradient", "pgd(steps=40)"),
        ("gradient(di=0.5)", "pgd(steps=40, di=0.5)"),
        ("gradient(steps=10, relative_step=0.1, random_start=false, momentum=1, ti=7)", "mi-fgsm(steps=10, ti=7)"),
        ("mi-fgsm(nesterov=true)", "ni-fgsm(steps=10)"),
        ("transfer(independent, gradient(steps=1, relative_step=1, random_start=false))",
         "transfer(substitute=independent, crafter=fgsm(steps=1))"),
    ],
)  # fmt: skip
def test_the_text_starts_from_the_nearest_recipe(given: str, shown: str) -> None:
    plugin = build(given, "attack" if given.startswith("transfer") else "crafter")
    assert describe(plugin) == shown
    assert build(shown, plugin.kind) == plugin


@pytest.mark.parametrize(
    ("text", "kind", "error", "match"),
    [
        ("mi-fgsn", "crafter", UnknownPlugin, r"Did you mean 'mi-fgsm'\?"),
        ("pgd", "attack", BadSpec, "'pgd' is a crafter, but an attack is expected here.* take one: audit, transfer"),
        ("pgd(stpes=3)", "crafter", BadParameter, r"pgd: unknown parameter 'stpes'\. Did you mean 'steps'"),
        ("pgd(steps=0)", "crafter", BadParameter, "steps = 0"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, kind: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        build(text, kind)


def test_an_old_row_that_names_a_recipe_is_read_as_what_it_stands_for() -> None:
    """`pgd` was a plugin of its own in the first rows; its numbers were those of the recipe."""
    old = {"kind": "crafter", "name": "pgd", "version": 1, "children": {},
           "params": {"random_start": True, "relative_step": 0.3, "steps": 7}}  # fmt: skip
    assert from_json(old) == PGD(7, 0.3)
    assert written_out(old) == spec_of(PGD(7, 0.3)).to_json()
    outer = {"kind": "attack", "name": "transfer", "version": 1, "params": {}, "children": {"crafter": old}}
    assert written_out(outer)["children"]["crafter"] == spec_of(PGD(7, 0.3)).to_json()
    for strange in ({**old, "version": 2}, {**old, "params": {"pace": 3}}, {**old, "name": "nobody/nothing"}):
        assert written_out(strange) == strange


# ----------------------------------------------------------------------------------------------------- other packages

ONE = """
[gentle]
plugin = "vote"
reference = "nobody 2026"
passes = 3
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `spare` with an empty table, whose recipes are yet to be written."""
    folder = tmp_path / "spare"
    (folder / "recipes").mkdir(parents=True)
    (folder / "__init__.py").write_text('PLUGINS = {}\nRECIPES = "recipes/own.toml"\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder / "recipes" / "own.toml"
    sys.modules.pop("spare", None)


def _registry() -> Registry:
    found = Registry()
    for entry in registry.registry().entries():
        found._entries[entry.name] = entry
    return found


POINT = EntryPoint("spare", "spare:PLUGINS", registry.GROUP)


def test_another_package_brings_recipes(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package.write_text(ONE)
    found = _registry()
    found.add_entry_point(POINT)
    monkeypatch.setattr(registry, "registry", lambda: found)
    monkeypatch.setattr(building, "registry", lambda: found)
    assert build("spare/gentle", "defense") == create("defense", "vote", passes=3)
    assert describe(build("vote(3, rule=mean-logit)", "defense")) == "vote(passes=3, rule=mean-logit)"
    (recipe,) = found.recipes()
    assert (recipe.reference, recipe.attribute, recipe.package) == ("nobody 2026", "GENTLE", "spare")


@pytest.mark.parametrize(
    ("text", "cause"),
    [(None, "own.toml can't be read"), ("[x", "own.toml can't be read"), ("x = 3", r"\[x\] needs the texts plugin"),
     ('[x]\nplugin = "vote"', r"\[x\] needs the texts plugin and reference")],
)  # fmt: skip
def test_a_package_with_bad_recipes_is_listed_as_broken(package: Path, text: str | None, cause: str) -> None:
    if text is not None:
        package.write_text(text)
    with pytest.raises(BrokenPlugin, match=cause):
        list(read_recipes("spare", "recipes/own.toml", "spare", "spare 1.0"))
    found = _registry()
    found.add_entry_point(POINT)
    assert "own.toml" in found.broken["spare"]


def _recipe(name: str, plugin: str = "vote", **params: object) -> Recipe:
    return Recipe(name, plugin, params, "nobody 2026", "spare 1.0", "spare")


def test_a_name_stands_for_one_thing() -> None:
    found = _registry()
    with pytest.raises(DuplicatePlugin, match=r"'vote' is registered twice.*a recipe for vote"):
        found.add_recipe(_recipe("vote"))
    found.add_recipe(_recipe("gentle", passes=3))
    found.add_recipe(_recipe("gentle", passes=3))  # the same again is no conflict
    with pytest.raises(DuplicatePlugin, match="'gentle' is registered twice"):
        found.add_recipe(_recipe("gentle", passes=4))
    with pytest.raises(DuplicatePlugin, match="'gentle' is registered twice"):
        found.add("", {"gentle": "pack.one:X"}, "pack 1.0")


def test_a_recipe_for_nothing_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = _registry()
    found.add_recipe(_recipe("lost", "votes"))
    with pytest.raises(BrokenPlugin, match=r"recipe 'lost' of spare 1\.0 is for 'votes', which is no plugin"):
        found.find("lost")
    monkeypatch.setattr("robustnoise.cli.listing.registry", lambda: found)
    show_plugins(None, [], json=True)
    (row,) = [r for r in json.loads(capsys.readouterr().out) if r["name"] == "lost"]
    assert row["kind"] == "broken"


def test_the_command_line_lists_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    show_plugins(None, [], json=True)
    rows = {r["name"]: r for r in json.loads(capsys.readouterr().out)}
    assert rows["ni-fgsm"]["kind"] == "crafter"
    assert rows["ni-fgsm"]["what"].startswith("gradient(steps=10, relative_step=0.1, random_start=false, momentum=1")
    assert "arXiv 1908.06281" in rows["ni-fgsm"]["what"]
    show_plugins("ni-fgsm", [], json=True)
    shown = json.loads(capsys.readouterr().out)
    defaults = {p["name"]: p["default"] for p in shown["parameters"]}
    assert (defaults["steps"], defaults["nesterov"], defaults["si"]) == ("10", "true", "1")
    assert shown["recipe"].startswith("gradient(steps=10")
    show_plugins("ni-fgsm", [], json=False)
    assert "Stands for: gradient(steps=10" in capsys.readouterr().out
