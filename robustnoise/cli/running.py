"""The commands that compute: run, demo, evaluate, compare."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from robustnoise.audits import AuditRecord
from robustnoise.board import (
    Board,
    BudgetPart,
    DataPart,
    RunPart,
    ThreatPart,
    VictimPart,
    adhoc_board,
    find_board,
    load_board,
)
from robustnoise.cache import cache_root
from robustnoise.cli.again import Ran
from robustnoise.cli.caching import open_store
from robustnoise.cli.places import Place, show_plan
from robustnoise.cli.progress import bars
from robustnoise.errors import BadParameter, told
from robustnoise.evaluation import comparison
from robustnoise.examples import path_of
from robustnoise.flags import raised
from robustnoise.harness.auditing import audit
from robustnoise.harness.examples import examples
from robustnoise.harness.experiment import Experiment
from robustnoise.harness.shards import Shard
from robustnoise.leaderboard import Leaderboard
from robustnoise.models.targets.text import TargetText
from robustnoise.records import EvaluationRecord
from robustnoise.registry import registry
from robustnoise.report.contents import Contents
from robustnoise.report.parts import board_parts
from robustnoise.report.plots import require_matplotlib
from robustnoise.report.shown import Line
from robustnoise.report.terminal import print_parts, stdout
from robustnoise.report.text import sentences
from robustnoise.report.views import row_view, summary
from robustnoise.spec import parse_number
from robustnoise.store import atomic_write
from robustnoise.threat import Norm

ATTACK_FAILED = 3
"""Exit code of a command that did all but the cells in which somebody else's attack failed."""


def run_board(
    name: str,
    output: Path | None,
    changes: Sequence[str],
    *,
    device: str,
    place: Place,
    data_dir: Path | None,
    plugins: Sequence[Path],
    plan: bool,
    shard: Shard | None = None,
    trust_code: bool = False,
    audits: bool = False,
) -> Ran | None:
    """Run a board into a folder of its own and show it; `audits` makes those of its headline victims too.

    Of a `shard` the cells alone are made.

    Returns:
        what was shown; None where showing it again isn't the same as running it again: of a plan or a part, and where a
        target may have changed or a GPU may be gone without any file.
    """
    load_plugins(plugins)
    folder = find_board(name)
    board = load_board(folder, changes)
    experiment = board.experiment(
        data_dir=data_dir, device=device, plugin_files=plugins, trust_code=trust_code, journals=journals()
    )
    if plan:
        show_plan(experiment, place)
        return None
    if shard is not None:
        if audits:
            raise BadParameter("--audit: a part makes cells alone. Give it to the command that writes the rows.")
        _run_shard(name, experiment, shard, place)
        return None
    if audits and board.threat is None:
        raise BadParameter(f"--audit: {board.name} has no threat model, so there is nothing to audit.")
    if board.curves or board.budget.stops:
        require_matplotlib()
    output = output or Path("runs") / board.name
    # Written first: a folder that can't be written to is found before hours of work.
    write_board(output, folder)
    failures: list[str] = []
    records = place.run(experiment, failures)
    target = Leaderboard(output)
    target.add(*records)
    if audits:
        target.add(*_audits(experiment, board))
    rows = target.rows()
    shown = target.contents(rows)
    target.write_report(shown)
    lacking = [record for record in records if not path_of(output, record).exists()]
    target.add_examples(examples(experiment, open_store(), lacking, board.shown))
    if len(rows) != len(records) or not all(map(target.ranked, rows)):
        # A changed protocol leaves no row ranked; what was run is shown all the same, and that alone.
        shown = target.contents(records, unranked=True)
    parts = board_parts(board.file.title or board.name, shown)
    parts += [*map(Line, sentences(shown.rows)), Line(f"Rows and REPORT.md are in {output}.")]
    print_parts(stdout(), parts)
    report_failures(failures)
    return Ran(output, parts) if experiment.self_contained else None


