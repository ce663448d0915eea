"""What cells cost: passes counted beforehand equal those that are made; estimates learn from finished cells."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import robustnoise as rn
from robustnoise.blocks import BLOCK
from robustnoise.building import build
from robustnoise.compose import Identity
from robustnoise.harness.bench import Bench
from robustnoise.harness.costs import clock, estimate
from robustnoise.harness.costs.estimate import Estimator
from robustnoise.harness.costs.passes import Passes
from robustnoise.harness.costs.spent import Spent, measured, peak_memory, spent
from robustnoise.harness.executors.serial import Serial
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.planning import Planned, plan, wall_seconds
from robustnoise.harness.runner import run
from robustnoise.harness.tasks import Task, tasks
from robustnoise.models.classifier import TorchClassifier
from robustnoise.store import Store
from robustnoise.testing.toys import toy_dataset

N = 20


def experiment(defense: str, attack: str) -> Experiment:
    """One victim, one attack, twenty images."""
    victim = Victim("net", build(defense, "defense"), model=build("mlp(hidden=4)", "model"))
    return Experiment(
        dataset=toy_dataset(N),
        sizes={},
        threat=rn.Linf(0.1),
        budget=rn.Budget(per_image=30),
        victims=(victim,),
        attacks=(Attack("attack", build(attack, "attack")),),
        draws=3,
        threads=1,
    )


def task_of(stage: str, whole: Experiment) -> Task:
    return next(t for level in tasks(whole) for t in level if t.stage == stage and (stage != "score" or t.attack))


@pytest.mark.parametrize(
    "defense",
    [
        "plain-training(epochs=3)",
        "plain-training(epochs=3, batch_size=7)",
        "pgd-training(eps=0.1, epochs=4, ramp=0, inner=pgd(steps=3))",
        "trades-training(eps=0.1, epochs=3, ramp=0, steps=2)",
        "plain-training(epochs=2) | noise-training(layer-noise(20, power=sample))",
    ],
)
def test_passes_of_a_training_are_those_that_it_makes(defense: str) -> None:
    whole = experiment(defense, "null")
    found = Estimator(whole).passes(task_of("train", whole))
    rows = [0, 0]

    # An independent count: hooks on the network of a real training of all images.
    train = whole.dataset.train
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(torch.tensor(train.input_shape).prod()), train.num_classes))

    def forward(_: nn.Module, __: object, out: Tensor) -> None:
        rows[0] += len(out)
        if out.requires_grad:
            out.register_hook(lambda g: rows.__setitem__(1, rows[1] + len(g)))

    net[1].register_forward_hook(forward)
    build(defense, "defense").apply(TorchClassifier(net, train.input_shape, train.num_classes), rn.Context(train=train))
    assert (found.forward, found.backward) == tuple(rows)
    assert found.exact


def test_passes_of_pgd_are_its_steps() -> None:
    whole = experiment("plain-training(epochs=1)", "transfer(independent(model=mlp(hidden=4)), pgd(steps=5))")
    found = Estimator(whole).passes(task_of("craft", whole))
    assert (found.forward, found.backward) == (5 * N, 5 * N)


def test_passes_of_scores_are_images_draws_halves_and_votes() -> None:
    whole = experiment("plain-training(epochs=1) | gaussian-input-noise(sigma=0.1) | vote(5)", "null")
    assert Estimator(whole).passes(task_of("score", whole)) == Passes(N * 3 * 2 * 5, 0)
    quiet = experiment("plain-training(epochs=1)", "null")
    assert Estimator(quiet).passes(task_of("score", quiet)) == Passes(N, 0)


def test_passes_of_a_query_attack_are_bounded_by_its_budget() -> None:
    whole = experiment("plain-training(epochs=1) | gaussian-input-noise(sigma=0.1) | vote(5)", "rays")
    assert Estimator(whole).passes(task_of("craft", whole)) == Passes(N * 30 * 5, 0, exact=False)


def test_finished_cells_set_the_estimate_right() -> None:
    whole = experiment("plain-training(epochs=2)", "null")
    task, estimator = task_of("train", whole), Estimator(whole)
    before = estimator.of(task)
    estimator.learn(task, Spent(before.seconds * 50, 12345))
    assert estimator.of(task).seconds == pytest.approx(before.seconds * 50)
    assert estimator.of(task).peak == 12345
    # A longer training of the same network is expected to take as much longer.
    longer = task_of("train", experiment("plain-training(epochs=2000)", "null"))
    assert estimator.passes(longer).work == 1000 * estimator.passes(task).work


def test_a_control_tells_nothing_of_attacks_that_ask_networks() -> None:
    null = experiment("plain-training(epochs=1)", "null")
    whole = experiment("plain-training(epochs=1)", "transfer(independent(model=mlp(hidden=4)), pgd(steps=5))")
    estimator, task = Estimator(whole), task_of("craft", whole)
    before = estimator.of(task).seconds
    estimator.learn(task_of("craft", null), Spent(1000.0, 1))
    assert estimator.of(task).seconds == before


def test_a_run_writes_what_its_cells_cost_and_a_plan_reads_it(tmp_path: Path) -> None:
    whole, store = experiment("plain-training(epochs=1)", "null"), Store(tmp_path)
    before = plan(whole, store)
    assert all(line.missing and line.peak > 0 for line in before)
    run(whole, store)
    found = [spent(store, path.stem) for path in store.cells()]
    assert len(found) == sum(line.missing for line in before)
    assert all(s is not None and 0 <= s.seconds < 60 and s.peak > 2**20 for s in found)
    assert all(line.missing == 0 and line.seconds == 0 for line in plan(whole, store))


def test_damaged_costs_are_no_costs_and_change_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with measured(store, "a", computes=True):
        pass
    (path,) = (tmp_path / "costs").iterdir()
    assert spent(store, "a") is not None
    for content in (b"", b"{}", b"[1]", json.dumps({"seconds": "x", "peak": 1}).encode()):
        path.write_bytes(content)
        assert spent(store, "a") is None
    assert spent(store, "b") is None


def test_costs_of_a_cell_that_fails_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), measured(Store(tmp_path), "a", computes=True):
        raise ValueError("no")
    assert not (tmp_path / "costs").exists()


class Clocks:
    """Between any two looks at them the same seconds pass, for everybody and of this process."""

    def __init__(self, patch: pytest.MonkeyPatch, *, wall: float, busy: float) -> None:
        walls, busies = itertools.count(0, wall), itertools.count(0, busy)
        self.perf_counter, self.process_time = lambda: next(walls), lambda: next(busies)
        patch.setattr(clock, "time", self)


@pytest.mark.parametrize(
    ("wall", "busy", "computes", "seconds"),
    [(1.0, 1.0, True, 1.0),
     (10.0, 1.0, True, 1.0),  # nine tenths of the processor are others'
     (1.0, 1.8, True, 1.0),  # two threads
     (10.0, 1.8, True, 1.8),  # two threads, and others
     (10.0, 0.1, False, 10.0)],  # an endpoint or a GPU that is waited for
)  # fmt: skip
def test_other_load_lengthens_nothing_but_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, wall: float, busy: float, computes: bool, seconds: float
) -> None:
    Clocks(monkeypatch, wall=wall, busy=busy)
    assert clock.Stopwatch(computes=computes).seconds() == pytest.approx(seconds, abs=0.01)


def test_what_a_process_of_ones_own_computes_counts() -> None:
    watch = clock.Stopwatch(computes=True)
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    assert watch.seconds() > 0.05


def test_a_plan_made_under_other_load_is_that_of_an_idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = experiment("plain-training(epochs=1)", "null")
    found = []
    for wall in (1.0, 50.0):
        Clocks(monkeypatch, wall=wall, busy=1.0)
        found.append(Estimator(whole).of(task_of("train", whole)).seconds)
    work = Estimator(whole).passes(task_of("train", whole)).work
    assert found == pytest.approx([estimate.OVERHEAD + work / BLOCK] * 2)


@pytest.mark.parametrize(("alone", "seconds"), [(True, 1.0), (False, 50.0)])
def test_cells_cost_what_they_compute_or_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool, seconds: float
) -> None:
    monkeypatch.setattr(Experiment, "self_contained", alone)
    Clocks(monkeypatch, wall=50.0, busy=1.0)
    store = Store(tmp_path)
    run(experiment("plain-training(epochs=1)", "null"), store, executor=Serial())
    costs = [spent(store, path.stem) for path in store.cells()]
    assert len(costs) >= 3
    assert {cost and cost.seconds for cost in costs} == {seconds}


def test_a_pass_is_timed_where_the_board_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(experiment("plain-training(epochs=1)", "null"), device="meta")
    devices = []
    monkeypatch.setattr(estimate, "_timed", lambda net, _: estimate._Net(devices.append(net.device.type) or 2.0, 1))
    task, estimator = task_of("train", whole), Estimator(whole)
    assert estimator.of(task).seconds == pytest.approx(estimate.OVERHEAD + 2 * estimator.passes(task).work)
    assert devices == ["meta"]


def test_the_time_of_a_board_is_that_of_its_longest_cells_or_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    line = Planned("score", 0, 10, 0, 0, True, seconds=100.0, longest=30.0, peak=1)
    assert wall_seconds([line], jobs=1, threads=2) == 100
    assert wall_seconds([line], jobs=2, threads=2) == 50
    assert wall_seconds([line], jobs=64, threads=2) == 30
    assert wall_seconds([line, line], jobs=2, threads=8) == 200  # no more than there are cores for


def test_peak_memory_holds_what_was_there() -> None:
    before = peak_memory()
    content = torch.zeros(64 * 2**20, dtype=torch.uint8).add_(1)
    assert peak_memory() >= before
    assert peak_memory() > len(content)


def test_a_victim_of_ones_own_is_not_asked_for_a_plan(tmp_path: Path) -> None:
    class Asked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("asked")

    class Own:
        num_classes, input_shape, stochastic, passes, digest = 3, toy_dataset(N).train.input_shape, False, 4, "own"

        def predict(self, x: Tensor, *, noise: object) -> object:
            raise AssertionError("asked")

    whole = Experiment(
        dataset=toy_dataset(N), sizes={}, threat=None, budget=rn.Budget(), attacks=(),
        victims=(Victim("own", Identity(), classifier=Own()),),  # type: ignore[arg-type]
    )  # fmt: skip
    (line,) = plan(whole, Store(tmp_path))
    assert line.forward == 4 * N
    assert Bench(whole, Store(tmp_path)).looking().compute is False
