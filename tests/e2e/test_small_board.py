"""A board from end to end: resume, processes, memory bounds, kills, edits, bad input."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import robustnoise as rn
from robustnoise import store as store_module
from robustnoise.board import load_board
from robustnoise.errors import RowError, StoreError
from robustnoise.harness.planning import plan
from robustnoise.harness.runner import run
from robustnoise.spec import digest_of
from robustnoise.store import Store
from tests.e2e.conftest import command, environment, robustnoise, rows_of

ASKER = """
from dataclasses import dataclass
from robustnoise.api import AttackResult, AttackTraits, BlackBoxAttack
@dataclass(frozen=True)
class Ask(BlackBoxAttack):
    @property
    def traits(self):
        return AttackTraits()
    def run(self, oracle, seed_data, targets, threat, seeds):
        oracle.query(targets.x, targets.ids)
        return AttackResult(targets.x, oracle.spent)
PLUGINS = {"ask": "Ask"}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an undisturbed run of the tiny board, made through the command line."""
    from tests.e2e.conftest import BOARD

    base = tmp_path_factory.mktemp("undisturbed")
    (base / "board").mkdir()
    (base / "board" / "board.toml").write_text(BOARD)
    done = robustnoise(base / "cache", ["run", "board", "--output", "out"], base)
    assert done.returncode == 0, done.stderr
    return base


def test_rows_hold_deltas_controls_and_a_reference_that_nobody_listed(finished: Path) -> None:
    board = rn.Leaderboard(finished / "out")
    frame = board.to_frame()
    # plain, noisy, and noisy's own net without its inference stages, times four attacks
    assert len(frame) == 12
    assert all(map(board.ranked, board.rows()))  # by protocol: attacks this weak are flagged beside random noise
    noisy = frame[(frame.victim == "noisy") & (frame.attack == "asking")].iloc[0]
    assert noisy["against"] == "noisy less inference"
    assert noisy["delta_low"] <= noisy["delta"] <= noisy["delta_high"]
    assert noisy["queries"] == 200
    null = frame[(frame.victim == "plain") & (frame.attack == "null")].iloc[0]
    assert null["drop"] == 0
    assert frame[(frame.victim == "plain") & (frame.attack == "shared")].iloc[0]["drop"] < -0.02


def test_verify_passes_on_a_run_and_finds_an_edited_row(finished: Path, tmp_path: Path) -> None:
    assert rn.Leaderboard(finished / "out").verify() == []
    copy = shutil.copytree(finished / "out", tmp_path / "copy")
    path = min((copy / "rows").glob("*.json"))
    row = json.loads(path.read_text())
    row["outcome"]["victim"]["queries"] += 1
    path.write_text(json.dumps(row))
    problems = rn.Leaderboard(copy).verify()
    assert len(problems) == 1
    assert path.name in problems[0]
    assert "changed after it was written" in problems[0]
    with pytest.raises(RowError, match=path.name):
        rn.Leaderboard(copy).rows()


def test_a_newer_schema_is_refused_by_name(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished / "out", tmp_path / "copy")
    path = min((copy / "rows").glob("*.json"))
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 99'))
    with pytest.raises(RowError, match="schema 99"):
        rn.Leaderboard(copy).rows()


def test_a_second_run_computes_nothing_and_changes_nothing(finished: Path) -> None:
    before = {p: p.read_bytes() for p in (finished / "out").rglob("*") if p.is_file()}
    again = robustnoise(finished / "cache", ["run", "board", "--output", "out"], finished)
    assert again.returncode == 0
    assert "train" not in again.stderr
    assert {p: p.read_bytes() for p in before} == before


def test_the_memory_bound_changes_no_record(finished: Path, tmp_path: Path) -> None:
    experiment = load_board(finished / "board").experiment()
    records = run(experiment, Store(tmp_path / "store"), memory=0)
    expected = rows_of(finished / "out")
    assert {f"{r.digest}.json" for r in records} == set(expected)
    for record in records:
        assert json.loads(json.dumps(record.outcome)) == expected[f"{record.digest}.json"][1]


def test_two_processes_give_the_same_rows(finished: Path, board: Path) -> None:
    done = robustnoise(board.parent / "cache", ["run", "board", "--output", "out", "--jobs", "2"], board.parent)
    assert done.returncode == 0, done.stderr
    assert rows_of(board.parent / "out") == rows_of(finished / "out")


def test_killed_at_random_moments_it_ends_in_the_same_rows(finished: Path, board: Path) -> None:
    cache, out = board.parent / "cache", board.parent / "out"
    arguments = ["run", "board", "--output", "out"]
    moments = random.Random(20240607)
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(
            command(*arguments), cwd=board.parent, env=environment(cache),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(timeout=moments.uniform(1.5, 4.0))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills, "the board finished before the first kill; make it longer"
    done = robustnoise(cache, arguments, board.parent)
    assert done.returncode == 0, done.stderr
    assert rows_of(out) == rows_of(finished / "out")
    assert list(Store(cache / "store").damaged()) == []


def test_ctrl_c_loses_nothing_and_says_so(board: Path) -> None:
    cache = board.parent / "cache"
    process = subprocess.Popen(
        command("run", "board"),
        cwd=board.parent,
        env=environment(cache),
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background lets them ignore Ctrl-C, and so would this child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - nothing else runs in the child
    )
    assert process.stderr is not None
    process.stderr.readline()  # the first finished piece of work
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in message
    assert "Traceback" not in message


def test_a_row_without_what_ranks_it_is_refused(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished / "out", tmp_path / "copy")
    path = min((copy / "rows").glob("*.json"))
    row = json.loads(path.read_text())
    del row["identity"]["setting"]["threat"]
    row["digest"] = digest_of(row["identity"])
    path.write_text(json.dumps(row))
    with pytest.raises(RowError, match="identity.setting.threat: field required"):
        rn.Leaderboard(copy).rows()


def test_padding_is_never_charged_as_queries(tmp_path: Path) -> None:
    plugin = tmp_path / "asker.py"
    plugin.write_text(ASKER)
    arguments = ["evaluate", "--defense", "plain-training(epochs=1)", "--undefended", "plain-training(epochs=1)"]
    arguments += ["--attack", "asker/ask", "--plugin", str(plugin), "--data", "digits", "--limit", "130"]
    done = robustnoise(tmp_path / "cache", [*arguments, "--model", "mlp(hidden=8)", "--json"], tmp_path)
    assert done.returncode == 0, done.stderr
    queries = {
        row["identity"]["attack"]["name"]: row["outcome"]["victim"]["queries"] for row in json.loads(done.stdout)
    }
    assert queries == {"null": 0, "attack": 130}


def test_plan_says_what_is_cached_and_missing(finished: Path, tmp_path: Path) -> None:
    experiment = load_board(finished / "board").experiment()
    assert sum(p.missing for p in plan(experiment, Store(finished / "cache" / "store"))) == 0
    fresh = {p.stage: p for p in plan(experiment, Store(tmp_path / "empty"))}
    assert fresh["train"].missing == 2  # noisy and its reference share one
    assert fresh["substitute"].missing == 1 + 3


def test_a_changed_protocol_is_not_ranked(finished: Path) -> None:
    changed = ["run", "board", "--output", "limited", "--limit", "40", "--set", "run.draws=2"]
    done = robustnoise(finished / "cache", changed, finished)
    assert done.returncode == 0, done.stderr
    frame = rn.Leaderboard(finished / "limited").to_frame()
    assert set(frame["n"]) == {40}
    assert not frame["ranked"].any()


def test_adding_a_row_twice_is_idempotent_and_another_outcome_is_a_conflict(finished: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    board = rn.Leaderboard(finished / "out")
    (tmp_path / "board.toml").write_bytes((finished / "out" / "board.toml").read_bytes())
    target = rn.Leaderboard(tmp_path)
    record = board.rows()[0]
    (first,) = target.add(record)
    content = first.read_bytes()
    assert target.add(record) == [first]
    assert first.read_bytes() == content
    with pytest.raises(RowError, match="another outcome"):
        target.add(replace(record, victim=replace(record.victim, queries=record.victim.queries + 1)))


@pytest.mark.parametrize("number", [28, 30])  # ENOSPC, EROFS
def test_a_full_disk_or_read_only_folder_is_one_clear_error(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import os

    experiment = load_board(finished / "board").experiment()

    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store_module.os, "fsync", fail)
    with pytest.raises(StoreError, match="can't write"):
        run(experiment, Store(tmp_path / "store"))
    assert not list((tmp_path / "store").rglob("*.tmp"))


def test_a_corrupted_cache_file_is_named_and_repaired(finished: Path) -> None:
    base = finished / "damaged"
    shutil.copytree(finished / "cache", base / "cache")
    shutil.copytree(finished / "board", base / "board")
    victim = max((base / "cache" / "store" / "objects").glob("*/*"), key=lambda p: p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    broken = robustnoise(base / "cache", ["run", "board"], base)
    assert broken.returncode == 2
    assert victim.name in broken.stderr
    assert "cache repair" in broken.stderr
    assert robustnoise(base / "cache", ["cache", "repair"], base).returncode == 0
    assert robustnoise(base / "cache", ["run", "board"], base).returncode == 0
    assert rows_of(base / "runs" / "tiny") == rows_of(finished / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("victims.noisy=pgd-trainin", "Did you mean 'pgd-training'"),
        ("threat.epsilon=0.1", "threat.epsilon: unknown key"),
        ("run.draw=3", "run.draw: unknown key. Did you mean 'draws'?"),
        ("threat.eps=8", "write 8/255"),
        ('threat.eps="8/2x"', "neither a number nor a fraction"),
        ("run.undefended=plane", "undefended = 'plane' is none of the victims. Did you mean 'plain'?"),
        ("data.train=100000", "digits"),
        ("attacks.shared=transfer(jacobian)", "'crafter' must be given"),
        ("run.draws=0", "run.draws"),
        ("victims.noisy=vote(3)", "trains nothing"),
        ("attacks.shared=transfer(" + "a(" * 3000, "nested too deeply"),
        ("data.overlap=2", "overlap"),
    ],
)
def test_bad_input_is_refused_before_any_work(board: Path, change: str, message: str) -> None:
    done = robustnoise(board.parent / "cache", ["run", "board", "--set", change], board.parent)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (board.parent / "runs").exists()
    assert not (board.parent / "cache" / "store").exists()


def test_two_nets_of_one_name_are_never_mixed(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished / "out", tmp_path / "out")
    changed = ["run", "board", "--output", str(copy), "--set", "victims.plain=plain-training(epochs=2)"]
    done = robustnoise(finished / "cache", changed, finished)
    assert done.returncode == 0, done.stderr
    frame = rn.Leaderboard(copy).to_frame()
    plain = frame[(frame.victim == "plain") & (frame.attack == "null")]
    assert sorted(plain["ranked"]) == [False, True]


def test_repair_removes_a_damaged_checkpoint(board: Path) -> None:
    partial = board.parent / "cache" / "store" / "partial" / "abc.safetensors"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"junk")
    assert robustnoise(board.parent / "cache", ["cache", "repair"], board.parent).returncode == 0
    assert not partial.exists()


def test_an_empty_board_says_what_to_do(board: Path) -> None:
    done = robustnoise(board.parent / "cache", ["board", "show", "board"], board.parent)
    assert done.returncode == 2
    assert "no rows yet" in done.stderr


def test_show_json_is_for_programs(finished: Path) -> None:
    done = robustnoise(finished / "cache", ["board", "show", "out", "--json"], finished)
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 12
    assert {"victim", "attack", "robust", "robust_low", "delta"} <= set(rows[0])


@pytest.fixture
def unsuspected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attacks of a board this small are often no stronger than random noise, which keeps their rows from ranking."""
    monkeypatch.setattr(rn.Leaderboard, "flags", lambda _, rows: {r.digest: () for r in rows})


