"""Whole files or none; damage is found and named; the same content is the same bytes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from robustnoise.cli import caching
from robustnoise.errors import CorruptArtifact, StoreError
from robustnoise.store import Store, atomic_write, cell_key, pack_arrays, unpack_arrays

INPUTS = {"seed": 3, "data": "abc", "eps": 0.3}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def _files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_put_get_and_reread(store: Store) -> None:
    assert store.get("score", INPUTS) is None
    written = store.put("score", INPUTS, {"a": b"one", "b": b"two"}, {"n": 7, "share": 0.1})
    found = Store(store.root).get("score", INPUTS)
    assert found == written
    assert found is not None
    assert (store.read(found, "a"), store.read(found, "b")) == (b"one", b"two")
    assert found.facts == {"n": 7, "share": 0.1}
    assert list(store.cells()) == [store.cell_path("score", written.key)]
    assert list(store.damaged()) == []
    assert list(store.leftovers()) == []


def test_putting_twice_changes_nothing(store: Store) -> None:
    store.put("score", INPUTS, {"a": b"one"})
    before = {p: p.read_bytes() for p in store.root.rglob("*") if p.is_file()}
    store.put("score", INPUTS, {"a": b"one"})
    assert {p: p.read_bytes() for p in store.root.rglob("*") if p.is_file()} == before


def test_a_key_depends_on_stage_and_every_input_but_not_on_their_order() -> None:
    key = cell_key("score", INPUTS)
    assert key == cell_key("score", dict(reversed(INPUTS.items())))
    others = [cell_key("craft", INPUTS), *(cell_key("score", {**INPUTS, name: "other"}) for name in INPUTS)]
    assert len({key, *others}) == 1 + len(others)


def test_a_changed_object_is_named(store: Store) -> None:
    cell = store.put("score", INPUTS, {"a": b"one"})
    path = store.object_path(cell.outputs["a"])
    path.write_bytes(b"onf")
    with pytest.raises(CorruptArtifact, match="cache repair") as caught:
        store.read(cell, "a")
    assert str(path) in str(caught.value)
    ((where, reason),) = store.damaged()
    assert where == store.cell_path("score", cell.key)
    assert str(path) in reason


def test_an_absent_object_is_named(store: Store) -> None:
    cell = store.put("score", INPUTS, {"a": b"one"})
    path = store.object_path(cell.outputs["a"])
    path.unlink()
    with pytest.raises(CorruptArtifact, match="cache repair") as caught:
        store.read(cell, "a")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": 1}', b'{"sha256": "00", "schema": 1}']
)
def test_a_damaged_record_is_named(store: Store, content: bytes) -> None:
    cell = store.put("score", INPUTS, {"a": b"one"})
    path = store.cell_path("score", cell.key)
    path.write_bytes(content)
    with pytest.raises(CorruptArtifact, match="cache repair") as caught:
        store.get("score", INPUTS)
    assert str(path) in str(caught.value)
    ((where, _),) = store.damaged()
    assert where == path


def test_every_single_changed_byte_of_a_record_is_found(store: Store) -> None:
    cell = store.put("score", INPUTS, {"a": b"one"}, {"n": 7})
    path = store.cell_path("score", cell.key)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CorruptArtifact):
            store.get("score", INPUTS)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    path = tmp_path / "row.json"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
    with pytest.raises(StoreError, match=os.strerror(number)) as caught:
        atomic_write(path, b"new")
    assert str(path) in str(caught.value)
    assert not isinstance(caught.value, CorruptArtifact)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert _files(tmp_path) == ["row.json"]


def test_a_disk_that_fails_under_the_record_leaves_no_cell(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StoreError):
        store.put("score", INPUTS, {"a": b"one"})
    monkeypatch.undo()
    assert store.get("score", INPUTS) is None
    assert [p.read_bytes() for p in store.leftovers()] == [b"one"]
    cell = store.put("score", INPUTS, {"a": b"one"})
    assert store.read(cell, "a") == b"one"
    assert list(store.leftovers()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "row.json", b"new")
    monkeypatch.undo()
    assert _files(tmp_path) == []


def test_a_killed_writer_s_temporary_file_is_a_leftover(store: Store) -> None:
    cell = store.put("score", INPUTS, {"a": b"one"})
    orphan = store.cell_path("score", cell.key).with_name(".x.json.1-ab.tmp")
    orphan.write_bytes(b"half")
    assert list(store.leftovers()) == [orphan]


def test_packed_arrays_are_the_same_bytes_in_any_order() -> None:
    a, b = np.arange(12, dtype=np.uint8).reshape(3, 4), np.linspace(0, 1, 5, dtype=np.float32)
    content = pack_arrays({"a": a, "b": b})
    assert content == pack_arrays({"b": b, "a": np.asfortranarray(a)})
    assert content != pack_arrays({"a": a, "b": b + 1})
    found = unpack_arrays(content)
    assert sorted(found) == ["a", "b"]
    assert found["a"].dtype == np.uint8
    np.testing.assert_array_equal(found["a"], a)
    np.testing.assert_array_equal(found["b"], b)


def test_no_pickle_on_the_way_in_or_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        pack_arrays({"a": np.array([object()], dtype=object)})
    np.savez(tmp_path / "bad.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        unpack_arrays((tmp_path / "bad.npz").read_bytes())


def test_repair_keeps_what_a_damaged_cell_shares_with_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path))
    store = caching.open_store()
    damaged = store.put("substitute", {"n": 2}, {"weights": b"shared", "weights-1": b"own"})
    store.put("substitute", {"n": 1}, {"weights": b"shared"})
    store.object_path(damaged.outputs["weights-1"]).write_bytes(b"else")
    caching.repair()
    assert store.get("substitute", {"n": 2}) is None
    whole = store.get("substitute", {"n": 1})
    assert whole is not None
    assert store.read(whole, "weights") == b"shared"
    assert [*store.damaged(), *store.leftovers()] == []


def test_a_store_that_is_a_link_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path))
    store = caching.open_store()
    (tmp_path / "disk").mkdir()
    store.root.symlink_to(tmp_path / "disk")
    store.put("train", {"a": 1}, {"weights": b"x"})
    caching.clear(yes=True)
    assert list((tmp_path / "disk").iterdir()) == []
    store.put("train", {"a": 1}, {"weights": b"x"})


def test_what_cannot_be_deleted_is_not_called_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path))
    caching.open_store().put("train", {"a": 1}, {"weights": b"x"})

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StoreError, match="can't delete .*Permission denied"):
        caching.clear(yes=True)
    assert "deleted" not in capsys.readouterr().out
