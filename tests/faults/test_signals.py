"""What ends a run from outside: Ctrl-C, SIGTERM, a closed terminal, a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.small_board import make_board, outcomes
from robustnoise.harness.bench import Bench
from robustnoise.store import Store
from tests.e2e.conftest import command, environment, robustnoise
from tests.faults.conftest import Finished

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("number", CODES)
def test_a_signal_stops_a_run_which_says_so_and_goes_on_later(
    undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    make_board(tmp_path / "board")
    arguments = ["run", "board", "--output", "out"]
    score, scored = Bench.score, 0
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL

    def interrupted(*args: object) -> object:
        nonlocal scored
        scored += args[0].compute  # type: ignore[attr-defined]
        if scored == 3:
            os.kill(os.getpid(), number)
        return score(*args)  # type: ignore[arg-type]

    before = signal.signal(number, usual)  # a run in the background, or under nohup, may ignore it
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Bench, "score", interrupted)
            stopped = robustnoise(tmp_path / "cache", arguments, tmp_path)
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert stopped.returncode == CODES[number]
    assert "run the same command again" in stopped.stderr
    assert (number.name in stopped.stderr) == (number != signal.SIGINT)
    assert "Traceback" not in stopped.stderr
    store = Store(tmp_path / "cache" / "store")
    kept = {path: path.stat().st_mtime_ns for path in store.cells()}
    assert kept
    assert list(store.damaged()) == list(store.leftovers()) == []

    done = robustnoise(tmp_path / "cache", arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcomes(tmp_path / "out") == undisturbed.outcomes
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # nothing is made twice


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustnoise.cli.signals import stoppable

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_run_that_started_them(tmp_path: Path, number: signal.Signals) -> None:
    make_board(tmp_path / "board")
    process = subprocess.Popen(
        command("run", "board", "--jobs", "2", "--set", "victims.plain=plain-training(epochs=3000)"),
        cwd=tmp_path, env=environment(tmp_path / "cache"), stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - nothing else runs in the child
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cache").glob("store/cells/*/*")) and time.monotonic() < deadline:
        time.sleep(0.2)  # the other victim's training ends first
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == CODES[number]
    assert "Traceback" not in said
    time.sleep(2)
    assert _members(process.pid) == []
    assert list(Store(tmp_path / "cache" / "store").damaged()) == []


def _members(session: int) -> list[str]:
    """The processes of a session, less those that have ended."""
    listed = subprocess.run(
        ["ps", "-s", str(session), "-o", "pid=,stat=,args="], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if " Z" not in line and "resource_tracker" not in line]


def test_runs_killed_side_by_side_on_one_store_end_in_the_same_rows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kills", "--kills", "10"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 boards with a difference" in done.stdout