@pytest.mark.usefixtures("unsuspected")
def test_every_victim_has_a_rank_in_the_order_of_its_worst_case(finished: Path) -> None:
    frame = rn.Leaderboard(finished / "out").to_frame()
    shared = frame[frame.attack == "shared"].sort_values("robust", ascending=False)
    assert shared["rank"].is_monotonic_increasing
    assert shared["rank"].min() == 1
    assert frame[frame.scope == "control"]["rank"].isna().all()


@pytest.mark.usefixtures("unsuspected")
def test_a_declared_contrast_is_measured_and_reported(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished / "out", tmp_path / "copy")
    with (copy / "board.toml").open("a") as file:
        file.write('[[contrasts]]\nvictim = "noisy"\nagainst = "plain"\non = "worst-shared"\n')
        file.write('[[contrasts]]\nvictim = "noisy"\nagainst = "plain"\non = "clean"\nmargin = 0.1\n')
    board = rn.Leaderboard(copy)
    robust, clean = board.contents().contrasts
    worst = {s.victim: s.shared.value for s in board.contents().summary if s.shared}
    assert robust.delta is not None
    assert robust.delta.estimate == pytest.approx(worst["noisy"] - worst["plain"])
    assert clean.delta is not None
    assert clean.delta.n == 150
    assert "## Declared contrasts" in board.report()
    assert board.to_json()["contrasts"][0]["finding"] == robust.finding