def _run_shard(name: str, experiment: Experiment, shard: Shard, place: Place) -> None:
    failures: list[str] = []
    place.run_shard(experiment, shard, failures)
    stdout().print(
        f"Part {shard} is made. When all {shard.count} are, 'robustnoise run {name}' finds all and writes the rows.",
        highlight=False,
        soft_wrap=True,
    )
    report_failures(failures)


def write_board(output: Path, folder: Path) -> None:
    """Put the board of `folder` into the folder of a run.

    Raises:
        BadParameter: that one is another board's.
    """
    present, content = output / "board.toml", (folder / "board.toml").read_bytes()
    known = present.is_file() and present.read_bytes() == content
    if present.is_file() and not known and (other := load_board(output).name) != (name := load_board(folder).name):
        raise BadParameter(f"--output {output}: is the folder of board {other!r}; expected one of {name!r}, or none.")
    atomic_write(present, content)


def _audits(experiment: Experiment, board: Board) -> list[AuditRecord]:
    with bars() as progress:
        return audit(experiment, open_store(), board.headline, baseline=board.file.run.baseline, progress=progress)


def report_failures(failures: Sequence[str]) -> None:
    """Say which cells failed, and end the command with its own code, after everything else is written and shown."""
    if not failures:
        return
    for line in failures:
        print(f"AttackFailed: {line}", file=sys.stderr)
    print(
        f"{len(failures)} cells failed; the rows that need them are left out, all others are there. "
        "The same command tries them again.",
        file=sys.stderr,
    )
    raise typer.Exit(ATTACK_FAILED)


@dataclass(frozen=True)
class Setting:
    """The options that evaluate and compare share."""

    data: str
    eps: str
    norm: str
    access: str
    model: str
    draws: int
    budget: int | None
    seed: int
    limit: int | None
    device: str
    place: Place
    data_dir: Path | None
    plugins: Sequence[Path]
    plan: bool
    json: bool
    trust_code: bool = False

    def board(self, victims: dict[str, VictimPart], attacks: dict[str, str], undefended: str | None) -> Board:
        """A board for this one evaluation."""
        if self.norm not in list(Norm):
            raise BadParameter(f"--norm {self.norm}: expected one of {', '.join(Norm)}.")
        try:
            eps = parse_number(self.eps)
        except ValueError as error:
            raise BadParameter(f"--eps: {error}.") from None
        return adhoc_board(
            data=DataPart(name=self.data, evaluation=self.limit),
            threat=ThreatPart.model_construct(norm=Norm(self.norm), eps=eps, access=self.access),
            victims=victims,
            attacks=attacks,
            run=RunPart(model=self.model, undefended=undefended, draws=self.draws, seed=self.seed),
            budget=BudgetPart(total=self.budget),
        )

    def experiment(self, board: Board) -> Experiment:
        """What it measures, data loaded."""
        return board.experiment(
            data_dir=self.data_dir,
            device=self.device,
            plugin_files=self.plugins,
            trust_code=self.trust_code,
            journals=journals(),
        )

    def records(self, board: Board, failures: list[str] | None = None) -> list[EvaluationRecord] | None:
        """Run it; None where only the plan was asked for. `failures` as for `run`."""
        experiment = self.experiment(board)
        if self.plan:
            show_plan(experiment, self.place, as_json=self.json)
            return None
        return self.place.run(experiment, failures)


def evaluate_defense(defense: str, undefended: str, attacks: Sequence[str], setting: Setting) -> None:
    """One defense, its net without inference stages and the undefended net, under the given attacks and the null."""
    load_plugins(setting.plugins)
    victims = {"undefended": VictimPart(defense=undefended), "defense": VictimPart(defense=checkpoints(defense))}
    _evaluate(defense, victims, attacks, "undefended", setting)


