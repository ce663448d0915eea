"""What the options of a run lead to: who makes the cells, how many at a time, with how much memory."""

from __future__ import annotations

from typing import Any

import pytest

from robustnoise.cli import places
from robustnoise.cli.places import GIB, Place, duration
from robustnoise.errors import BadParameter
from robustnoise.harness.executors.automatic import Automatic
from robustnoise.harness.executors.base import Executor
from robustnoise.harness.executors.cluster import RayCluster
from robustnoise.harness.executors.processes import Processes
from robustnoise.harness.executors.serial import Serial
from robustnoise.harness.memory import LIMIT
from robustnoise.harness.planning import Planned
from robustnoise.harness.shards import Shard


def lines(*peaks: float) -> list[Planned]:
    """A plan whose cells hold so many GB."""
    return [Planned("score", 0, 1, 0, 0, True, 1.0, 1.0, round(peak * GIB)) for peak in peaks]


def test_the_options_choose_who_makes_the_cells() -> None:
    assert Place().executor() == Automatic()
    assert Place(1).executor() == Serial()
    assert Place(time_limit=9).executor() == Processes(1)
    assert Place(3).executor() == Processes(3)
    assert Place(3, ray=True, gpus=0.5).executor() == RayCluster(3, 0.5)


def test_as_many_cells_at_a_time_as_fit() -> None:
    executor, answers = Place(8, memory=4).fitted(lambda: lines(0.5, 1.25))
    assert executor == Processes(3)
    assert 3 * (1.25 * GIB + answers) <= 4 * GIB
    assert Place(2, memory=4).fitted(lambda: lines(1.25))[0] == Processes(2)
    assert Place(8, memory=2).fitted(lambda: lines(1.25))[0] == Serial()
    assert Place(memory=2).fitted(lambda: lines(1.25))[0] == Automatic(1)


def test_without_a_bound_or_without_work_all_stays_as_it_is() -> None:
    assert Place(8, memory=0.001).fitted(list) == (Processes(8), LIMIT)
    assert Place(8).fitted(lambda: pytest.fail("asked")) == (Processes(8), LIMIT)


def test_a_bound_below_one_cell_is_refused_with_what_it_needs() -> None:
    with pytest.raises(BadParameter, match=r"--memory 1: one cell of this board needs about 1\.25 GB"):
        Place(8, memory=1).fitted(lambda: lines(1.25))


def test_bounds_of_this_machine_dont_go_with_ray() -> None:
    with pytest.raises(BadParameter, match="--memory"):
        Place(ray=True, memory=1)


def test_durations_are_short() -> None:
    assert [duration(s) for s in (0.04, 9.96, 59, 3540, 3900)] == ["0.0 s", "10.0 s", "59 s", "59 min", "1 h 05 min"]


@pytest.mark.parametrize(("jobs", "executor"), [(None, Serial()), (2, Processes(2))])
def test_a_part_takes_one_process_unless_told_otherwise(
    jobs: int | None, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other parts may be on the same machine."""
    given = list[Executor]()
    monkeypatch.setattr(places, "run_shard", lambda *_, executor, **__: given.append(executor))
    monkeypatch.setattr(places, "open_store", lambda: None)
    whole: Any = None
    Place(jobs).run_shard(whole, Shard(1, 2), [])
    assert given == [executor]
