"""A row scored again in fresh draws: does its number hold?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from robustnoise import stats
from robustnoise.board import Board
from robustnoise.building import from_json
from robustnoise.compose import split_stages
from robustnoise.data import Dataset, SplitSizes, load_dataset
from robustnoise.errors import BadSubmission, RowError, told
from robustnoise.harness.bench import Bench
from robustnoise.harness.cells import NotCached
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.tasks import tasks
from robustnoise.models.targets.text import UNRECORDED, TargetText
from robustnoise.records import ARMS, Arm, EvaluationRecord
from robustnoise.store import Store
from robustnoise.submission.attack import attack_of_row
from robustnoise.submission.card import DefenseCard
from robustnoise.submission.defense import read_defense
from robustnoise.tally import Tally
from robustnoise.threat import Budget, ThreatModel

ALPHA = 0.001
"""Of the tests of a row together (Holm): a true row is called false once in a thousand."""
MADE = ("train", "substitute", "craft")
"""Stages whose results are asked for, not measured."""


@dataclass(frozen=True)
class Opening:
    """How a row's data, nets and endpoints are opened.

    Args:
        board: that the row is on; it knows how endpoints are asked.
        folders: what was handed in, by the name on its card; without one the store is asked.
        data_dir: and the others: as for `Board.experiment`.
        plugin_files: one-file plugins, for workers.
        trust_code: whether a Python factory may run.
        journals: the folder of what was paid to endpoints.
        options: of the target; they win over the card's and the board's.
    """

    board: Board
    folders: Mapping[str, Path] = field(default_factory=dict)
    data_dir: Path | None = None
    plugin_files: Sequence[Path] = ()
    trust_code: bool = False
    journals: Path | None = None
    options: Mapping[str, Any] | None = None

    def experiment(self, record: EvaluationRecord, scoring_seed: int) -> Experiment:
        """What `record` measured, with other scoring draws; all but endpoints' limits is taken from the row.

        Raises:
            RowError: the data here aren't those of the row, or a row doesn't hold enough to be made again.
            BadSubmission: the folder holds something else than what the row scored.
        """
        setting = record.setting
        if "scoring_seed" in setting:
            raise RowError("the row is one of fresh draws already; rescore the original.")
        try:
            dataset = self._data(setting)
            limits = setting["budget"] or {}
            arms = {arm.victim["name"]: arm for name in ARMS if (arm := getattr(record, name)) is not None}
            return Experiment(
                dataset=dataset,
                sizes=setting["data"]["sizes"],
                threat=None if setting["threat"] is None else ThreatModel.from_json(setting["threat"]),
                budget=Budget(**{**limits, "stops": tuple(limits.get("stops", ()))}),
                victims=tuple(self._victim(arm, record, dataset) for arm in arms.values()),
                attacks=() if record.attack is None else (self._attack(record.attack, dataset),),
                undefended=None if record.undefended is None else record.undefended.victim["name"],
                draws=setting["draws"],
                seed=setting["seed"],
                threads=setting["threads"],
                device=setting["device"],
                plugin_files=tuple(self.plugin_files),
                scoring_seed=scoring_seed,
                precision=setting.get("precision", "float32"),
            )
        except (KeyError, TypeError, AttributeError, ValidationError) as error:
            reason = f"{type(error).__name__}: {str(error)[:200]}"
            raise RowError(f"the row doesn't hold all that is needed to score it again: {reason}.") from None

    def _data(self, setting: Mapping[str, Any]) -> Dataset:
        sizes = dict(setting["data"]["sizes"])
        seed = sizes.pop("seed", 0)
        name = setting["data"]["name"]
        dataset = load_dataset(name, sizes=SplitSizes(**sizes), seed=seed, data_dir=self.data_dir)
        splits = (dataset.train, dataset.attacker, dataset.validation, dataset.evaluation)
        if {s.name: s.digest for s in splits} != setting["data"]["splits"]:
            raise RowError(f"the images of {dataset.name} here are others than those of the row.")
        return dataset

    def _attack(self, identity: Mapping[str, Any], dataset: Dataset) -> Attack:
        if "submitted" not in identity:
            return Attack(identity["name"], from_json(identity["spec"]))
        name = str(identity["submitted"]["card"]["name"])
        return attack_of_row(identity, self.board, dataset, self.folders.get(name))

    def _victim(self, arm: Arm, record: EvaluationRecord, dataset: Dataset) -> Victim:
        identity = arm.victim
        defense = from_json(identity["defense"])
        model = None if identity["model"] is None else from_json(identity["model"])
        reference = record.reference.victim["name"] if record.reference and arm is record.victim else None
        victim = Victim(
            identity["name"], defense, model, reference, submitted=identity.get("submitted"), seed=identity.get("seed")
        )
        if "target" not in identity:
            if model is None or not split_stages(defense)[0].stages():
                raise RowError(f"victim {identity['name']!r} came as a Python object, which no row holds.")
            return victim
        if victim.submitted is not None:
            target = TargetText(identity["target"]["text"], identity["target"]["options"])
            return replace(victim, target=target, classifier=self._submitted(victim.submitted, dataset))
        target = self._target(identity["target"])
        classifier = target.build(
            input_shape=dataset.input_shape, num_classes=dataset.num_classes, trust_code=self.trust_code,
            journals=self.journals,
        )  # fmt: skip
        return replace(victim, target=target, classifier=classifier)

    def _target(self, said: Mapping[str, Any]) -> TargetText:
        """What a row says was asked, asked as whoever scores it says: by --option, else as on the board.

        Raises:
            RowError: the row itself says what to send, to spend, or where to write.
        """
        for key in said["options"]:
            if key in UNRECORDED:
                raise RowError(
                    f"the row gives the target option {told(key)}, which no row holds: it is for whoever scores it."
                )
        on_board = next((v.target for v in self.board.victims if v.target and v.target.identity() == said), None)
        asked = {} if on_board is None else on_board.options
        return TargetText(said["text"], {**said["options"], **asked, **(self.options or {})})

    def _submitted(self, submitted: Mapping[str, Any], dataset: Dataset) -> Any:
        card = DefenseCard.model_validate(submitted["card"])
        folder = self.folders.get(card.name)
        if submitted["files"] and folder is None:
            raise BadSubmission(f"what {card.name!r} was made from is not beside the row; give it with --submission.")
        victims, files = read_defense(
            folder or Path(), card, self.board, dataset, trust_code=self.trust_code, journals=self.journals,
            options=self.options or {},
        )  # fmt: skip
        if {name: file.sha256 for name, file in files.items()} != submitted["files"]:
            raise BadSubmission(f"{folder}: holds other files than those that the row scored.")
        return victims[0].classifier


def absent(experiment: Experiment, store: Store) -> list[str]:
    """What the store lacks of the nets and images that a row is about: it is made again before anything is scored."""
    bench = Bench(experiment, store, compute=False)
    found = []
    for level in tasks(experiment):
        for task in level:
            if task.stage in MADE:
                try:
                    task.run(bench)
                except NotCached:
                    found.append(task.label)
    return found


@dataclass(frozen=True)
class Compared:
    """The draws of a row against fresh ones.

    Args:
        name: of the victim.
        on: ``"clean"``, ``"adversarial"``, or ``"select"``: the draws that choose the worst attack.
        old: accuracy in the row.
        fresh: accuracy now.
        delta: fresh minus old, image by image.
        differing: images whose answers differ, where the victim is deterministic; None for a stochastic one.
        same_net: whether the victim that was asked has the digest of the row's.
        p: of "each image is right as often as in the row" (`stats.same_chances`); None for a deterministic one.
    """

    name: str
    on: str
    old: float
    fresh: float
    delta: stats.Delta
    differing: int | None
    same_net: bool
    p: float | None = None


@dataclass(frozen=True)
class Rescored:
    """What fresh draws say of a row.

    Args:
        comparisons: of the victim, its reference and the undefended net, on clean images and under attack.
        made_again: images or substitutes that the store lacked: they may be others than the row's.
    """

    comparisons: Sequence[Compared]
    made_again: bool

    @property
    def adjusted(self) -> list[float]:
        """Holm's p-values of the stochastic comparisons, in their order."""
        return [float(p) for p in stats.holm([c.p for c in self.comparisons if c.p is not None])]

    @property
    def holds(self) -> bool:
        """Whether nothing differs by more than fresh draws do, and nothing at all where there are no draws."""
        return not any(c.differing for c in self.comparisons) and all(p >= ALPHA for p in self.adjusted)

    @property
    def same_objects(self) -> bool:
        """Whether the row's own nets were asked about the row's own images."""
        return not self.made_again and all(c.same_net for c in self.comparisons)


