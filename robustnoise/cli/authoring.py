"""The commands of plugin authors: a new package, and the contracts explained."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import keyword
import re
import shutil
import sys
import textwrap
from pathlib import Path
from string import Template

from robustnoise import api
from robustnoise.cli.templates import DESCRIPTIONS, FILES, PACKAGE, PYPROJECT, README, USAGE
from robustnoise.errors import BadParameter, did_you_mean
from robustnoise.testing.packages import Checked, candidates, check_candidate

BROKEN = 1
"""Exit code of a check that found a broken contract."""
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TAKEN = ("tests", "annotated", "field", "tensor", "any")
"""Names that a file of the templates has for something else."""


def new_package(kind: str, name: str, output: Path | None) -> None:
    """Write a package with one working plugin.

    Args:
        kind: ``"defense"`` or ``"attack"``.
        name: of the plugin and its distribution, lower case with hyphens.
        output: the new folder; `name` in the current one without it.

    Raises:
        BadParameter: another kind, a name that can't be used, or a folder that is there or can't be written.
    """
    if kind not in FILES:
        raise BadParameter(
            f"new {kind!r}: expected {' or '.join(FILES)}.{did_you_mean(kind, FILES)} docs/plugins.md shows the others."
        )
    _check_name(name)
    folder = output or Path(name)
    if folder.exists():
        raise BadParameter(f"{folder} is there already and stays as it is: give another --output or another name.")
    words = {"name": name, "package": name.replace("-", "_"), "cls": _class_name(name), "kind": kind}
    words["description"] = DESCRIPTIONS[kind]
    words["usage"] = Template(USAGE[kind]).substitute(words)
    files = {"pyproject.toml": PYPROJECT, "README.md": README, "{package}/__init__.py": PACKAGE, **FILES[kind]}
    try:
        for path, text in files.items():
            file = folder / path.format(**words)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template(text).substitute(words), encoding="utf-8")
    except OSError as error:
        raise BadParameter(f"{folder}: {error.strerror}. Give another folder with --output.") from None
    print(f"{folder}: the {kind} {words['package']}/{name}, its tests and a README. Next:")
    print(f"  robustnoise check {folder}")
    print(f"  pip install -e {folder}")


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def _check_name(name: str) -> None:
    package = name.replace("-", "_")
    if not NAME.fullmatch(name):
        nearest = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()).strip("-0123456789")
        hint = f" Did you mean {nearest!r}?" if NAME.fullmatch(nearest) else ""
        raise BadParameter(
            f"name {name!r}: expected small letters and digits, words joined by hyphens, a letter first.{hint}"
        )
    if keyword.iskeyword(package) or package in TAKEN or hasattr(api, _class_name(name)):
        raise BadParameter(
            f"name {name!r}: its package {package} or its class {_class_name(name)} would hide something that plugins "
            f"need. Add a word, such as 'my-{name}'."
        )
    there = importlib.util.find_spec(package)
    if package in sys.stdlib_module_names or (there is not None and there.origin is not None):  # else a mere folder
        raise BadParameter(f"name {name!r}: there is a module {package!r} already. Add a word, such as 'my-{name}'.")


def check(what: str, *, as_json: bool) -> int:
    """Run the contracts and explain each that is broken; 1 if there is one, else 0."""
    results: list[Checked] = []
    for candidate in candidates(what):
        results.append(check_candidate(candidate))
        if not as_json:
            print(_told(results[-1]), flush=True)
    broken = sum(bool(r.breaches) for r in results)
    skipped = sum(bool(r.skipped) for r in results)
    if as_json:
        print(json.dumps({"checked": what, "kept": not broken, "plugins": [dataclasses.asdict(r) for r in results]}))
        return BROKEN if broken else 0
    kept = len(results) - broken - skipped
    parts = [f"{kept} keep every contract", *([f"{broken} broken"] if broken else [])]
    print(f"{len(results)} checked: {', '.join([*parts, *([f'{skipped} not checked'] if skipped else [])])}.")
    return BROKEN if broken else 0


def _told(result: Checked) -> str:
    head = f"{result.name} ({result.kind}): "
    if result.skipped:
        return head + f"not checked: {result.skipped}"
    if not result.breaches:
        return head + f"keeps all {len(result.contracts)} contracts"
    lines = [head + f"breaks {len(result.breaches)} of {len(result.contracts)} contracts"]
    for breach in result.breaches:
        lines.append(f"  {breach.contract}")
        lines += [_wrapped(label, getattr(breach, label)) for label in ("meaning", "found", "mend")]
    if len(result.breaches) > 1:
        lines.append("  Start with the first: those below often follow from it.")
    if result.ended:
        lines.append(f"  What comes after was not checked, since it raised {result.ended}")
    return "\n".join(lines)


def _wrapped(label: str, text: str) -> str:
    width = min(shutil.get_terminal_size().columns, 120)
    return textwrap.fill(text, width, initial_indent=f"    {label + ':':<9}", subsequent_indent=" " * 13)
