"""The options that several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None, typer.Option(help="Folder with the canonical files of datasets. Default: that of ROBUSTNOISE_DATA.")
]
Device = Annotated[str, typer.Option(help="Where networks run: cpu, cuda, ...")]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Cells at a time, each in a process; results don't depend on it. Default: as many as pay."
    ),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(help="Seconds that a cell may take; then its process is ended and the cell fails. Default: no limit."),
]
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="A one-file plugin; may be given several times.")]
Seed = Annotated[int | None, typer.Option(help="Seed of training, attacks and scoring. Default: the board's, or 0.")]
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
Queries = Annotated[int | None, typer.Option(min=0, help="Queries in all. Default: no limit.")]
Trust = Annotated[bool, typer.Option("--trust-code", help="Let a target MODULE:FACTORY run that code.")]
Plan = Annotated[
    bool,
    typer.Option("--plan", help="Show cached and missing cells, their passes, time and memory; run nothing."),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Evaluate on only so many images; a board doesn't rank such rows.")
]
