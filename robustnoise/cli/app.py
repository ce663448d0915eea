"""All subcommands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustnoise import __version__
from robustnoise.errors import BadParameter

app = typer.Typer(
    name="robustnoise",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Evaluate defenses of neural classifiers against black-box adversarial attacks.\n\n"
    "Start with 'robustnoise demo': a whole leaderboard on real digits in minutes.",
)
board_app = typer.Typer(no_args_is_help=True, help="Show, check and publish leaderboards.")
cache_app = typer.Typer(no_args_is_help=True, help="Look into the store of finished work, mend it, empty it.")
app.add_typer(board_app, name="board")
app.add_typer(cache_app, name="cache")

DataDir = Annotated[
    Path | None, typer.Option(help="Folder with the canonical files of datasets [env: ROBUSTNOISE_DATA].")
]
Device = Annotated[str, typer.Option(help="Where networks run: cpu, cuda, ...")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes; results don't depend on it.")]
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="A one-file plugin; may be given several times.")]
Seed = Annotated[int | None, typer.Option(help="Seed of training, attacks and scoring.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
DataName = Annotated[str, typer.Option(help="A dataset of 'robustnoise data', an npz file or an image folder.")]
Eps = Annotated[str, typer.Option(help="Radius in pixels of [0, 1]; fractions such as 8/255 are read.")]
NormName = Annotated[str, typer.Option(help="linf or l2.")]
AccessName = Annotated[str, typer.Option(help="What the victim answers: labels, scores or logits.")]
ModelText = Annotated[str, typer.Option(help="Architecture of the victims that are trained here.")]
Target = Annotated[
    str | None, typer.Option(help="A model of yours: onnx:FILE, http://..., FILE.safetensors or MODULE:FACTORY.")
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option("--option", help="Of the target: key=value, such as max_rows=5000; see docs/targets.md."),
]
Draws = Annotated[int, typer.Option(min=1, help="Fresh scoring draws of a stochastic victim.")]
Queries = Annotated[int | None, typer.Option(min=0, help="Queries in all; none is no limit.")]
Trust = Annotated[bool, typer.Option("--trust-code", help="Let a target MODULE:FACTORY run that code.")]
Plan = Annotated[bool, typer.Option("--plan", help="Show which cells are cached and missing; run nothing.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Evaluate on only so many images; such rows are unranked.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The options of the bare command."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    board: Annotated[str, typer.Argument(help="A folder with a board.toml, or the name of a shipped board.")],
    output: Annotated[Path | None, typer.Option(help="Folder for rows and report [default: runs/BOARD].")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, such as run.draws=20; a changed protocol is unranked.")
    ] = None,
    seed: Seed = None,
    limit: Limit = None,
    device: Device = "cpu",
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    audit: Annotated[bool, typer.Option("--audit", help="Audit the headline victims too; see docs/flags.md.")] = False,
    plan: Plan = False,
    trust_code: Trust = False,
) -> None:
    """Make every row of a board. Killed at any moment, the same command goes on where it stopped."""
    from robustnoise.cli.running import run_board

    changes = list(overrides or [])
    changes += [f"run.seed={seed}"] if seed is not None else []
    changes += [f"data.evaluation={limit}"] if limit is not None else []
    run_board(
        board, output, changes, device=device, jobs=jobs, data_dir=data_dir, plugins=plugin or [], plan=plan,
        trust_code=trust_code, audits=audit,
    )  # fmt: skip


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for rows and report.")] = Path("runs/quickstart"),
    jobs: Jobs = 1,
) -> None:
    """Run the quickstart board: baseline, adversarial training, noise; shared and per-victim substitutes."""
    from robustnoise.cli.running import run_board

    run_board("quickstart", output, [], device="cpu", jobs=jobs, data_dir=None, plugins=[], plan=False)


@app.command()
def evaluate(
    attack: Annotated[list[str], typer.Option(help='Such as "transfer(jacobian, pgd)"; may be given several times.')],
    defense: Annotated[
        str | None, typer.Option(help='Such as "pgd-training(eps=0.3) | layer-noise(snr_db=20)".')
    ] = None,
    target: Target = None,
    option: TargetOption = None,
    trust_code: Trust = False,
    data: DataName = "mnist-5k",
    eps: Eps = "0.3",
    norm: NormName = "linf",
    access: AccessName = "labels",
    model: ModelText = "small-cnn",
    undefended: Annotated[
        str | None, typer.Option(help="The undefended net to compare with [default: plain-training].")
    ] = None,
    draws: Draws = 10,
    budget: Queries = None,
    seed: Seed = None,
    limit: Limit = None,
    device: Device = "cpu",
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    plan: Plan = False,
    json: Json = False,
) -> None:
    """Evaluate a defense beside its own net without noise and an undefended one, or a target; without a board file."""
    from robustnoise.cli.running import Setting, evaluate_defense, evaluate_target

    setting = Setting(
        data=data, eps=eps, norm=norm, access=access, model=model, draws=draws, budget=budget, seed=seed or 0,
        limit=limit, device=device, jobs=jobs, data_dir=data_dir, plugins=plugin or [], plan=plan, json=json,
        trust_code=trust_code,
    )  # fmt: skip
    if target is not None:
        if undefended is not None or model != "small-cnn":
            raise BadParameter("--undefended and --model are about nets that are trained here; leave them out.")
        evaluate_target(target, option or [], defense, attack, setting)
        return
    if defense is None:
        raise BadParameter("expected --defense, --target or both.")
    if option or trust_code:
        raise BadParameter("--option and --trust-code belong to --target.")
    evaluate_defense(defense, undefended or "plain-training", attack, setting)


@app.command("audit")
def audit_command(
    defense: Annotated[
        str | None, typer.Argument(metavar="VICTIM", help='Such as "pgd-training(eps=0.3) | layer-noise(snr_db=20)".')
    ] = None,
    target: Target = None,
    option: TargetOption = None,
    trust_code: Trust = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            help='What a noisy victim is compared with, its noise off: such as "pgd-training(eps=0.3)" [default: a '
            "constant answer]."
        ),
    ] = None,
    data: DataName = "mnist-5k",
    eps: Eps = "0.3",
    norm: NormName = "linf",
    model: ModelText = "small-cnn",
    images: Annotated[int, typer.Option(min=1, help="The first of the evaluation images; 256 to 1,000.")] = 256,
    draws: Draws = 10,
    seed: Seed = None,
    device: Device = "cpu",
    data_dir: DataDir = None,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Climb a ladder of sanity checks: is a victim's robust accuracy to be believed? Prints a verdict to paste.

    Exits with 0 where no blocking flag was raised, 1 where one was, 2 on errors, 3 where somebody else's attack failed.
    """
    from robustnoise.cli.auditing import audit_victim
    from robustnoise.cli.running import Setting

    if target is None and (option or trust_code):
        raise BadParameter("--option and --trust-code belong to --target.")
    setting = Setting(
        data=data, eps=eps, norm=norm, access="labels", model=model, draws=draws, budget=None, seed=seed or 0,
        limit=None, device=device, jobs=1, data_dir=data_dir, plugins=plugin or [], plan=False, json=json,
        trust_code=trust_code,
    )  # fmt: skip
    raise typer.Exit(audit_victim(defense, target, option or [], baseline, images, setting))


