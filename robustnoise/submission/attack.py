"""A folder of adversarial images becomes an attack."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from robustnoise.board import Board
from robustnoise.data.dataset import Dataset, Images, Split
from robustnoise.errors import BadSubmission, did_you_mean
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.given import ALL, Given
from robustnoise.spec import canonical_json
from robustnoise.submission.card import AttackCard
from robustnoise.submission.folder import File, names, read_file
from robustnoise.submission.images import Checker
from robustnoise.threat import ThreatModel

SHARED = ("images.npy", "images.npz", "attack.npy")
"""Files with one array for all victims; the last is the challenges' name."""


def read_attack(folder: Path, card: AttackCard, board: Board, dataset: Dataset) -> tuple[Attack, dict[str, File]]:
    """The attack in `folder`, and its files.

    Args:
        folder: with the arrays.
        card: of the folder.
        board: whose victims are attacked.
        dataset: the board's.

    Raises:
        BadSubmission: one line for everything that is wrong.
    """
    problems = _against_board(card, board)
    if board.threat is None:
        raise BadSubmission("\n".join(problems))
    ball = board.threat if card.threat.norm is not board.threat.norm else _ball(card)
    arrays = _read_arrays(folder, board, dataset, ball)
    problems += _queries(card, shared=arrays.shared) + arrays.problems + check_hashes(card.sha256, arrays.files)
    if problems:
        raise BadSubmission("\n".join(problems))
    return Attack(card.name, *_given(card, arrays.files, arrays.images, dataset.evaluation)), arrays.files


def array_problems(folder: Path, board: Board, dataset: Dataset) -> list[str]:
    """What is wrong with the arrays of a folder whose card can't be read, where there are any."""
    if board.threat is None or not any(name.endswith((".npy", ".npz")) for name in names(folder)):
        return []
    return _read_arrays(folder, board, dataset, board.threat).problems


class _Arrays(NamedTuple):
    shared: bool
    files: dict[str, File]
    images: dict[str, Images]
    problems: list[str]


def _read_arrays(folder: Path, board: Board, dataset: Dataset, ball: ThreatModel) -> _Arrays:
    assigned, problems = _assigned(folder, [v.name for v in board.listed])
    checker = Checker(dataset.name, dataset.evaluation, ball)
    files: dict[str, File] = {}
    images: dict[str, Images] = {}
    for victim, name in assigned.items():
        try:
            files[name] = read_file(folder, name, checker.limit)
        except BadSubmission as error:
            problems.append(str(error))
            continue
        found, wrong = checker.read(files[name])
        problems += wrong
        if found is not None:
            images[victim] = found
    return _Arrays(ALL in assigned, files, images, problems)


def _ball(card: AttackCard) -> ThreatModel:
    return ThreatModel(card.threat.norm, card.threat.eps)


def attack_of_row(identity: Mapping[str, Any], board: Board, dataset: Dataset, folder: Path | None) -> Attack:
    """The attack of a row whose images were handed in.

    Args:
        identity: the attack's, in the row.
        board: that the row is on.
        dataset: the board's.
        folder: what was handed in; None leaves the images to the store.

    Raises:
        BadSubmission: the folder holds other images than those that the row scored.
        KeyError, TypeError, ValidationError: the row doesn't say what it scored as we write it.
    """
    submitted = identity["submitted"]
    given = Given(identity["scope"], identity["text"], submitted, dict(submitted["images"]))
    if folder is not None:
        found = read_attack(folder, AttackCard.model_validate(submitted["card"]), board, dataset)[0].given
        assert found is not None
        if found.digests != given.digests:
            raise BadSubmission(f"{folder}: holds other images than those that the row scored.")
        given = replace(given, images=found.images)
    return Attack(identity["name"], given.attack, given)


def check_hashes(claimed: Mapping[str, str], read: Mapping[str, File]) -> list[str]:
    """What the card's hashes say that isn't so."""
    lines = [
        f"{name}: sha256 is {file.sha256}; the card says {claimed[name]}."
        for name, file in read.items()
        if name in claimed and file.sha256 != claimed[name]
    ]
    return lines + [f"card.toml: sha256: {name!r} is none of the files read." for name in claimed if name not in read]


