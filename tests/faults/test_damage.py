"""Files cut off or changed, as a power cut or a bad disk leaves them: found, and made again or named; never used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.small_board import finish
from robustnoise.cli.caching import repair
from robustnoise.errors import CorruptArtifact, RobustnoiseError, RowError, StoreError
from robustnoise.leaderboard import Leaderboard
from robustnoise.rowfiles import read_row
from robustnoise.store import Store, atomic_write, cell_key
from tests.faults.conftest import Finished


def _flipped(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "short of a byte": lambda content: content[:-1],
    "a bit flipped": _flipped,
    "of zeros": lambda content: bytes(len(content)),  # a file system that has the length and not the data
}


def _files(root: Path) -> list[Path]:
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_any_file_of_the_store_is_found_when_it_is_read(finished: Finished, kind: str) -> None:
    store = finished.store
    cells = [store.read_cell(path) for path in store.cells()]
    used = {sha256: (cell, name) for cell in cells for name, sha256 in cell.outputs.items()}
    names = [name for name in _files(store.root) if name.parts[0] in ("cells", "objects")]  # less notes of costs
    assert len(names) == len(cells) + len(used)
    for name in names:
        path = store.root / name
        whole = path.read_bytes()
        path.write_bytes(DAMAGE[kind](whole))
        with pytest.raises(CorruptArtifact, match=path.name):
            if path.suffix == ".json":
                store.read_cell(path)
            else:
                store.read(*used[path.name])
        assert len(list(store.damaged())) >= 1
        path.write_bytes(whole)
    assert list(store.damaged()) == []


def _after_damage(finished: Finished, path: Path, kind: str) -> None:
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    try:
        assert finish(finished.folder, finished.store) == finished.outcomes
        repair()  # of what nobody asked for, such as the weights behind images that are there
    except RobustnoiseError as error:
        assert path.name in str(error)
        if finished.store.root in path.parents:
            repair()
        else:
            path.unlink()
    assert finish(finished.folder, finished.store) == finished.outcomes
    assert list(finished.store.damaged()) == []
    assert Leaderboard(finished.folder).examples(Leaderboard(finished.folder).rows())


@pytest.fixture
def repaired(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """For commands, the store of `finished`."""
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(finished.store.root.parent))
    return finished


@pytest.mark.parametrize("what", ["cells/train/*", "cells/score/*", "objects/*/*", "rows/*", "examples/*"])
def test_a_run_over_a_damaged_file_ends_in_the_same_rows_or_names_it(repaired: Finished, what: str) -> None:
    kind = list(DAMAGE)[len(what) % len(DAMAGE)]
    base = repaired.store.root if what.startswith(("cells", "objects")) else repaired.folder
    _after_damage(repaired, min(base.glob(what)), kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_run_over_any_damaged_file_ends_in_the_same_rows_or_names_it(repaired: Finished, kind: str) -> None:
    for base in (repaired.store.root, repaired.folder):
        for name in _files(base):
            if name.name != "board.toml":
                _after_damage(repaired, base / name, kind)


def test_a_damaged_object_without_a_cell_is_written_anew(finished: Finished, tmp_path: Path) -> None:
    store = Store(tmp_path / "other")
    cell = store.put("score", {"n": 1}, {"a": b"one"})
    store.cell_path("score", cell.key).unlink()  # what a power cut between the two files leaves
    store.object_path(cell.outputs["a"]).write_bytes(b"on")
    again = store.put("score", {"n": 1}, {"a": b"one"})
    assert store.read(again, "a") == b"one"


def test_a_record_under_the_name_of_another_cell_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = (store.put("score", {"n": n}, {}, {"found": n}) for n in (1, 2))
    shutil.copy(store.cell_path("score", first.key), store.cell_path("score", second.key))
    with pytest.raises(CorruptArtifact, match=f"record of the cell score {first.key}"):
        store.get("score", {"n": 2})


def test_a_record_can_name_no_file_outside_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustnoise.spec import canonical_json, digest_of

    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path))
    store, outside = Store(tmp_path / "store"), tmp_path / "kept"
    outside.write_bytes(b"mine")
    body = {"schema": 1, "stage": "score", "key": cell_key("score", {}), "inputs": {}, "facts": {}}
    body["outputs"] = {"a": "../../../kept"}
    body["sha256"] = digest_of(body)
    atomic_write(store.cell_path("score", str(body["key"])), canonical_json(body).encode())
    with pytest.raises(CorruptArtifact, match="named by hashes"):
        store.get("score", {})
    repair()
    assert outside.read_bytes() == b"mine"
    assert store.get("score", {}) is None


def test_a_record_nested_without_end_is_damage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    atomic_write(store.cell_path("score", cell_key("score", {})), b"[" * 100_000)
    with pytest.raises(CorruptArtifact):
        store.get("score", {})


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_what_cannot_be_read_now_is_no_damage_and_is_not_removed(
    repaired: Finished, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    store = repaired.store
    files = _files(store.root)

    def fail(_: Path) -> bytes:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        for call in (lambda: list(store.damaged()), repair, lambda: store.read_cell(next(store.cells()))):
            with pytest.raises(StoreError, match=str(error.strerror)) as caught:
                call()
            assert not isinstance(caught.value, CorruptArtifact)
    assert _files(store.root) == files


def test_every_damaged_row_is_refused_by_name(finished: Finished) -> None:
    board = Leaderboard(finished.folder)
    for path in sorted((finished.folder / "rows").glob("*.json")):
        whole, record = path.read_bytes(), read_row(path)
        for change in DAMAGE.values():
            path.write_bytes(change(whole))
            with pytest.raises(RowError, match=path.name):
                board.add(record)
            assert any(path.name in line for line in board.verify())
        path.write_bytes(whole)
