"""Nothing that we read runs code: no pickle, no eval, no loader that would."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for folder in ("robustnoise", "attacks", "defenses", "benchmarks", "tools", "examples")
                 for p in (ROOT / folder).rglob("*.py"))  # fmt: skip
MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal", "yaml", "cloudpickle"}
CALLS = {"eval", "exec", "compile", "torch.load", "torch.jit.load", "torch.hub.load", "joblib.load", "pd.read_pickle",
         "pandas.read_pickle", "os.system", "os.popen", "numpy.fromregex"}  # fmt: skip
LOADS = {"np.load", "numpy.load", "np.lib.format.read_array", "numpy.lib.format.read_array"}


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe(text: str) -> Iterator[str]:
    """What in a source might run what is in a file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = _dotted(node.func)
            given = {k.arg: k.value for k in node.keywords}
            pickles = given.get("allow_pickle")
            refuses = isinstance(pickles, ast.Constant) and pickles.value is False
            if name in CALLS or (name in LOADS and not refuses) or (pickles is not None and not refuses):
                yield name
            shell = given.get("shell")
            if isinstance(shell, ast.Constant) and shell.value:
                yield f"{name}(shell=True)"


@pytest.mark.parametrize("folder", ["robustnoise", "attacks", "defenses", "benchmarks", "tools", "examples"])
def test_no_source_reads_a_pickle_or_evaluates_a_text(folder: str) -> None:
    mine = [p for p in SOURCES if ROOT / folder in p.parents]
    assert mine
    assert {str(p): found for p in mine if (found := list(unsafe(p.read_text(encoding="utf-8"))))} == {}


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from dill import loads", "torch.load(f)", "np.load(f)", "np.load(f, allow_pickle=True)",
     "numpy.load(f, allow_pickle=x)", "eval(t)", "exec(t)", "import yaml", "read(f, allow_pickle=True)",
     "subprocess.run(c, shell=True)", "os.system(c)"],
)  # fmt: skip
def test_what_is_unsafe_would_be_found(text: str) -> None:
    assert list(unsafe(text))


def test_what_is_safe_is_not_found() -> None:
    assert list(unsafe("np.load(f, allow_pickle=False)\nre.compile('x')\nmodule.eval()\nsubprocess.run(['ls'])")) == []
