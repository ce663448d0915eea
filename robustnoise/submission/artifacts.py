"""What stands behind rows: weights, adversarial images and scores in the store, folders handed in beside the rows."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robustnoise.building import from_json, spec_of
from robustnoise.compose import split_stages
from robustnoise.errors import BadSubmission, CorruptArtifact, RobustnoiseError
from robustnoise.records import ARMS, EvaluationRecord
from robustnoise.spec import canonical_json, digest_of
from robustnoise.store import Cell, Store, unpack_arrays
from robustnoise.submission.defense import MAX_BYTES
from robustnoise.submission.folder import check_name, read_file
from robustnoise.submission.standing import SUBMISSIONS
from robustnoise.tally import Tally

NAMED = 12
"""Absent artifacts of a kind that a line names; of the others it gives the number."""


@dataclass
class Artifacts:
    """The result of a check.

    Args:
        found: artifacts that are here, re-hashed and what the rows say.
        absent: names by kind, of those that aren't here.
        problems: a line for each that is here and isn't what it should be.
    """

    found: int = 0
    absent: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """What is here and what isn't, for a terminal."""
        yield f"{self.found} artifacts behind the rows re-hashed."
        for kind, names in self.absent.items():
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            yield f"not here, so not checked: {kind}: {', '.join(names[:NAMED])}{more}."


def check_artifacts(records: Sequence[EvaluationRecord], store: Store, folder: Path) -> Artifacts:
    """Re-hash what is here of the artifacts behind rows, and hold scores in the store against the rows' counts.

    Args:
        records: the rows.
        store: of finished work.
        folder: of the board, with what was handed in.
    """
    check = _Check(store, folder)
    for record in records:
        check.row(record)
    for kind, names in check.result.absent.items():
        check.result.absent[kind] = list(dict.fromkeys(names))
    return check.result


class _Check:
    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.result = Artifacts()
        self._cells: dict[str, list[Cell]] = defaultdict(list)
        self._seen: dict[str, bool] = {}
        for path in store.cells():
            try:
                cell = store.read_cell(path)
            except CorruptArtifact as error:
                self.result.problems.append(str(error))
                continue
            self._cells[_key(cell)].append(cell)

    def row(self, record: EvaluationRecord) -> None:
        """Look for everything behind one row."""
        for name in ARMS:
            arm = getattr(record, name)
            if arm is None:
                continue
            identity = arm.victim
            self._weights(identity, record)
            self._handed_in(identity)
            self._scores(identity, record, None, arm.clean)
            if record.attack is not None and arm.adversarial is not None:
                self._scores(identity, record, record.attack, arm.adversarial)
        if record.attack is not None:
            self._handed_in(record.attack)

    def _weights(self, identity: Mapping[str, Any], record: EvaluationRecord) -> None:
        if "target" in identity or identity["model"] is None:
            return
        try:
            training = spec_of(split_stages(from_json(identity["defense"]))[0]).to_json()
            model = spec_of(from_json(identity["model"])).to_json()
        except (RobustnoiseError, KeyError, TypeError):
            self._absent("weights", identity["name"])
            return
        images, seed = record.setting["data"].get("splits", {}).get("train"), identity.get("seed")
        key = canonical_json(["train", training, model, images, *_machine(record, seed)])
        found = [cell for cell in self._cells[key] if self._whole(cell, "weights")]
        if not found:
            self._absent("weights", identity["name"])

    def _scores(
        self, identity: Mapping[str, Any], record: EvaluationRecord, attack: Mapping[str, Any] | None, tally: Tally
    ) -> None:
        purpose = "clean" if attack is None else digest_of(attack["spec"])
        name = identity["name"] if attack is None else f"{identity['name']} under {attack['name']}"
        evaluation = record.setting["data"].get("splits", {}).get("evaluation")
        key = canonical_json(["score", identity["digest"], evaluation, purpose, tally.draws, *_machine(record)])
        agreeing, whole = [], 0
        for cell in self._cells[key]:
            if self._whole(cell, "tally"):
                whole += 1
                right = unpack_arrays(self.store.read(cell, "tally"))["right"]
                agreeing += [cell] if np.array_equal(right, tally.right) else []
        if whole and not agreeing and attack is None:
            # Nothing but what the key holds decides them; under an attack, its budget does too.
            self.result.problems.append(
                f"{record.digest}.json: the store has other counts for {name}: the row was changed, or comes from "
                "another machine. 'robustnoise board rescore' draws afresh."
            )
        if not agreeing:
            self._absent("scores", name)
        if attack is not None and not any(self._object(cell.inputs["adversarial"]) for cell in agreeing):
            self._absent("adversarial images", name)

    def _handed_in(self, identity: Mapping[str, Any]) -> None:
        submitted = identity.get("submitted")
        if submitted is None:
            return
        try:
            folder = self.folder / SUBMISSIONS / check_name(str(submitted["card"]["name"]))
            files = dict(submitted["files"])
        except (BadSubmission, KeyError, TypeError, ValueError) as error:
            self.result.problems.append(f"{identity['name']}: what was handed in isn't named as it should be: {error}")
            return
        for name, sha256 in files.items():
            what = f"{SUBMISSIONS}/{folder.name}/{name}"
            if what in self._seen:
                continue
            self._seen[what] = True
            try:
                present = (folder / check_name(name)).exists()
                found = read_file(folder, name, MAX_BYTES).sha256 if present else None
            except BadSubmission as error:
                self.result.problems.append(f"{what}: {error}")
                continue
            if found is None:
                self._absent("files handed in", what)
            elif found != sha256:
                self.result.problems.append(f"{what}: sha256 is {found}; the row says {sha256}.")
            else:
                self.result.found += 1

    def _whole(self, cell: Cell, name: str) -> bool:
        return self._object(cell.outputs[name])

    def _object(self, sha256: str | None) -> bool:
        """Whether an object of the store is there and whole; each is counted once."""
        if sha256 is None:
            return False
        if sha256 not in self._seen:
            path = self.store.object_path(sha256)
            self._seen[sha256] = False
            if path.is_file():
                self._seen[sha256] = hashlib.sha256(path.read_bytes()).hexdigest() == sha256
                if self._seen[sha256]:
                    self.result.found += 1
                else:
                    self.result.problems.append(f"{path}: its content doesn't match its hash.")
        return self._seen[sha256]

    def _absent(self, kind: str, name: str) -> None:
        self.result.absent.setdefault(kind, []).append(name)


def _key(cell: Cell) -> str:
    """What a row tells of the cell; empty for cells that no row leads to."""
    inputs = cell.inputs
    if cell.stage == "train":
        return canonical_json(["train", inputs["defense"], inputs["model"], inputs["train"], *_tail(inputs)])
    if cell.stage == "score" and "stop" not in inputs and "scoring_seed" not in inputs:
        head = [inputs[k] for k in ("victim", "images", "purpose", "draws")]
        return canonical_json(["score", *head, *_tail(inputs)])
    return ""


def _tail(inputs: Mapping[str, Any]) -> list[Any]:
    return [inputs.get(k) for k in ("seed", "threads", "device", "torch")]


def _machine(record: EvaluationRecord, seed: int | None = None) -> list[Any]:
    """What `_tail` says of the cells of a row; `seed` is that of a victim's own training."""
    setting = record.setting
    torch = record.provenance.get("versions", {}).get("torch")
    return [setting.get("seed") if seed is None else seed, setting.get("threads"), setting.get("device"), torch]
