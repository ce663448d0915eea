"""Attacks that were handed in to a board before: a new defense meets them too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from robustnoise.data import Dataset
from robustnoise.errors import RobustnoiseError
from robustnoise.harness.bench import Bench
from robustnoise.harness.cells import NotCached
from robustnoise.harness.experiment import Attack, Experiment
from robustnoise.leaderboard import Leaderboard
from robustnoise.spec import canonical_json
from robustnoise.store import Store
from robustnoise.submission.attack import attack_of_row
from robustnoise.submission.folder import check_name

SUBMISSIONS = "submissions"
"""The folder beside a run's rows with what was handed in, each under its name."""


class Standing(NamedTuple):
    """Attacks whose images are here, and a line for each other."""

    attacks: tuple[Attack, ...]
    notes: list[str]


def standing_attacks(board: Leaderboard, experiment: Experiment, store: Store | None) -> Standing:
    """The ranked shared attacks of a board's rows that were handed in.

    Args:
        board: with its rows.
        experiment: the board's.
        store: where images may be that aren't beside the rows.
    """
    identities = {
        canonical_json(r.attack): r.attack
        for r in board.rows()
        if r.attack is not None and "submitted" in r.attack and r.attack["scope"] == "shared" and board.ranked(r)
    }
    found, notes = [], []
    for identity in identities.values():
        try:
            found.append(_opened(identity, board, experiment, store))
        except (RobustnoiseError, KeyError, TypeError, ValidationError, NotCached):
            notes.append(
                f"The images of the submitted attack {identity['name']!r} are neither beside the board's rows "
                f"({SUBMISSIONS}/) nor in the store: the defense does not meet it, and may look better for it."
            )
    return Standing(tuple(found), notes)


def _opened(identity: Mapping[str, Any], board: Leaderboard, experiment: Experiment, store: Store | None) -> Attack:
    folder = board.path / SUBMISSIONS / check_name(str(identity["name"]))
    dataset: Dataset = experiment.dataset
    attack = attack_of_row(identity, board.board, dataset, folder if folder.is_dir() else None)
    if attack.given is not None and attack.given.images is None:
        if store is None:
            raise NotCached("craft")
        Bench(experiment, store, compute=False).images(attack, experiment.victims[0])
    return attack
