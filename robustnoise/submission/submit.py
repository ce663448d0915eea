"""From a folder to an experiment: everything is checked, and everything wrong is named, before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustnoise.errors import BadSubmission
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.leaderboard import Leaderboard
from robustnoise.registry import spec_of
from robustnoise.submission.attack import attack_experiment, read_attack
from robustnoise.submission.card import CARD, MAX_BYTES, AttackCard, read_card
from robustnoise.submission.defense import defense_experiment, read_defense
from robustnoise.submission.folder import File, read_file

SUBMISSIONS = "submissions"
"""The folder beside a run's rows with what was handed in, each under its name."""


@dataclass(frozen=True)
class Submission:
    """A checked submission, ready to be scored.

    Args:
        name: the card's.
        experiment: what its rows measure.
        files: what was handed in, by name.
        notes: what whoever scores it should know.
    """

    name: str
    experiment: Experiment
    files: Mapping[str, File]
    notes: Sequence[str] = field(default_factory=list)


def prepare(
    folder: Path,
    board: Leaderboard,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    plugin_files: Sequence[Path] = (),
    progress: bool = True,
    trust_code: bool = False,
    journals: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Submission:
    """Check a folder against a board; nothing is trained, sent or scored.

    Args:
        folder: with a ``card.toml``.
        board: what it is handed in to.
        data_dir: and the others: as for `Board.experiment`.
        device: where networks run.
        plugin_files: one-file plugins, for workers.
        progress: whether a download reports.
        trust_code: whether a Python factory may run.
        journals: the folder of what was paid to endpoints.
        options: of the target of a defense.

    Raises:
        BadSubmission: one line for everything that is wrong.
        BadBoard: the board can't be run.
    """
    card = read_card(folder)
    experiment = board.board.experiment(
        data_dir=data_dir, device=device, plugin_files=plugin_files, progress=progress, trust_code=trust_code,
        journals=journals,
    )  # fmt: skip
    if isinstance(card, AttackCard):
        attack, files = read_attack(folder, card, board.board, experiment.dataset)
        files[CARD] = read_file(folder, CARD, MAX_BYTES)
        _check_attack_name(attack, board)
        scored = attack_experiment(experiment, attack)
        notes = list(_unranked(attack.identity(), board))
        return Submission(card.name, scored, files, notes)
    victims, files = read_defense(
        folder, card, board.board, experiment.dataset, trust_code=trust_code, journals=journals, options=options or {}
    )
    files[CARD] = read_file(folder, CARD, MAX_BYTES)
    _check_victim_name(victims[0], board)
    scored, left_out = defense_experiment(experiment, victims)
    notes = [f"{name} needs gradients, which this target has none of; it is left out." for name in left_out]
    if card.target.startswith("http"):
        notes.append(f"The board's images are sent to {card.target}.")
    return Submission(card.name, scored, files, notes)


def _check_attack_name(attack: Attack, board: Leaderboard) -> None:
    """Refuse a name under which the board has rows of other images."""
    spec = spec_of(attack.attack).to_json()
    for record in board.rows():
        theirs = record.attack
        if theirs is not None and theirs["name"] == attack.name and theirs["spec"] != spec:
            raise BadSubmission(f"card.toml: name: the board has rows of other images called {attack.name!r}.")


def _check_victim_name(victim: Victim, board: Leaderboard) -> None:
    """Refuse a name under which the board has rows of another defense."""
    mine = _what_it_is(victim.identity(""))
    for record in board.rows():
        theirs = record.victim.victim
        if theirs["name"] == victim.name and _what_it_is(theirs) != mine:
            raise BadSubmission(f"card.toml: name: the board has rows of another victim called {victim.name!r}.")


def _what_it_is(victim: Mapping[str, Any]) -> list[Any]:
    return [victim.get("defense"), victim.get("target"), victim.get("submitted", {}).get("files")]


def _unranked(attack: Mapping[str, Any], board: Leaderboard) -> list[str]:
    if board.board.allows(attack):
        return []
    return ["Its rows won't be ranked: the card claims more access or queries than the board gives."]
