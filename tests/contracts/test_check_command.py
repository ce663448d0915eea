"""'robustnoise check' finds each broken promise under its own name, with the value found and a remedy."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import robustnoise.testing
from robustnoise.cli.authoring import check
from robustnoise.errors import BadParameter, UnknownPlugin
from robustnoise.registry import registry
from robustnoise.testing.meanings import CONTRACTS
from tests.contracts.made import registered_for_now

BROKEN = Path(__file__).parent / "broken_plugins.py"
SECOND_HAND = {
    "seeded", "inference-mode", "traits", "one-noise", "repeats", "row-independence", "off-is-identity",
}  # fmt: skip
"""Contracts that another breach may break as well."""


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    """What the command says of the broken plugins, as JSON, by bare name."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch, registered_for_now():
        patch.setattr("builtins.print", lambda *parts, **_: lines.append(str(parts[0])))
        assert check(str(BROKEN), as_json=True) == 1
    (line,) = lines
    plain = json.loads(line)
    assert plain["kept"] is False
    return {p["name"].removeprefix("broken_plugins/"): p for p in plain["plugins"]}


@pytest.mark.parametrize(
    ("name", "contract", "found", "mend"),
    [
        ("any-parameter", "bad-parameter", r"extra = object\(\) is accepted", "Annotate the field"),
        ("asks-in-secret", "queries", "reports 3 queries; the oracle answered 6", "oracle.spent"),
        ("batch-mean", "row-independence", r"neighbours in the batch: scores are up to [\d.e-]+ apart", "dim=1"),
        ("batch-size", "row-independence", r"size of the batch: scores are up to [\d.e-]+ apart", "dim=1"),
        ("edits-the-model", "model-untouched", "changes the model it is given: digest, weights", "copy.deepcopy"),
        ("global-noise", "global-state", r"global random or other state \(torch\)", "generator=noise.generator"),
        (
            "never-off",
            "off-is-identity",
            "with sigma=0.0 it still changes answers: scores are up to",
            "return model if",
        ),
        ("no-plugin", "import", "NoPlugin is no dataclass based on Plugin", "PLUGINS"),
        (
            "raises",
            "runs",
            r"RuntimeError: The size .*\(at broken_plugins.py:\d+: return x \+ torch.ones\(3, 5\)\)",
            "",
        ),
        ("says-it-is-calm", "traits", "the classifier says stochastic = True", "Correct the trait"),
        ("writes-into-images", "inputs-untouched", "it writes into x", "not x \\+= step"),
        ("wrong-labels", "answer", "a label is no class", "answer_from_logits"),
    ],
)
def test_each_broken_promise_is_explained(
    results: dict[str, dict[str, Any]], name: str, contract: str, found: str, mend: str
) -> None:
    first, *others = results[name]["breaches"]
    assert first["contract"] == contract
    assert first["meaning"] == CONTRACTS[contract].meaning
    assert re.search(found, first["found"])
    assert re.search(mend, first["mend"])
    assert {b["contract"] for b in others} <= SECOND_HAND
    if contract in ("bad-parameter", "queries", "row-independence", "traits", "import", "runs"):
        assert not others  # nothing follows from these


def test_a_sound_plugin_passes_and_what_cannot_be_built_is_not_checked(results: dict[str, dict[str, Any]]) -> None:
    assert results["sound"]["breaches"] == []
    assert {"off-is-identity", "row-independence", "global-state"} <= set(results["sound"]["contracts"])
    assert results["needs-a-file"]["skipped"].startswith("it needs path: robustnoise check ")
    assert results["lacks-a-package"]["skipped"].endswith("Install it: pip install 'spare'")
    assert results["needs-a-file"]["breaches"] == results["lacks-a-package"]["breaches"] == []


def test_one_plugin_as_text_in_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert check("vote(3)", as_json=False) == 0
    assert re.match(r"vote\(3\) \(defense\): keeps all \d+ contracts\n1 checked: 1 keep every", capsys.readouterr().out)
    with registered_for_now():
        registry().add_file(BROKEN)
        assert check("broken_plugins/edits-the-model", as_json=False) == 1
    out = capsys.readouterr().out
    assert "breaks 3 of" in out
    assert "  model-untouched\n    meaning: The classifier that it is given keeps its weights" in out
    assert "Start with the first" in out
    assert out.endswith("1 checked: 0 keep every contract, 1 broken.\n")
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("vot", UnknownPlugin, "no folder, no .py file and no plugin. Did you mean 'vote'"),
        ("vote(0)", BadParameter, "passes = 0"),
        (".", BadParameter, "pyproject.toml can't be read"),
    ],
)
def test_what_is_no_package_is_refused(
    what: str, error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=re.escape(words)):
        check(what, as_json=False)


def test_a_folder_without_an_entry_point_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "empty"\n')
    with pytest.raises(BadParameter, match=r'Expected a table \[project.entry-points."robustnoise.plugins"\]'):
        check(str(tmp_path), as_json=False)


def _needed() -> set[str]:
    """The contracts that the checks name."""
    names = set()
    for path in Path(robustnoise.testing.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "need":
                assert isinstance(node.args[1], ast.Constant)
                names.add(str(node.args[1].value))
    return names


def test_every_contract_has_a_meaning_of_one_sentence_and_no_meaning_is_left_over() -> None:
    assert set(CONTRACTS) == _needed() | {"import", "runs"}
    for meaning in CONTRACTS.values():
        assert meaning.meaning.endswith(".")
        assert ". " not in meaning.meaning
        assert meaning.mend.endswith(".")


def test_the_guide_names_every_contract() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    table = guide.split("## 6. The contracts")[1].split("\n## ")[0]
    assert [name for name in CONTRACTS if f"`{name}`" not in table] == []
