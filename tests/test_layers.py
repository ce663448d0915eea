"""Imports point downwards, plugins see the public interface alone, and nothing seeds a global generator."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = (ROOT / "robustnoise", ROOT / "attacks/robustnoise_attacks", ROOT / "defenses/robustnoise_defenses")
SOURCES = [p for package in PACKAGES for p in sorted(package.rglob("*.py"))]
CORE = [p for p in SOURCES if PACKAGES[0] in p.parents]

LAYERS: list[set[str]] = [
    {"errors"},
    {"rowshape"},
    {"seeds", "threat", "spec", "recipes", "extras", "foreign", "allocator", "cache", "tensorfile", "npy", "regular"},
    {"protocols"},
    {"compose", "registry", "building"},
    {"blocks", "data", "models", "training", "oracle", "store"},
    {"api"},
    {"stats", "tally", "records", "audits", "certificates", "flags", "examples", "rowfiles"},
    {"harness"},
    {"report"},
    {"evaluation", "board", "leaderboard", "verification"},
    {"submission"},
    {"testing"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
WITHIN = [
    ("cache", "extras"),
    ("building", "compose"),
    ("building", "registry"),
    ("data", "store"),
    ("models", "blocks"),
    ("models", "data"),
    ("models", "store"),
    ("oracle", "blocks"),
    ("training", "blocks"),
    ("training", "models"),
    ("training", "store"),
    ("tally", "stats"),
    ("records", "stats"),
    ("records", "tally"),
    ("audits", "stats"),
    ("audits", "tally"),
    ("audits", "records"),
    ("certificates", "stats"),
    ("certificates", "records"),
    ("flags", "stats"),
    ("flags", "tally"),
    ("flags", "records"),
    ("flags", "audits"),
    ("examples", "records"),
    ("rowfiles", "audits"),
    ("rowfiles", "records"),
    ("leaderboard", "board"),
    ("leaderboard", "verification"),
]
"""Which module of a layer may import which of the same layer."""


def _name(path: Path) -> str:
    """The dotted name of a file below its package's folder."""
    base = next(p.parent for p in PACKAGES if p in path.parents)
    parts = list(path.relative_to(base).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import that runs, those in functions included; `from a import b` is a.b."""

    def walk(node: ast.AST) -> Iterator[tuple[int, str]]:
        for child in ast.iter_child_nodes(node):
            if _is_type_checking(child):
                continue
            if isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: a relative import"
                assert child.module is not None
                yield from ((child.lineno, f"{child.module}.{alias.name}") for alias in child.names)
            else:
                yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def _breaches(path: Path) -> list[str]:
    mine = _name(path).split(".")[1]
    found = []
    for line, name in _imports(path):
        parts = name.split(".")
        if parts[0] in ("robustnoise_attacks", "robustnoise_defenses"):
            found.append(f"{path.name}:{line}: {name}: the core knows no plugin package")
        if parts[0] != "robustnoise" or parts[1] == mine or parts[1].startswith("__"):
            continue
        theirs = parts[1]
        if LEVEL[theirs] > LEVEL[mine] or (LEVEL[theirs] == LEVEL[mine] and (mine, theirs) not in WITHIN):
            found.append(f"{path.name}:{line}: {mine} imports {theirs}")
    return found


def test_the_walk_sees_the_sources() -> None:
    assert len(CORE) > 40
    assert len(SOURCES) > len(CORE) + 12


def test_every_module_has_a_layer() -> None:
    present = {_name(p).split(".")[1] for p in CORE if _name(p) != "robustnoise"}
    assert present <= set(LEVEL)


@pytest.mark.parametrize("path", [p for p in CORE if _name(p) != "robustnoise"], ids=_name)
def test_imports_point_downwards(path: Path) -> None:
    assert _breaches(path) == []


def test_an_import_upwards_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "robustnoise"
    package.mkdir()
    path = package / "spec.py"
    path.write_text("def f():\n    from robustnoise.harness import runner\nfrom robustnoise.errors import BadSpec\n")
    monkeypatch.setitem(globals(), "PACKAGES", (package,))
    assert _breaches(path) == ["spec.py:2: spec imports harness"]


@pytest.mark.parametrize("path", [p for p in SOURCES if p not in CORE], ids=_name)
def test_plugins_import_the_public_interface_alone(path: Path) -> None:
    own = _name(path).split(".")[0]
    foreign = [
        f"{path.name}:{line}: {name}"
        for line, name in _imports(path)
        if name.startswith("robustnoise") and not name.startswith(("robustnoise.api.", f"{own}."))
    ]
    assert foreign == []


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


GLOBAL_SEEDS = {"torch.manual_seed", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all",
                "torch.random.manual_seed", "torch.set_rng_state", "np.random.seed", "numpy.random.seed",
                "np.random.set_state", "numpy.random.set_state", "random.seed"}  # fmt: skip
DRAWS = {"torch.rand", "torch.randn", "torch.randint", "torch.randperm", "torch.normal", "torch.bernoulli",
         "torch.multinomial"}  # fmt: skip


def _global_randomness(text: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name == "random"]
        elif isinstance(node, ast.ImportFrom) and node.module == "random":
            found.append("random")
        elif isinstance(node, ast.Call):
            name = _dotted(node.func)
            drawn = name in DRAWS or (name.endswith(("_like",)) and name.startswith("torch.rand"))
            if name in GLOBAL_SEEDS or (drawn and "generator" not in {k.arg for k in node.keywords}):
                found.append(name)
    return found


RESTORED = {
    "robustnoise.foreign": {"random", "random.seed", "np.random.seed", "np.random.set_state",
                            "torch.manual_seed"},  # runs libraries that draw from nothing else, and puts all back
    "robustnoise.testing.common": {"random", "random.seed", "np.random.seed",
                                   "torch.set_rng_state"},  # moves the state to see whether a plugin reads it
}  # fmt: skip
"""Modules that touch a global generator on purpose, and with what."""


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_global_generator_is_read_or_seeded(path: Path) -> None:
    found = set(_global_randomness(path.read_text(encoding="utf-8")))
    assert found == RESTORED.get(_name(path), set())


@pytest.mark.parametrize(
    "text",
    ["import random", "from random import choice", "torch.manual_seed(0)", "np.random.seed(1)", "x = torch.randn(3)",
     "torch.rand_like(x)"],
)  # fmt: skip
def test_global_randomness_would_be_found(text: str) -> None:
    assert _global_randomness(text)