@app.command("certify")
def certify_command(
    defense: Annotated[
        str | None,
        typer.Argument(
            metavar="VICTIM", help='Such as "plain-training | smoothing(sigma=0.25)"; smoothing comes last.'
        ),
    ] = None,
    target: Target = None,
    option: TargetOption = None,
    trust_code: Trust = False,
    sigma: Annotated[
        str | None, typer.Option(help="Standard deviation of the noise [default: that of the victim's smoothing].")
    ] = None,
    n0: Annotated[int, typer.Option(min=1, help="Noisy images that select a class.")] = 100,
    n: Annotated[int, typer.Option(min=1, help="Noisy images that count its answers; the paper has 100,000.")] = 1000,
    alpha: Annotated[float, typer.Option(help="Bound on the probability that a certificate is wrong.")] = 0.001,
    data: DataName = "mnist-5k",
    model: ModelText = "small-cnn",
    images: Annotated[int, typer.Option(min=1, help="The first of the evaluation images.")] = 500,
    seed: Seed = None,
    device: Device = "cpu",
    data_dir: DataDir = None,
    plugin: Plugins = None,
    output: Annotated[Path | None, typer.Option(help="Folder for images.csv, curve.csv and certified.svg.")] = None,
    json: Json = False,
) -> None:
    """Certify the smoothed victim: the l2 radius around each image in which its answer provably stays."""
    from robustnoise.cli.certifying import Numbers, certify_victim
    from robustnoise.cli.running import Setting

    if target is None and (option or trust_code):
        raise BadParameter("--option and --trust-code belong to --target.")
    setting = Setting(
        data=data, eps="0", norm="l2", access="labels", model=model, draws=1, budget=None, seed=seed or 0,
        limit=None, device=device, jobs=1, data_dir=data_dir, plugins=plugin or [], plan=False, json=json,
        trust_code=trust_code,
    )  # fmt: skip
    certify_victim(defense, target, option or [], Numbers(sigma, n0, n, alpha, images, output), setting)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A defense, or a checkpoint: weights.safetensors, alone or in a stack.")],
    second: Annotated[str, typer.Argument(help="What it is replaced by.")],
    attack: Annotated[str, typer.Option(help="Attacks both.")] = "transfer(independent, pgd)",
    data: DataName = "mnist-5k",
    eps: Eps = "0.3",
    norm: NormName = "linf",
    access: AccessName = "labels",
    model: ModelText = "small-cnn",
    draws: Draws = 10,
    budget: Queries = None,
    seed: Seed = None,
    limit: Limit = None,
    device: Device = "cpu",
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    plan: Plan = False,
    json: Json = False,
) -> None:
    """Compare two victims: one paired delta and one sentence."""
    from robustnoise.cli.running import Setting, compare_victims

    setting = Setting(
        data=data, eps=eps, norm=norm, access=access, model=model, draws=draws, budget=budget, seed=seed or 0,
        limit=limit, device=device, jobs=jobs, data_dir=data_dir, plugins=plugin or [], plan=plan, json=json,
    )  # fmt: skip
    compare_victims(first, second, attack, setting)