def test_compare_ends_in_one_sentence(finished: Path) -> None:
    arguments = [
        "compare", "plain-training(epochs=4)", "plain-training(epochs=4) | gaussian-input-noise(sigma=0.05)",
        "--data", "digits", "--model", "mlp(hidden=24)", "--eps", "1/10", "--limit", "100",
        "--attack", "transfer(independent(model=mlp(hidden=24)), fgsm)",
    ]  # fmt: skip
    done = robustnoise(finished / "cache", arguments, finished)
    assert done.returncode == 0, done.stderr
    assert "points [" in done.stdout.splitlines()[-1]
    assert "n = 100" in done.stdout.splitlines()[-1]
    # Few of 100 images tell the two apart: the sentence says so, and the table has the column.
    assert done.stdout.splitlines()[-1].endswith("a gain, but flagged TOO_FEW_IMAGES.")
    assert "RANDOMISED TOO_FEW_IMAGES" in " ".join(done.stdout.split())


def test_every_cell_says_how_it_was_computed(finished: Path) -> None:
    store = Store(finished / "cache" / "store")
    cells = [store.read_cell(path) for path in store.cells()]
    assert {cell.stage for cell in cells} == {"train", "substitute", "craft", "score", "agreement", "examples"}
    for cell in cells:
        assert {"seed", "threads", "device", "torch"} <= set(cell.inputs), cell.stage


def test_images_that_attacks_won_lie_beside_their_rows(finished: Path, tmp_path: Path) -> None:
    board = rn.Leaderboard(finished / "out")
    shown = board.examples(board.rows())
    assert {board.page_data()["rows"][i]["images"] is not None for i in range(12)} == {True, False}
    assert all((found.answer != found.label).all() for found in shown.values())
    target = shutil.copytree(finished / "board", tmp_path / "published")
    done = robustnoise(finished / "cache", ["board", "publish", "out", str(target)], finished)
    assert done.returncode == 0, done.stderr
    paths = sorted((target / "examples").glob("*.npz"))
    assert [path.stem for path in paths] == sorted(shown)
    assert rn.Leaderboard(target).verify() == []
    paths[0].rename(paths[1])
    (problem,) = rn.Leaderboard(target).verify()
    assert paths[1].name in problem
    assert f"belongs to the row {paths[0].stem}" in problem
    paths[1].rename(target / "examples" / "other.npz")
    (problem,) = rn.Leaderboard(target).verify()
    assert "other.npz: belongs to no row of the board" in problem