def _against_board(card: AttackCard, board: Board) -> list[str]:
    threat = board.threat
    if threat is None:
        return [f"board {board.name!r} measures clean images alone and takes no attacks."]
    lines = []
    if card.threat.norm is not threat.norm:
        lines.append(f"card.toml: threat.norm: {card.threat.norm}; the board's is {threat.norm}.")
    elif not card.threat.eps <= threat.eps:
        lines.append(f"card.toml: threat.eps: {card.threat.eps:.6g}; the board allows at most {threat.eps:.6g}.")
    if card.name in [a.name for a in board.attacks]:
        lines.append(f"card.toml: name: the board has an attack {card.name!r} already; take another name.")
    return lines


def _assigned(folder: Path, victims: list[str]) -> tuple[dict[str, str], list[str]]:
    """File by victim, or under `ALL`; and what is wrong with the names."""
    found: dict[str, str] = {}
    lines: list[str] = []
    for name in names(folder):
        stem, dot, suffix = name.rpartition(".")
        if not dot or suffix not in ("npy", "npz"):
            continue
        victim = ALL if name in SHARED else stem
        if victim != ALL and victim not in victims:
            lines.append(
                f"{name[:80]!r}: is called like none of the victims.{did_you_mean(stem, victims)} Expected "
                f"{', '.join(SHARED)}, or one file for each victim: {', '.join(victims[:20])}."
            )
        elif victim in found:
            lines.append(f"{name}: stands beside {found[victim]}; leave one of them out.")
        else:
            found[victim] = name
    if ALL in found and len(found) > 1:
        others = ", ".join(n for v, n in found.items() if v != ALL)
        lines.append(f"{found[ALL]}: is for all victims, but there is {others} too; hand in the one or the others.")
    if not found and not lines:
        lines.append(f"no arrays in the folder: expected {', '.join(SHARED)}, or one file for each victim.")
    return found, lines


def _queries(card: AttackCard, *, shared: bool) -> list[str]:
    asked = card.queries is not None and bool(card.queries.per_image or card.queries.total)
    if card.access == "gradients":
        return []
    if shared and asked:
        advice = "Hand in one array for each victim that was asked."
        return [f"card.toml: queries: one array for all victims is a shared attack, which asks none of them. {advice}"]
    if not shared and card.queries is None:
        return ["card.toml: queries: arrays for single victims need it: how often each was asked for an image."]
    return []


def _given(
    card: AttackCard, files: Mapping[str, File], images: Mapping[str, Images], split: Split
) -> tuple[Any, Given]:
    digests = {victim: _digest(x, split) for victim, x in images.items()}
    given = Given(
        scope="audit" if card.access == "gradients" else "shared" if ALL in images else "per-victim",
        text=_text(card, digests),
        submitted={
            "card": card.to_json(),
            "files": {name: file.sha256 for name, file in files.items()},
            "images": digests,
        },
        digests=digests,
        images=dict(images),
    )
    return given.attack, given


def _digest(images: Images, split: Split) -> str:
    """sha256 of images in the order of the split."""
    hasher = hashlib.sha256(canonical_json({"of": split.digest, "shape": list(images.shape)}).encode())
    hasher.update(images.tobytes())
    return hasher.hexdigest()


def _text(card: AttackCard, digests: Mapping[str, str]) -> str:
    """Without words of the card, since it stands in tables and reports."""
    shown = " ".join(d[:12] for d in digests.values()) if len(digests) <= 3 else f"{len(digests)} arrays"
    claim = card.queries
    claims = [] if claim is None or claim.per_image is None else [f"{claim.per_image} queries an image"]
    claims += [] if claim is None or claim.total is None else [f"{claim.total} queries in all"]
    return f"submitted images {shown}" + (f"; claimed, not measured: {', '.join(claims)}" if claims else "")


def attack_experiment(experiment: Experiment, attack: Attack) -> Experiment:
    """The board's victims under a submitted attack and the board's null control.

    Images for single victims leave the others out, and a reference that has none: such a delta can't be measured. The
    null control is then left out, too: its row would be a second one of what the board has already, less a delta.

    Args:
        experiment: the board's.
        attack: what was handed in.
    """
    assert attack.given is not None
    everyone = ALL in attack.given.digests
    chosen = [v for v in experiment.victims if not v.clean_only and (everyone or v.name in attack.given.digests)]
    kept = {v.name for v in chosen}

    def without_strangers(victim: Victim) -> Victim:
        return victim if victim.reference in kept else replace(victim, reference=None)

    beside = {experiment.undefended, *(v.reference for v in chosen)} - {None}
    controls = [a for a in experiment.attacks if a.attack.traits.null and beside <= kept]
    return replace(
        experiment,
        victims=tuple(map(without_strangers, chosen)),
        attacks=(*controls, attack),
        undefended=experiment.undefended if experiment.undefended in kept else None,
    )