@app.command()
def plugins(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A kind, such as defenses: its traits; or one plugin: its parameters, ranges and source.",
            metavar="[KIND|PLUGIN]",
        ),
    ] = None,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """List defenses, attacks, crafters, substitutes and models, or show one."""
    from robustnoise.cli.listing import show_plugins

    show_plugins(name, plugin or [], json=json)


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="defense or attack.")],
    name: Annotated[str, typer.Argument(help="Of the plugin and its package, such as my-noise.")],
    output: Annotated[Path | None, typer.Option(help="The new folder [default: the name, in this folder].")] = None,
) -> None:
    """Write a small package with one working plugin, which keeps its contracts; docs/plugins.md goes on from there."""
    from robustnoise.cli.authoring import new_package

    new_package(kind, name, output)


@app.command("check")
def check_command(
    package: Annotated[
        str, typer.Argument(help="An installed package, a package's folder, a one-file plugin, or a plugin as text.")
    ],
    json: Json = False,
) -> None:
    """Run the contracts on a package's plugins and explain each failure: what it means, what was found, how to mend it.

    Exits with 0 if all contracts are kept, 1 if one is broken, 2 on errors.
    """
    from robustnoise.cli.authoring import check

    raise typer.Exit(check(package, as_json=json))


@app.command()
def data(data_dir: DataDir = None, json: Json = False) -> None:
    """List the datasets and where each comes from."""
    from robustnoise.cli.looking import show_data

    show_data(data_dir, json=json)


@board_app.command("show")
def board_show(
    board: Annotated[str, typer.Argument(help="A board's folder, a run's, or the name of a shipped board.")],
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")] = False,
) -> None:
    """Print the rows of a board; docs/reading-a-row.md explains every column."""
    from robustnoise.cli.looking import show_board

    show_board(board, json=json, csv=csv)


@board_app.command("verify")
def board_verify(board: Annotated[str, typer.Argument(help="A board's folder or name.")]) -> None:
    """Recompute every digest, statistic and the report, and re-hash what is here of weights, images and submissions.

    Says which of those are not here. Exits with 1 if anything is wrong.
    """
    from robustnoise.cli.looking import verify_board

    raise typer.Exit(verify_board(board))


@board_app.command("report")
def board_report(board: Annotated[str, typer.Argument(help="A board's folder.")]) -> None:
    """Write REPORT.md from the rows."""
    from robustnoise.leaderboard import Leaderboard

    print(Leaderboard(board).write_report())


