"""How many cells at a time nobody asks for: more than one only where that saves time, and the memory is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from robustnoise.building import build
from robustnoise.compose import Identity
from robustnoise.harness.executors import automatic
from robustnoise.harness.executors.automatic import Automatic
from robustnoise.harness.executors.base import Executor, Work, Workers
from robustnoise.harness.executors.cluster import RayCluster
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.executors.serial import Serial
from robustnoise.harness.experiment import Experiment, Victim
from robustnoise.testing.toys import linear_toy, toy_dataset
from robustnoise.threat import Budget

GIB = 2**30
LONG = Work(600.0, 10.0, GIB)


@pytest.fixture
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores and 32 GB."""
    monkeypatch.setattr(automatic, "_cores", lambda: 8)
    monkeypatch.setattr(automatic, "_memory", lambda: 32 * GIB)


def experiment(**changes: Any) -> Experiment:
    victims = (Victim("a", build("plain-training", "defense"), model=build("mlp(hidden=4)", "model")),)
    made = Experiment(toy_dataset(8), {}, None, Budget(), victims, (), threads=2)
    return replace(made, **changes)


@pytest.mark.usefixtures("_machine")
@pytest.mark.parametrize(
    ("work", "many"),
    [
        (LONG, 4),  # eight cores, two threads a cell
        (Work(600.0, 10.0, 6 * GIB), 2),  # half of the memory
        (Work(600.0, 10.0, 20 * GIB), 1),
        (Work(600.0, 590.0, GIB), 1),  # all waits for one of them
        (Work(24.0, 1.0, GIB), 1),  # workers take as long to start
        (Work(28.0, 1.0, GIB), 4),
    ],
)
def test_several_where_cores_memory_and_the_work_are_there(work: Work, many: int) -> None:
    assert Automatic().at_once(experiment(), work) == many


@pytest.mark.usefixtures("_machine")
def test_what_bounds_them_beside_the_machine() -> None:
    assert Automatic(3).at_once(experiment(), LONG) == 3
    assert Automatic().at_once(experiment(threads=5), LONG) == 1
    accelerated = experiment()
    object.__setattr__(accelerated, "device", "cuda")  # also where there is none
    assert Automatic().at_once(accelerated, LONG) == 1
    target = Victim("b", Identity(), classifier=linear_toy())
    assert Automatic().at_once(experiment(victims=(target,)), LONG) == 1


@pytest.mark.parametrize(
    ("executor", "many"), [(Serial(), 1), (Processes(3), 3), (RayCluster(5), 5), (RayCluster(), 1), (Automatic(), 4)]
)
@pytest.mark.usefixtures("_machine")
def test_a_plan_asks_any_executor_how_many_at_a_time(executor: Executor, many: int) -> None:
    assert executor.at_once(experiment(), LONG) == many


def test_the_memory_is_that_of_the_container(tmp_path: Path) -> None:
    whole = automatic._memory([])
    (tmp_path / "none").write_text("max\n")
    (tmp_path / "some").write_text(f"{GIB}\n")
    absent = tmp_path / "absent"
    assert automatic._memory([tmp_path / "none", absent]) == whole
    assert automatic._memory([tmp_path / "none", tmp_path / "some", absent]) == min(whole, GIB)


class Asked:
    """Workers that write down who was asked for how many groups."""

    log: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, who: str) -> None:
        self.who = who

    @contextmanager
    def workers(self, _job: object) -> Iterator[Workers]:
        yield lambda groups: iter(self.log.append((self.who, len(groups))) or ())


@pytest.mark.usefixtures("_machine")
def test_processes_finish_what_they_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that was the end of a worker comes back alone: here it would be the end of the run."""
    monkeypatch.setattr(automatic, "Serial", lambda: Asked("here"))
    monkeypatch.setattr(automatic, "Processes", lambda jobs: Asked(f"{jobs} processes"))
    monkeypatch.setattr(automatic, "_work", lambda _, groups: LONG if len(groups) > 2 else Work(1.0, 1.0, GIB))
    job: Any = SimpleNamespace(experiment=experiment())
    with Automatic().workers(job) as workers:
        for many in (1, 2, 3, 2, 1):
            assert list(workers([["cell"]] * many)) == []
    four = "4 processes"
    assert Asked.log == [("here", 1), ("here", 2), (four, 3), (four, 2), (four, 1)]
