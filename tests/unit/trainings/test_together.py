"""Every leading training with every stage that takes part: they compose, resume to the bit, and run in bfloat16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustnoise.api import BadParameter, Context, Schedule, fit
from robustnoise.training import checkpoints, loop
from robustnoise_defenses import FreeTraining, PlainTraining, TradesTraining
from tests.unit.trainings.nets import DATA, IMAGES, LABELS, STREAM, fresh, same, state, trained
from tests.unit.trainings.test_hold_out import Interrupting

COMMON = "epochs=3, batch_size=8, learning_rate=0.01"
LEADERS = {
    "plain": f"plain-training({COMMON}HELD)",
    "pgd": f"pgd-training({COMMON}, inner=pgd(2)HELD)",
    "fast": f"fast-training({COMMON}HELD)",
    "trades": f"trades-training({COMMON}, steps=2HELD)",
    "mart": f"mart-training({COMMON}, inner=pgd(2)HELD)",
    "free": f"free-training({COMMON}, replays=3HELD)",
    "ensemble": f"ensemble-training({COMMON}, model=mlp(hidden=4), training=plain-training(epochs=1)HELD)",
}
JOINING = {
    "noise": "noise-training(layer-noise(20, power=sample))",
    "noise while crafting": "noise-training(layer-noise(20, power=sample), while_crafting=true)",
    "weights": "weight-perturbation",
    "augmentation": "gaussian-augmentation(0.1)",
}


@pytest.mark.parametrize("leader", LEADERS)
def test_each_joining_stage_changes_each_training(leader: str) -> None:
    text = LEADERS[leader].replace("HELD", "")
    alone = trained(text)
    found = {name: trained(f"{text} | {stage}") for name, stage in JOINING.items()}
    kinds = 3 if leader in ("plain", "free") else 4  # where nothing is crafted, noise while crafting is no other
    assert len({f.digest for f in [alone, *found.values()]}) == kinds + 1
    assert all(v.isfinite().all() for f in found.values() for v in state(f).values())


@pytest.mark.parametrize("leader", LEADERS)
def test_all_of_them_in_bfloat16(leader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "need_bfloat16", lambda _: None)  # emulated here: slow, not wrong
    stages = " | ".join(s for name, s in JOINING.items() if name != "noise")
    exact, rounded = (
        trained(f"{LEADERS[leader].replace('HELD', extra)} | {stages}") for extra in ("", ", precision=bfloat16")
    )
    assert not same(exact, rounded)
    assert all(weight.dtype == torch.float32 for weight in state(rounded).values())
    start, end, other = (torch.cat([w.flatten() for w in state(c).values()]) for c in (fresh(), exact, rounded))
    assert (other - end).norm() < 0.3 * (end - start).norm()


@pytest.mark.parametrize("leader", LEADERS)
def test_interrupted_and_resumed_they_end_in_the_same_bytes(
    leader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    text = f"{LEADERS[leader].replace('HELD', ', hold_out=8')} | weight-perturbation | {JOINING['noise']}"
    whole = trained(text)
    path = tmp_path / "partial"
    for after in (5, 4):  # of nine steps, three an epoch; an ensemble's sources count first
        ctx = Context(train=DATA, seed=5, checkpoint=path, progress=Interrupting(after))
        with pytest.raises(KeyboardInterrupt):
            trained(text, ctx=ctx)
    assert same(trained(text, ctx=Context(train=DATA, seed=5, checkpoint=path)), whole)


def test_two_losses_in_one_training_are_refused() -> None:
    with pytest.raises(BadParameter, match="2 stages of one training have a loss of their own: PlainTraining, Trades"):
        fit(fresh(), IMAGES, LABELS, Schedule(1, 0.01, 8), STREAM, hooks=[PlainTraining(), TradesTraining()])
    with pytest.raises(BadParameter, match="have a loss|replay batches"):
        fit(fresh(), IMAGES, LABELS, Schedule(1, 0.01, 8), STREAM, hooks=[FreeTraining(), FreeTraining(replays=2)])
