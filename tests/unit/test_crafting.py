"""Crafting in bfloat16: where it is taken, where not, and what a record says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustnoise.blocks import BLOCK
from robustnoise.building import build
from robustnoise.compose import Identity
from robustnoise.harness import crafting, experiment
from robustnoise.harness.bench import Bench
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.models.ensemble import Ensemble
from robustnoise.models.lowered import lowered
from robustnoise.protocols import Ensembled
from robustnoise.seeds import SeedStream
from robustnoise.store import Cell, Store, unpack_arrays
from robustnoise.testing.toys import toy_dataset, toy_model
from robustnoise.threat import Budget, Linf

ATTACK = Attack("pgd", build("audit(pgd(steps=5, relative_step=0.5))", "attack"))


@pytest.fixture(autouse=True)
def _on_any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated bfloat16 is slow, but not on a net as small as the toy."""
    monkeypatch.setattr(experiment, "need_bfloat16", lambda _device: None)
    monkeypatch.setattr(crafting, "COMPARED", BLOCK)


def _experiment(n: int = BLOCK + 9, **changes: Any) -> Experiment:
    victim = Victim("net", Identity(), classifier=toy_model())
    known: dict[str, Any] = {
        "dataset": toy_dataset(n),
        "sizes": {},
        "threat": Linf(0.5),
        "budget": Budget(),
        "draws": 2,
    }
    return Experiment(**known | {"victims": (victim,), "attacks": (ATTACK,)} | changes)


def _images(cell: Cell, store: Store) -> np.ndarray[Any, Any]:
    return unpack_arrays(store.read(cell, "images"))["x"]


def _cells(store: Store, **changes: Any) -> tuple[Cell, Cell]:
    """The cell of float32 and that of bfloat16."""
    pair = (_experiment(**changes), _experiment(precision="bfloat16", **changes))
    first, second = (Bench(e, store).images(ATTACK, e.victims[0]) for e in pair)
    return first, second


def test_float32_leaves_no_trace(tmp_path: Path) -> None:
    store, usual = Store(tmp_path), _experiment()
    cell = Bench(usual, store).images(ATTACK, usual.victims[0])
    (record,) = run(usual, store)
    assert "precision" not in {**cell.inputs, **cell.facts, **record.setting, **record.provenance}


def test_bfloat16_has_cells_and_rows_of_its_own_and_says_what_was_compared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    usual, fast = _cells(store)
    (record,) = run(_experiment(precision="bfloat16"), store)
    assert usual.key != fast.key
    assert record.setting["precision"] == "bfloat16"
    told = record.provenance["precision"]
    assert (told["used"], told["images"]) == ("bfloat16", BLOCK)
    assert crafting.agrees(told["float32"], told["bfloat16"])
    assert told["same_way"] >= crafting.SAME
    assert not np.array_equal(_images(usual, store), _images(fast, store)), "nothing was crafted in bfloat16"


@pytest.mark.parametrize(("limit", "value"), [("TOLERANCE", -1.0), ("SAME", 1.1)])
def test_where_the_precisions_disagree_all_is_crafted_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(crafting, limit, value)
    store = Store(tmp_path)
    usual, fast = _cells(store)
    assert fast.facts["precision"]["used"] == "float32"
    assert {"float32", "bfloat16"} < set(fast.facts["precision"])
    assert np.array_equal(_images(usual, store), _images(fast, store))


def test_too_few_images_to_compare_are_crafted_in_float32(tmp_path: Path) -> None:
    store = Store(tmp_path)
    usual, fast = _cells(store, n=BLOCK)
    assert fast.facts["precision"] == {"used": "float32", "images": 0}
    assert np.array_equal(_images(usual, store), _images(fast, store))


@pytest.mark.parametrize(("difference", "same"), [(0.0, True), (0.003, True), (-0.003, True), (0.0031, False)])
def test_agreement_is_within_three_tenths_of_a_point(difference: float, same: bool) -> None:
    assert crafting.agrees(0.5, 0.5 + difference) is same


def test_the_share_of_values_that_go_the_same_way() -> None:
    origin = torch.tensor([0, 255, 100, 100], dtype=torch.uint8)
    first = torch.tensor([0, 254, 90, 255], dtype=torch.uint8)  # left, lowered, lowered, raised
    second = torch.tensor([1, 0, 99, 0], dtype=torch.uint8)  # raised, lowered, lowered, lowered
    assert crafting.same_way(origin, first, second) == 0.5
    assert crafting.same_way(origin, first, first) == 1


def test_a_source_that_notices_nothing_does_not_vouch_for_bfloat16() -> None:
    """Of two rounded terms of a pixel's gradient their difference is left: its sign is chance, too small to matter."""
    generator = torch.Generator().manual_seed(0)
    sign, part = torch.randn(500, generator=generator).sign(), 1 + torch.rand(500, generator=generator)
    exact = torch.cat([1000 * torch.ones(100), 1e-4 * sign])
    coarse = torch.cat([1000 * torch.ones(100), (part + 1e-4 * sign).bfloat16().float() - part.bfloat16().float()])
    origin = torch.full((600,), 100, dtype=torch.uint8)
    first, second = ((origin + (20 * g.sign()).to(torch.int16)).to(torch.uint8) for g in (exact, coarse))
    losses = [float((exact * (levels.float() - 100)).sum()) for levels in (first, second)]
    assert losses[1] > 0.999 * losses[0], "the source sees no difference"
    assert crafting.same_way(origin, first, second) < crafting.SAME


def test_a_lowered_source_rounds_products_and_answers_as_before() -> None:
    net, x, noise = toy_model(), torch.rand(4, *toy_model().input_shape), SeedStream(0)
    low = lowered(net, "cpu")
    exact, rounded = net.logits(x, noise=noise), low.logits(x, noise=noise)
    assert rounded.dtype == torch.float32
    assert 0 < float((exact - rounded).abs().max()) < 0.05 * float(exact.abs().max())
    assert torch.equal(low.predict(x, noise=noise).labels, net.predict(x, noise=noise).labels)


def test_a_lowered_ensemble_is_still_attacked_member_by_member() -> None:
    low = lowered(Ensemble([toy_model(), toy_model(seed=1)], "losses"), "cpu")
    assert isinstance(low, Ensembled)
    assert low.combine == "losses"
    assert len(low.members) == 2