def _evaluate(
    what: str, victims: dict[str, VictimPart], attacks: Sequence[str], undefended: str | None, setting: Setting
) -> None:
    named = {"null": "null", **{f"attack {i}" if len(attacks) > 1 else "attack": a for i, a in enumerate(attacks, 1)}}
    failures: list[str] = []
    records = setting.records(setting.board(victims, named, undefended), failures)
    if records is None:
        return
    if setting.json:
        print(json.dumps([r.to_json() for r in records], allow_nan=False))
        report_failures(failures)
        return
    views = [row_view(r, ranked=False, flags=raised(r, records)) for r in records]
    # Nothing here follows a board's protocol, so nothing is ranked.
    worst = [replace(s, rank_shared=None, rank_per_victim=None) for s in summary(records)]
    parts = board_parts(f"{what} on {setting.data}", Contents(views, worst))
    parts += [Line(f"{name}: {text}") for name, text in named.items() if name != "null"]
    print_parts(stdout(), [*parts, *map(Line, sentences(views))])
    report_failures(failures)


def evaluate_target(
    target: str, options: Sequence[str], defense: str | None, attacks: Sequence[str], setting: Setting
) -> None:
    """A target that somebody brings, alone and behind inference stages, under the given attacks and the null."""
    load_plugins(setting.plugins)
    chosen = target_options(options)
    victims = {"target": VictimPart(target=target, options=chosen)}
    if defense is not None:
        victims["defense"] = VictimPart(target=target, options=chosen, defense=defense, reference="target")
    what = target if defense is None else f"{target} | {defense}"
    _evaluate(what, victims, attacks, None, setting)


def target_options(texts: Sequence[str]) -> dict[str, Any]:
    """Options of a target from ``"key=value"``: TOML values; a text needs no quotes."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadParameter("--option: expected key=value, such as max_rows=5000.")
        try:
            found[key] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            found[key] = value
        except (ValueError, RecursionError) as error:
            raise BadParameter(f"--option {key}: can't be read: {told(error)}.") from None
    return found


def compare_victims(first: str, second: str, attack: str, setting: Setting) -> None:
    """Two victims under one attack."""
    load_plugins(setting.plugins)
    for text in (first, second):
        refuse_target(text, f"evaluate --target {text} --defense STAGES says what stages change")
    victims = {
        "first": VictimPart(defense=checkpoints(first)),
        "second": VictimPart(defense=checkpoints(second), reference="first"),
    }
    records = setting.records(setting.board(victims, {"attack": attack}, None))
    if records is None:
        return
    record = next(r for r in records if r.victim.victim["name"] == "second")
    found = comparison(record, f"replacing {first} by {second}")
    if setting.json:
        print(json.dumps(found.to_json(), allow_nan=False))
        return
    views = [row_view(r, ranked=False, flags=raised(r)) for r in records if r.victim.victim["name"] in victims]
    parts = board_parts(f"{setting.data}, {attack}", Contents(views))
    print_parts(stdout(), [*parts, Line(found.sentence)])


def refuse_target(text: str, advice: str) -> None:
    """Say so where a model that somebody brings stands in the place of a stack."""
    try:
        kind = TargetText(text).kind
    except BadParameter:
        return
    if kind != "file":
        raise BadParameter(f"{text} is a target and no stack of defenses: 'robustnoise {advice}' (docs/targets.md).")


def checkpoints(stack: str) -> str:
    """A stack in which ``weights.safetensors`` stands for ``pretrained("weights.safetensors")``."""
    parts = [part.strip() for part in stack.split("|")]
    return " | ".join(f'pretrained("{p}")' if re.fullmatch(r"[^()\"']+\.safetensors", p) else p for p in parts)


def journals() -> Path:
    """Where answers of endpoints are kept: beside the store, so that emptying it loses nothing that was paid for."""
    return cache_root() / "journals"


def load_plugins(paths: Sequence[Path]) -> None:
    """Register one-file plugins."""
    for path in paths:
        registry().add_file(path)
