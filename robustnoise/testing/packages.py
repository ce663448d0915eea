"""The contracts of whole packages: what is found, what it means and how to mend it, instead of a traceback."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from robustnoise.building import build, build_call
from robustnoise.errors import BadParameter, BrokenPlugin, MissingExtra, UnknownPlugin, did_you_mean
from robustnoise.registry import GROUP, prefix_of, registry
from robustnoise.spec import Call, Plugin, parse_text, required_parameters
from robustnoise.testing.common import Collected, ContractBroken, collecting
from robustnoise.testing.contracts import check_plugin
from robustnoise.testing.meanings import CONTRACTS


@dataclass(frozen=True)
class Breach:
    """A broken contract.

    Args:
        contract: its name.
        meaning: what it promises, in one sentence.
        found: what was seen, with values.
        mend: what to do.
    """

    contract: str
    meaning: str
    found: str
    mend: str


@dataclass(frozen=True)
class Checked:
    """What the contracts say of one plugin.

    Args:
        name: as users type it.
        kind: ``"defense"``, ``"attack"``, ...; ``"package"`` or ``"plugin"`` where it can't be imported.
        contracts: names of those that were looked at, sorted.
        breaches: those that are broken.
        skipped: why nothing was checked; empty where it was.
        ended: the error that ended the checks after a breach; empty where all were run.
    """

    name: str
    kind: str
    contracts: tuple[str, ...] = ()
    breaches: tuple[Breach, ...] = ()
    skipped: str = ""
    ended: str = ""


@dataclass(frozen=True)
class Candidate:
    """One plugin to check: its name, its kind, and how to build it; `make` may raise anything."""

    name: str
    make: Callable[[], Plugin]


def check_candidate(candidate: Candidate) -> Checked:
    """Every contract of one plugin; all that are broken, not only the first."""
    try:
        plugin = candidate.make()
    except _NotChecked as why:
        return Checked(candidate.name, why.kind, skipped=str(why))
    except MissingExtra as error:
        return Checked(candidate.name, "plugin", skipped=str(error))
    except Exception as error:  # noqa: BLE001 - a third party's class may raise anything
        contract = "import" if isinstance(error, BrokenPlugin) else "runs"
        return Checked(candidate.name, "plugin", (contract,), (_breach(contract, _said(error)),))
    ended = ""
    with collecting() as seen:
        try:
            check_plugin(plugin)
        except MissingExtra as error:
            return Checked(candidate.name, plugin.kind, skipped=str(error))
        except Exception as error:  # noqa: BLE001 - the same
            ended = _said(error)
    return _checked(candidate.name, plugin.kind, seen, ended)


def _checked(name: str, kind: str, seen: Collected, ended: str) -> Checked:
    broken = list(seen.broken.values())
    if ended and not broken:
        # After a breach, an error follows from it more often than not.
        broken, ended = [ContractBroken(name, "runs", ended)], ""
    breaches = tuple(_breach(b.contract, b.found) for b in broken)
    return Checked(name, kind, tuple(sorted(seen.looked_at | {"runs"})), breaches, ended=ended)


def _breach(contract: str, found: str) -> Breach:
    meaning = CONTRACTS[contract]
    return Breach(contract, meaning.meaning, found, meaning.mend)


def _said(error: Exception) -> str:
    """The error, and the last line outside robustnoise that led to it."""
    own = str(Path(__file__).parents[1])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((own, sys.prefix, "<"))]
    where = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


class _NotChecked(Exception):
    """A plugin can't be built without more information.

    Args:
        why: what is missing.
        kind: the plugin's.
    """

    def __init__(self, why: str, kind: str) -> None:
        super().__init__(why)
        self.kind = kind


# ------------------------------------------------------------------------------------------------------ what to check


def candidates(what: str) -> list[Candidate]:
    """The plugins and recipes of a package, or one configured plugin.

    Args:
        what: an installed package, by the name of its entry point or distribution; a folder with a pyproject.toml,
            which need not be installed; a one-file plugin; or a plugin or stack as text, such as ``"vote(16)"``.

    Raises:
        UnknownPlugin: it is none of them.
        BadParameter: a folder whose pyproject.toml names no entry point.
        BrokenPlugin: a one-file plugin that can't be read.
        BadSpec: a text that can't be read.
    """
    path = Path(what)
    if path.suffix == ".py":
        return _of_file(path)
    points = [p for p in entry_points(group=GROUP) if _plain(what) in _called(p)]
    if points:
        return _of_points(points)
    if path.is_dir():
        return _of_folder(path)
    known = {e.name for e in registry().entries()} | {r.name for r in registry().recipes()}
    if what in known:
        return _named([what])
    if "(" in what or "|" in what:
        plugin = _of_text(what)
        return [Candidate(what, lambda: plugin)]
    packages = sorted({p.name for p in entry_points(group=GROUP)})
    raise UnknownPlugin(
        f"{what!r}: no installed package with plugins, no folder, no .py file and no plugin."
        f"{did_you_mean(what, [*packages, *known])} Installed packages with plugins: {', '.join(packages)}. Install "
        "yours with 'pip install .', or give the path of its folder."
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _called(point: EntryPoint) -> set[str]:
    return {_plain(point.name)} | ({_plain(point.dist.name)} if point.dist else set())


def _of_text(text: str) -> Plugin:
    tree = parse_text(text)
    made: Plugin = build_call(tree) if isinstance(tree, Call) else build(text, "defense")
    return made


def _of_file(path: Path) -> list[Candidate]:
    registry().add_file(path)
    return _named(e.name for e in registry().entries() if e.name.startswith(f"{path.stem}/"))


def _of_points(points: Iterable[EntryPoint]) -> list[Candidate]:
    found: list[Candidate] = []
    for point in points:
        if point.name in registry().broken:
            found.append(Candidate(point.name, lambda name=point.name: _broken(registry().broken[name])))  # type: ignore[misc]
            continue
        prefix = prefix_of(point)
        names = [f"{prefix}/{bare}" if prefix else bare for bare in point.load()]
        found += _named([*names, *(r.name for r in registry().recipes() if r.package == point.module)])
    return found


def _broken(cause: str) -> Plugin:
    raise BrokenPlugin(cause)


def _of_folder(folder: Path) -> list[Candidate]:
    file = folder / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        raise BadParameter(f"{file} can't be read: {error}. Expected the folder of a plugin package.") from None
    table = project.get("entry-points", {}).get(GROUP, {})
    if not table:
        raise BadParameter(f'{file}: names no plugins. Expected a table [project.entry-points."{GROUP}"].')
    # Before the registry reads what is installed, so that it reads this folder where both are there.
    sys.path[:0] = [str(folder.resolve()), str((folder / "src").resolve())]
    importlib.invalidate_caches()
    points = [EntryPoint(name, value, GROUP) for name, value in table.items()]
    installed = {p.name for p in entry_points(group=GROUP)}
    for point in points:
        if point.name not in installed:
            registry().add_entry_point(point)
    return _of_points(points)


def _named(names: Iterable[str]) -> list[Candidate]:
    return [Candidate(name, lambda name=name: _built(name)) for name in names]  # type: ignore[misc]


def _built(name: str) -> Plugin:
    """The plugin or recipe `name` with its defaults."""
    cls, recipe = registry().find(name), registry().recipe(name)
    missing = [p for p in required_parameters(cls) if recipe is None or p not in recipe.params]
    if missing:
        given = ", ".join(f"{p}=..." for p in missing)
        raise _NotChecked(f"it needs {', '.join(missing)}: robustnoise check '{name}({given})' checks one.", cls.kind)
    made: Plugin = build_call(Call(name))
    return made