@board_app.command("page")
def board_page(
    board: Annotated[str, typer.Argument(help="A board's folder, a run's, or the name of a shipped board.")],
    output: Annotated[Path, typer.Option(help="The HTML file.")],
) -> None:
    """Write one HTML file to open from disk: sortable rows, curves, details, comparisons."""
    from robustnoise.cli.looking import write_page

    write_page(board, output)


@board_app.command("index")
def board_index(
    boards: Annotated[list[str], typer.Argument(help="Boards, or folders of boards.")],
    output: Annotated[Path, typer.Option(help="The folder for index.html and the pages.")],
) -> None:
    """Write the pages of boards and an index over them."""
    from robustnoise.cli.looking import write_index

    write_index(boards, output)


@board_app.command("publish")
def board_publish(
    source: Annotated[Path, typer.Argument(help="The folder of a run.")],
    board: Annotated[str, typer.Argument(help="The board's folder.")],
) -> None:
    """Copy the rows of a run that follow the board's protocol to the board, and rewrite its report."""
    from robustnoise.cli.looking import publish

    publish(source, board)


@board_app.command("submit")
def board_submit(
    folder: Annotated[Path, typer.Argument(help="A folder with card.toml and arrays, weights or an address.")],
    board: Annotated[str, typer.Argument(help="A board's folder or name.")],
    output: Annotated[Path | None, typer.Option(help="Folder for rows and report; runs/BOARD-NAME without it.")] = None,
    option: TargetOption = None,
    trust_code: Trust = False,
    device: Device = "cpu",
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    plan: Plan = False,
) -> None:
    """Check an attack or a defense that somebody hands in, and score it with this board's victims or attacks.

    Everything wrong is named before any work starts. The rows go to a folder of their own; 'robustnoise board publish'
    copies them. docs/submitting.md shows both kinds of folder.
    """
    from robustnoise.cli.submitting import submit

    submit(
        folder, board, output, option or [], trust_code=trust_code, device=device, jobs=jobs, data_dir=data_dir,
        plugins=plugin or [], plan=plan,
    )  # fmt: skip


@board_app.command("images")
def board_images(
    board: Annotated[str, typer.Argument(help="A board's folder or name.")],
    file: Annotated[Path, typer.Argument(help="An npz file to write: x, y and ids.")],
    data_dir: DataDir = None,
) -> None:
    """Write the images that an attack on this board must change, in the order it hands them in."""
    from robustnoise.cli.submitting import write_images

    write_images(board, file, data_dir)


@board_app.command("rescore")
def board_rescore(
    row: Annotated[str, typer.Argument(help="A row's file, or the first digits of its digest beside a BOARD.")],
    board: Annotated[str | None, typer.Argument(help="The board of a digest; a file's is the folder above it.")] = None,
    scoring_seed: Annotated[int, typer.Option(help="Of the fresh draws; each gives others.")] = 1,
    submission: Annotated[
        Path | None, typer.Option(help="The folder that was handed in, where images are lost.")
    ] = None,
    option: TargetOption = None,
    trust_code: Trust = False,
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    plan: Plan = False,
    json: Json = False,
) -> None:
    """Score a row again in draws that nobody has seen, and say whether its numbers hold.

    Weights and adversarial images come from the store; what is absent is said first and made again. Exits with 0 if
    the numbers hold, 1 if they don't, 4 if it can't be told since weights or images made again are others.
    """
    from robustnoise.cli.submitting import rescore

    code = rescore(
        row, board, scoring_seed, submission, option or [], trust_code=trust_code, jobs=jobs, data_dir=data_dir,
        plugins=plugin or [], plan=plan, as_json=json,
    )  # fmt: skip
    raise typer.Exit(code)


@cache_app.command("list")
def cache_list() -> None:
    """Count what the store holds, by stage."""
    from robustnoise.cli.caching import list_cells

    list_cells()


@cache_app.command("explain")
def cache_explain(key: Annotated[str, typer.Argument(help="The first digits of a cell's key.")]) -> None:
    """Show what a cell was made from."""
    from robustnoise.cli.caching import explain

    explain(key)


@cache_app.command("repair")
def cache_repair() -> None:
    """Remove damaged cells and what killed runs left behind; the next run makes them again."""
    from robustnoise.cli.caching import repair

    repair()


@cache_app.command("clear")
def cache_clear(yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False) -> None:
    """Delete all finished work."""
    from robustnoise.cli.caching import clear

    clear(yes=yes)
