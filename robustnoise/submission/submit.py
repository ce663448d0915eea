"""From a folder to an experiment: everything is checked, and everything wrong is named, before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnoise.errors import BadSubmission
from robustnoise.harness.experiment import Experiment
from robustnoise.leaderboard import Leaderboard
from robustnoise.spec import canonical_json
from robustnoise.store import Store
from robustnoise.submission.attack import array_problems, attack_experiment, read_attack
from robustnoise.submission.card import CARD, MAX_BYTES, AttackCard, read_card
from robustnoise.submission.defense import defense_experiment, read_defense
from robustnoise.submission.folder import File, read_file
from robustnoise.submission.standing import standing_attacks


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
    notes: Sequence[str]

    def check_names(self, board: Leaderboard) -> None:
        """Refuse names under which `board` has rows of something else.

        Raises:
            BadSubmission: it has.
        """
        attacks = [a.identity() for a in self.experiment.attacks if a.name == self.name]
        victims = [_undigested(v.identity("")) for v in self.experiment.victims if v.name == self.name]
        for record in board.rows():
            known = record.attack if attacks else _undigested(record.victim.victim)
            if known is None or known["name"] != self.name:
                continue
            if canonical_json(known) != canonical_json((attacks or victims)[0]):
                raise BadSubmission(
                    f"card.toml: name: {board.path} has rows of something else called {self.name!r}, or of the same "
                    "with another card. Take another name, or remove those rows."
                )


def _undigested(victim: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in victim.items() if k != "digest"}


def prepare(
    folder: Path,
    board: Leaderboard,
    *,
    store: Store | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    plugin_files: Sequence[Path] = (),
    trust_code: bool = False,
    journals: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Submission:
    """Check a folder against a board; nothing is trained, sent or scored.

    Args:
        folder: with a ``card.toml``.
        board: what it is handed in to.
        store: where images of earlier submissions may be.
        data_dir: and the others: as for `Board.experiment`.
        device: where networks run.
        plugin_files: one-file plugins, for workers.
        trust_code: whether a Python factory may run.
        journals: the folder of what was paid to endpoints.
        options: of the target of a defense.

    Raises:
        BadSubmission: one line for everything that is wrong.
        BadBoard: the board can't be run.
    """
    experiment = board.board.experiment(
        data_dir=data_dir, device=device, plugin_files=plugin_files, trust_code=trust_code, journals=journals
    )
    try:
        card = read_card(folder)
    except BadSubmission as error:
        lines = array_problems(folder, board.board, experiment.dataset) if folder.is_dir() else []
        raise BadSubmission("\n".join([str(error), *lines])) from None
    if isinstance(card, AttackCard):
        attack, files = read_attack(folder, card, board.board, experiment.dataset)
        files[CARD] = read_file(folder, CARD, MAX_BYTES)
        notes = _unranked(attack.identity(), board)
        found = Submission(card.name, attack_experiment(experiment, attack), files, notes)
    else:
        victims, files = read_defense(
            folder, card, board.board, experiment.dataset, trust_code=trust_code, journals=journals,
            options=options or {},
        )  # fmt: skip
        files[CARD] = read_file(folder, CARD, MAX_BYTES)
        standing = standing_attacks(board, experiment, store)
        scored, notes = defense_experiment(experiment, victims, standing.attacks)
        notes += standing.notes
        if card.target.startswith("http"):
            notes.append(f"The board's images are sent to {card.target}.")
        found = Submission(card.name, scored, files, notes)
    found.check_names(board)
    return found


def _unranked(attack: Mapping[str, Any], board: Leaderboard) -> list[str]:
    if board.board.allows(attack):
        return []
    return ["Its rows won't be ranked: the card claims more access or queries than the board gives."]