def compare(row: EvaluationRecord, fresh: EvaluationRecord, *, made_again: bool) -> Rescored:
    """The draws of a row against those of `fresh`.

    Args:
        row: as it is on the board.
        fresh: the same with another scoring seed.
        made_again: whether images or substitutes were absent.

    Raises:
        RowError: `fresh` is about other images.
    """
    if row.n != fresh.n:
        raise RowError(f"the row has {row.n} images, its draws anew {fresh.n}.")
    found: dict[tuple[str, str], Compared] = {}
    for arm_name in ARMS:
        old_arm, new_arm = getattr(row, arm_name), getattr(fresh, arm_name)
        if old_arm is None or new_arm is None:
            continue
        for on in ("clean", "adversarial"):
            old, new = getattr(old_arm, on), getattr(new_arm, on)
            name = old_arm.victim["name"]
            if old is None or new is None or (name, on) in found:
                continue
            found[name, on] = _compared(old_arm, new_arm, on, old, new, fresh)
            if old.select is not None and new.select is not None:
                chose, anew = (replace(t, right=t.select, abstained=np.zeros_like(t.select)) for t in (old, new))
                found[name, "select"] = _compared(old_arm, new_arm, "select", chose, anew, fresh)
    return Rescored(list(found.values()), made_again)


def _compared(old_arm: Arm, new_arm: Arm, on: str, old: Tally, new: Tally, fresh: EvaluationRecord) -> Compared:
    name = old_arm.victim["name"]
    counts = (new.right, new.draws, old.right, old.draws)
    delta = stats.paired_delta(*counts, fresh.rng("rescore", name, on))
    exact = not old_arm.stochastic and not new_arm.stochastic
    differing = int(np.count_nonzero((old.right != new.right) | (old.abstained != new.abstained))) if exact else None
    same_net = old_arm.victim["digest"] == new_arm.victim["digest"]
    p = None if exact else stats.same_chances(*counts, fresh.rng("rescore", name, on, "chances"))
    return Compared(name, on, old.accuracy, new.accuracy, delta, differing, same_net, p)
