"""All subcommands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustnoise import __version__
from robustnoise.allocator import loading
from robustnoise.cli.board_app import board_app, cache_app
from robustnoise.cli.options import (
    AccessName,
    DataDir,
    DataName,
    Device,
    Draws,
    Eps,
    Jobs,
    Json,
    Limit,
    ModelText,
    NormName,
    Plan,
    Plugins,
    Queries,
    Seed,
    Target,
    TargetOption,
    TimeLimit,
    Trust,
)
from robustnoise.errors import BadParameter

if TYPE_CHECKING:
    from robustnoise.cli.again import Ran

app = typer.Typer(
    name="robustnoise",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Evaluate defenses of neural classifiers against black-box adversarial attacks.\n\n"
    "Start with 'robustnoise demo': a whole leaderboard on real digits in minutes.",
)
app.add_typer(board_app, name="board")
app.add_typer(cache_app, name="cache")


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The options of the bare command."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    board: Annotated[str, typer.Argument(help="A folder with a board.toml, or the name of a shipped board.")],
    output: Annotated[Path | None, typer.Option(help="Folder for rows and report. Default: runs/BOARD.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, such as run.draws=20; rows of a changed protocol are not ranked."),
    ] = None,
    seed: Seed = None,
    limit: Limit = None,
    device: Device = "cpu",
    jobs: Jobs = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="On the Ray cluster of RAY_ADDRESS, else on Ray here; see docs/running.md.")
    ] = False,
    gpus: Annotated[float, typer.Option(help="With --ray: GPUs for each cell, such as 1 or 0.25.")] = 0.0,
    memory: Annotated[
        float | None,
        typer.Option(min=0, help="Gigabytes for all cells that are made at a time, which may make them fewer."),
    ] = None,
    time_limit: TimeLimit = None,
    shard: Annotated[
        str | None, typer.Option(help="Make only part I/N of the cells, such as 2/8, on a store that all parts share.")
    ] = None,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    audit: Annotated[bool, typer.Option("--audit", help="Audit the headline victims too; see docs/flags.md.")] = False,
    plan: Plan = False,
    trust_code: Trust = False,
) -> None:
    """Make every row of a board. A run that was killed goes on where it stopped: give the same command again."""
    from robustnoise.cli.again import unless_unchanged

    changes = list(overrides or [])
    changes += [f"run.seed={seed}"] if seed is not None else []
    changes += [f"data.evaluation={limit}"] if limit is not None else []

    def made() -> Ran | None:
        with loading():
            from robustnoise.cli.places import Place
            from robustnoise.cli.running import run_board
            from robustnoise.harness.shards import Shard

        return run_board(
            board, output, changes, device=device, place=Place(jobs, ray, gpus, memory, time_limit), data_dir=data_dir,
            plugins=plugin or [], plan=plan, shard=None if shard is None else Shard.parse(shard), trust_code=trust_code,
            audits=audit,
        )  # fmt: skip

    unless_unchanged(board, made)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for rows and report.")] = Path("runs/quickstart"),
    jobs: Jobs = None,
) -> None:
    """Run the quickstart board: baseline, adversarial training, noise; shared and per-victim substitutes."""
    from robustnoise.cli.again import unless_unchanged

    def made() -> Ran | None:
        with loading():
            from robustnoise.cli.places import Place
            from robustnoise.cli.running import run_board

        return run_board(
            "quickstart", output, [], device="cpu", place=Place(jobs), data_dir=None, plugins=[], plan=False
        )

    unless_unchanged("quickstart", made)


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
        str | None, typer.Option(help="The undefended net to compare with. Default: plain-training.")
    ] = None,
    draws: Draws = 10,
    budget: Queries = None,
    seed: Seed = None,
    limit: Limit = None,
    device: Device = "cpu",
    jobs: Jobs = None,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    plan: Plan = False,
    json: Json = False,
) -> None:
    """Evaluate a defense beside its own net without noise and an undefended one, or a target; without a board file."""
    from robustnoise.cli.places import Place
    from robustnoise.cli.running import Setting, evaluate_defense, evaluate_target

    setting = Setting(
        data=data, eps=eps, norm=norm, access=access, model=model, draws=draws, budget=budget, seed=seed or 0,
        limit=limit, device=device, place=Place(jobs), data_dir=data_dir, plugins=plugin or [], plan=plan, json=json,
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
            help='What a noisy victim is compared with, its noise off: such as "pgd-training(eps=0.3)". Default: a '
            "constant answer."
        ),
    ] = None,
    data: DataName = "mnist-5k",
    eps: Eps = "0.3",
    norm: NormName = "linf",
    model: ModelText = "small-cnn",
    images: Annotated[
        int, typer.Option(min=1, help="How many evaluation images, from the first on; 256 to 1,000 tell most.")
    ] = 256,
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
    from robustnoise.cli.places import Place
    from robustnoise.cli.running import Setting

    if target is None and (option or trust_code):
        raise BadParameter("--option and --trust-code belong to --target.")
    setting = Setting(
        data=data, eps=eps, norm=norm, access="labels", model=model, draws=draws, budget=None, seed=seed or 0,
        limit=None, device=device, place=Place(), data_dir=data_dir, plugins=plugin or [], plan=False, json=json,
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
        str | None, typer.Option(help="Standard deviation of the noise. Default: that of the victim's smoothing.")
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
    from robustnoise.cli.places import Place
    from robustnoise.cli.running import Setting

    if target is None and (option or trust_code):
        raise BadParameter("--option and --trust-code belong to --target.")
    setting = Setting(
        data=data, eps="0", norm="l2", access="labels", model=model, draws=1, budget=None, seed=seed or 0,
        limit=None, device=device, place=Place(), data_dir=data_dir, plugins=plugin or [], plan=False, json=json,
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
    jobs: Jobs = None,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    plan: Plan = False,
    json: Json = False,
) -> None:
    """Compare two victims: one paired delta and one sentence."""
    from robustnoise.cli.places import Place
    from robustnoise.cli.running import Setting, compare_victims

    setting = Setting(
        data=data, eps=eps, norm=norm, access=access, model=model, draws=draws, budget=budget, seed=seed or 0,
        limit=limit, device=device, place=Place(jobs), data_dir=data_dir, plugins=plugin or [], plan=plan, json=json,
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
    output: Annotated[Path | None, typer.Option(help="The new folder. Default: the name, in this folder.")] = None,
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
