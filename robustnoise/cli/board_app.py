"""The subcommands of `robustnoise board` and `robustnoise cache`. Nothing heavy is imported before one needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustnoise.cli.options import DataDir, Device, Jobs, Json, Plan, Plugins, TargetOption, TimeLimit, Trust

board_app = typer.Typer(no_args_is_help=True, help="Show, check and publish leaderboards.")
cache_app = typer.Typer(no_args_is_help=True, help="Look into the store of finished work, mend it, empty it.")


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
    """Recompute every digest, statistic and the report, and re-hash the weights, images and submissions that are here.

    Says which of those are not here. Exits with 1 if anything is wrong.
    """
    from robustnoise.cli.looking import verify_board

    raise typer.Exit(verify_board(board))


@board_app.command("report")
def board_report(board: Annotated[str, typer.Argument(help="A board's folder.")]) -> None:
    """Write REPORT.md from the rows."""
    from robustnoise.cli.looking import write_report

    write_report(board)


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
    output: Annotated[Path | None, typer.Option(help="Folder for rows and report. Default: runs/BOARD-NAME.")] = None,
    option: TargetOption = None,
    trust_code: Trust = False,
    device: Device = "cpu",
    jobs: Jobs = None,
    time_limit: TimeLimit = None,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    plan: Plan = False,
) -> None:
    """Check an attack or a defense that somebody hands in, and score it with this board's victims or attacks.

    Everything wrong is named before any work starts. The rows go to a folder of their own; 'robustnoise board publish'
    copies them. docs/submitting.md shows both kinds of folder.
    """
    from robustnoise.cli.places import Place
    from robustnoise.cli.submitting import submit

    submit(
        folder, board, output, option or [], trust_code=trust_code, device=device,
        place=Place(jobs, time_limit=time_limit), data_dir=data_dir, plugins=plugin or [], plan=plan,
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
    jobs: Jobs = None,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    plan: Plan = False,
    json: Json = False,
) -> None:
    """Score a row again in draws that nobody has seen, and say whether its numbers hold.

    Weights and adversarial images come from the store; what is absent is said first and made again. Exits with 0 if
    the numbers hold, 1 if they don't, 4 if it can't be told since weights or images made again are others.
    """
    from robustnoise.cli.places import Place
    from robustnoise.cli.submitting import rescore

    code = rescore(
        row, board, scoring_seed, submission, option or [], trust_code=trust_code, place=Place(jobs), data_dir=data_dir,
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
