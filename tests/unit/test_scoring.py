"""Scoring counts right answers, abstentions and the passes that answers really cost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from robustnoise.errors import RowError
from robustnoise.harness.scoring import count_draws, most_frequent
from robustnoise.protocols import Answer, Silent
from robustnoise.records import Arm, EvaluationRecord
from robustnoise.seeds import SeedStream
from robustnoise.tally import Tally


class Thrifty:
    """Answers 0, or abstains on black images; light images cost it one pass, the others three."""

    num_classes, input_shape, stochastic, passes, digest = 2, (1, 1, 1), True, 3, "thrifty"

    def __init__(self, *, counts: bool) -> None:
        self.counts = counts

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        light = x.flatten(1).mean(1)
        labels = torch.where(light == 0, -1, 0)
        return Answer(labels, passes=torch.where(light > 0.5, 1, 3) if self.counts else None)


IMAGES = np.array([255] * 150 + [10] * 30 + [0] * 20, np.uint8).reshape(200, 1, 1, 1)
LABELS = np.array([0] * 140 + [1] * 60)


def test_passes_are_summed_over_images_and_draws_without_padding() -> None:
    found = count_draws(Thrifty(counts=True), IMAGES, LABELS, 2, SeedStream(0), meter=Silent().start("", 0))
    assert found.passes == 2 * (150 * 1 + 50 * 3)
    assert found.right.tolist() == [2] * 140 + [0] * 60
    assert found.abstained.sum() == 2 * 20
    assert Tally(found.right, found.abstained, None, 2, found.passes).mean_passes(3) == 1.5


class Turns:
    """Answers by the draw: a pixel chooses a row of answers, a stream one of its places."""

    num_classes, input_shape, stochastic, passes, digest = 3, (1, 1, 1), True, 1, "turns"
    said = torch.tensor([[2, 2, 1, 2], [1, 0, 0, 1], [-1, -1, 2, -1], [-1, 1, -1, 1]])

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        rows = (x.flatten(1)[:, 0] * 255).round().long()
        return Answer(self.said[rows, int(noise.path[0])])


def test_the_most_frequent_answer_of_ties_the_smallest_and_abstentions_are_answers() -> None:
    images = np.array([0, 1, 2, 3] * 40, np.uint8).reshape(160, 1, 1, 1)
    noise, victim = SeedStream(3), Turns()
    assert most_frequent(victim, images, 4, noise).tolist() == [2, 0, -1, 1] * 40
    assert most_frequent(victim, images, 1, noise).tolist() == [2, 1, -1, -1] * 40
    victim.stochastic = False  # asked once, whatever the draws
    assert most_frequent(victim, images, 4, noise).tolist() == [2, 1, -1, -1] * 40


def test_a_victim_that_counts_nothing_costs_the_same_each_time() -> None:
    found = count_draws(Thrifty(counts=False), IMAGES, LABELS, 1, SeedStream(0), meter=Silent().start("", 0))
    assert found.passes is None
    assert Tally(found.right, found.abstained, None, 1, None).mean_passes(3) == 3


def clean_record(tally: Tally) -> EvaluationRecord:
    setting = {"data": {"name": "d"}, "threat": None, "budget": None, "draws": 2, "seed": 0, "block": 1, "identity": 1}
    spec = {"kind": "defense", "name": "a", "version": 1, "params": {}, "children": {}}
    arm = Arm({"name": "a", "text": "a", "digest": "d", "defense": spec, "model": None}, True, 3, tally, None, 0, None)
    return EvaluationRecord(setting, None, arm, None, None, None, {})


def test_a_record_without_an_attack_keeps_its_passes() -> None:
    zeros = np.zeros(4, np.uint16)
    record = clean_record(Tally(np.array([2, 1, 0, 2], np.uint16), zeros, None, 2, 13))
    back = EvaluationRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert back.digest == record.digest
    assert back.outcome == record.outcome
    assert back.attack is None
    assert back.victim.adversarial is None
    assert back.drop is None
    assert back.victim.clean.passes == 13
    assert back.victim.scored.mean_passes(3) == 13 / 8


def test_rows_without_passes_are_written_as_before() -> None:
    plain = Tally(np.ones(3, np.uint16), np.zeros(3, np.uint16), None, 1).to_json()
    assert set(plain) == {"draws", "right", "abstained", "select"}


@pytest.mark.parametrize("passes", [-1, "many", 1.5])
def test_damaged_passes_are_refused(passes: object) -> None:
    plain = Tally(np.ones(3, np.uint16), np.zeros(3, np.uint16), None, 1, 3).to_json() | {"passes": passes}
    with pytest.raises(RowError, match="passes"):
        Tally.from_json(plain, 3)


def test_an_attack_without_counts_is_refused() -> None:
    from robustnoise.spec import digest_of

    plain = clean_record(Tally(np.ones(3, np.uint16), np.zeros(3, np.uint16), None, 1)).to_json()
    spec = {"kind": "attack", "name": "n", "version": 1, "params": {}, "children": {}}
    plain["identity"]["attack"] = {"name": "n", "text": "n", "scope": "control", "null": True, "spec": spec}
    plain["digest"] = digest_of(plain["identity"])
    with pytest.raises(RowError, match="adversarial counts"):
        EvaluationRecord.from_json(plain)
