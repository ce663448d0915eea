"""A folder with weights, an ONNX file or the address of an endpoint becomes a victim."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustnoise.board import Board
from robustnoise.building import build
from robustnoise.compose import Defense, Identity
from robustnoise.data import Dataset
from robustnoise.errors import BadSubmission, RobustnoiseError
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.models.targets.text import TargetText
from robustnoise.protocols import Classifier, Stage
from robustnoise.registry import registry
from robustnoise.spec import Call, Pipe, child_type, parameter_names, parse_text, positional_fields
from robustnoise.submission.attack import check_hashes
from robustnoise.submission.card import DefenseCard
from robustnoise.submission.folder import File, check_name, read_file
from robustnoise.threat import Access

MAX_BYTES = 4 << 30
REFUSED = ("journal", "auth_env", "auth_header", "max_rows", "timeout", "retries")
"""Options that a card may not give: they would write where it likes, or send or spend what is of whoever scores it."""


def read_defense(
    folder: Path,
    card: DefenseCard,
    board: Board,
    dataset: Dataset,
    *,
    trust_code: bool,
    journals: Path | None,
    options: Mapping[str, Any],
) -> tuple[tuple[Victim, ...], dict[str, File]]:
    """The victim in `folder`, with its reference where it has inference stages, and its files.

    Args:
        folder: with the weights.
        card: of the folder.
        board: whose attacks it will meet.
        dataset: the board's.
        trust_code: whether a Python factory may run.
        journals: the folder of what was paid to endpoints.
        options: of the target, from whoever scores it; they win over the card's.

    Raises:
        BadSubmission: one line for everything that is wrong.
    """
    problems = [
        f"card.toml: options.{key}: is for whoever scores it; give it with --option."
        for key in card.options
        if key in REFUSED
    ]
    if card.name in [v.name for v in board.victims]:
        problems.append(f"card.toml: name: the board has a victim {card.name!r} already; take another name.")
    if problems:
        raise BadSubmission("\n".join(problems))
    given = {**card.options, **options}
    files: dict[str, File] = {}
    try:
        target = TargetText(card.target, given)
        for name in _file_names(target):
            files[name] = read_file(folder, name, MAX_BYTES)
        if target.runs_code and not trust_code:
            problems.append(
                f"card.toml: target: {card.target} runs somebody's code: pass --trust-code if you trust it."
            )
        trains = _training_stage(card.defense) if card.defense else ""
        if trains:
            problems.append(f"card.toml: defense: {trains} trains; only inference stages go around a target.")
        problems += check_hashes(card.sha256, files)
        if problems:
            raise BadSubmission("\n".join(problems))
        defense: Defense = build(card.defense, "defense") if card.defense else Identity()
        classifier = _built(
            target, files, input_shape=dataset.input_shape, num_classes=dataset.num_classes, trust_code=trust_code,
            journals=journals,
        )  # fmt: skip
    except BadSubmission:
        raise
    except RobustnoiseError as error:
        raise BadSubmission("\n".join([*problems, f"card.toml: {error}"])) from None
    submitted: dict[str, Any] = {"card": card.to_json(), "files": {name: file.sha256 for name, file in files.items()}}
    if target.runs_code:
        submitted["trusted_code"] = True
    victim = Victim(card.name, defense, classifier=classifier, target=target, submitted=submitted)
    if not defense.stages():
        return (replace(victim, reference=board.file.run.undefended),), files
    bare = replace(victim, name=f"{card.name} less inference", defense=Identity(), reference=board.file.run.undefended)
    return (replace(victim, reference=bare.name), bare), files


def _file_names(target: TargetText) -> list[str]:
    """The files of the folder that a target needs.

    Raises:
        BadSubmission: one is a path.
    """
    text, found = target.text, []
    if target.kind == "onnx":
        found.append(text.removeprefix("onnx:"))
    elif target.kind == "file":
        found.append(text)
    elif target.kind == "factory" and text.rpartition(":")[0].endswith(".py"):
        found.append(text.rpartition(":")[0])
    if target.kind == "factory" and "weights" in target.options:
        found.append(str(target.options["weights"]))
    return [check_name(name) for name in found]


def _built(target: TargetText, files: Mapping[str, File], **how: Any) -> Classifier:
    """The classifier of `target`, from copies of `files`: what was hashed is used, and nothing else is there."""
    with tempfile.TemporaryDirectory() as place:
        for file in files.values():
            (Path(place) / file.name).write_bytes(file.content)
        try:
            return target.build(folder=Path(place), **how)
        except RobustnoiseError as error:
            raise BadSubmission(f"card.toml: {str(error).replace(f'{place}/', '')}") from None


def _training_stage(text: str) -> str:
    """The first name in a stack, at any depth, that isn't an inference stage; nothing is built for it."""
    waiting: list[tuple[Call | Pipe, str]] = [(parse_text(text), "defense")]
    while waiting:
        found, kind = waiting.pop()
        if isinstance(found, Pipe):
            waiting += [(stage, kind) for stage in found.stages]
            continue
        cls = registry().find(found.name, kind)
        if issubclass(cls, Defense) and cls.traits.stage is Stage.TRAINING:
            return str(found.name)
        given = {**dict(zip(positional_fields(cls), found.args, strict=False)), **found.kwargs}
        for field, value in given.items():
            child = child_type(cls, field) if field in parameter_names(cls) else None
            if child is not None and isinstance(value, str | Call | Pipe):
                waiting.append((parse_text(value) if isinstance(value, str) else value, child.kind))
    return ""


def defense_experiment(
    experiment: Experiment, victims: tuple[Victim, ...], standing: tuple[Attack, ...]
) -> tuple[Experiment, list[str]]:
    """A submitted defense under the board's attacks, beside the undefended net; and a line for each that doesn't fit.

    Args:
        experiment: the board's.
        victims: what was handed in.
        standing: attacks that were handed in before.
    """
    closed = any(v.access < Access.GRADIENTS for v in victims)

    def fits(attack: Attack) -> bool:
        return not (attack.attack.traits.audit and closed)

    undefended = tuple(replace(v, reference=None) for v in experiment.victims if v.name == experiment.undefended)
    attacks = tuple(a for a in experiment.attacks if fits(a))
    lines = [
        f"{a.name} needs gradients, which this target has none of; it is left out."
        for a in experiment.attacks
        if not fits(a)
    ]
    return replace(experiment, victims=(*victims, *undefended), attacks=(*attacks, *standing)), lines
