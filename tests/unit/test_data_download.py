"""Downloads from a server on the loopback interface: whole, broken off, wrong, from the second mirror, not at all."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from robustnoise.data import cifar, idx, locate
from robustnoise.data.download import fetch
from robustnoise.data.source_kinds import CifarSource, IdxSource
from robustnoise.errors import CorruptArtifact, DataUnavailable, StoreError


@dataclass
class Site:
    """What the server answers: path -> (status, bytes sent, Content-Length or None); and what it was asked."""

    address: str
    pages: dict[str, tuple[int, bytes, int | None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, path: str, content: bytes, *, declared: int | None = None) -> None:
        self.pages[path] = (200, content, len(content) if declared is None else declared)


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            status, content, length = found.pages.get(self.path, (404, b"", 0))
            self.send_response(status)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test's output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Site(f"http://127.0.0.1:{server.server_address[1]}/")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def gone() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ROBUSTNOISE_DATA", raising=False)
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(locate, "SYSTEM_ROOTS", ())
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "cache" / "datasets"


def check_content(path: Path) -> None:
    if path.read_bytes() != b"content":
        raise idx.corrupt(path, "it differs")


def get(folder: Path, *mirrors: str, limit: int = 100) -> Path:
    return fetch(
        "a.gz", mirrors=mirrors, folder=folder, limit=limit, check=check_content, advice="Do this", progress=True
    )


def test_whole_download(site: Site, tmp_path: Path) -> None:
    site.put("/a.gz", b"content")
    path = get(tmp_path / "deep" / "folder", site.address)
    assert path == tmp_path / "deep" / "folder" / "a.gz"
    assert path.read_bytes() == b"content"
    assert [p.name for p in path.parent.iterdir()] == ["a.gz"]


def test_download_of_undeclared_length(site: Site, tmp_path: Path) -> None:
    site.pages["/a.gz"] = (200, b"content", None)
    assert get(tmp_path, site.address).read_bytes() == b"content"


def test_second_mirror_is_used_when_the_first_is_gone_or_wrong(site: Site, gone: str, tmp_path: Path) -> None:
    site.put("/wrong/a.gz", b"<html>")
    site.put("/right/a.gz", b"content")
    path = get(tmp_path, gone, f"{site.address}wrong/", f"{site.address}right/", f"{site.address}never/")
    assert path.read_bytes() == b"content"
    assert site.asked == ["/wrong/a.gz", "/right/a.gz"]


@pytest.mark.parametrize(
    ("content", "declared", "message"),
    [
        (b"cont", 7, "IncompleteRead"),
        (b"", 7, "IncompleteRead"),
        (b"Content", 7, "a.gz is not the canonical file: it differs"),
        (b"content" * 100, 700, "sends more than the file can hold"),
        (None, 0, "404 Client Error"),
    ],
)
def test_failed_download_leaves_nothing(
    site: Site, tmp_path: Path, content: bytes | None, declared: int, message: str
) -> None:
    if content is not None:
        site.put("/a.gz", content, declared=declared)
    with pytest.raises(DataUnavailable, match=message) as caught:
        get(tmp_path, site.address)
    assert str(caught.value).startswith(f"can't download a.gz. Tried {site.address}: ")
    assert str(caught.value).endswith(". Do this")
    assert ".part" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_failed_download_keeps_what_was_there(gone: str, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"old")
    with pytest.raises(DataUnavailable):
        get(tmp_path, gone)
    assert (tmp_path / "a.gz").read_bytes() == b"old"


def test_unwritable_cache(tmp_path: Path, site: Site) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"can't write to the cache folder .*ROBUSTNOISE_CACHE"):
        get(tmp_path / "file" / "folder", site.address)
    assert site.asked == []


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bar_is_drawn_on_a_terminal_only(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    site.put("/a.gz", b"content")
    # What rich reads to decide; without it a captured stream is no terminal.
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    monkeypatch.delenv("NO_COLOR" if terminal else "FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    get(tmp_path, site.address)
    output = capsys.readouterr()
    assert output.out == ""
    assert ("a.gz" in output.err) == terminal
    if terminal:
        assert "7/7 bytes" in output.err


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


ARRAYS = {
    "train-images-idx3-ubyte": np.arange(6 * 9).reshape(6, 3, 3),
    "train-labels-idx1-ubyte": np.arange(6),
    "t10k-images-idx3-ubyte": np.arange(4 * 9).reshape(4, 3, 3) + 100,
    "t10k-labels-idx1-ubyte": np.arange(4) + 6,
}


def tiny_idx(*mirrors: str) -> IdxSource:
    a, b, c, d = (
        idx.IdxFile(name, array.shape, hashlib.sha256(idx_bytes(array)).hexdigest()) for name, array in ARRAYS.items()
    )
    return IdxSource("tiny", files=(a, b, c, d), mirrors=mirrors, flat=True, clash="twin", origin="", note="")


def test_source_is_downloaded_once(site: Site, cache: Path) -> None:
    for name, array in ARRAYS.items():
        site.put(f"/{name}.gz", gzip.compress(idx_bytes(array), mtime=0))
    source = tiny_idx(site.address)
    assert source.state(None) == "needs download"
    pool = source.load(None, progress=False)
    assert source.state(None) == "ready"
    assert {p.name for p in (cache / "tiny").iterdir()} == {f"{name}.gz" for name in ARRAYS}
    assert pool.images.shape == (10, 1, 3, 3)
    assert pool.labels.tolist() == list(range(10))
    assert pool.evaluation_ids is not None
    assert pool.evaluation_ids.tolist() == [6, 7, 8, 9]
    assert pool.images[6, 0, 0, 0] == 100
    assert source.load(None, progress=False).digest == pool.digest
    assert len(site.asked) == 4


def test_server_that_unpacks_gives_the_same(site: Site) -> None:
    for name, array in ARRAYS.items():
        site.put(f"/{name}.gz", idx_bytes(array))
    assert len(tiny_idx(site.address).load(None, progress=False)) == 10


def test_no_network_says_which_files_to_put_where(gone: str, cache: Path, tmp_path: Path) -> None:
    have = tmp_path / "data" / "tiny"
    have.mkdir(parents=True)
    (have / "train-labels-idx1-ubyte").write_bytes(idx_bytes(ARRAYS["train-labels-idx1-ubyte"]))
    with pytest.raises(DataUnavailable, match="Connection refused") as caught:
        tiny_idx(gone).load(tmp_path / "data", progress=False)
    message = str(caught.value)
    assert str(cache / "tiny") in message
    assert "ROBUSTNOISE_DATA" in message
    assert "train-images-idx3-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz into" in message
    assert "train-labels" not in message


def test_wrong_file_in_the_cache_is_never_replaced(site: Site, cache: Path) -> None:
    for name, array in ARRAYS.items():
        site.put(f"/{name}.gz", idx_bytes(array))
    source = tiny_idx(site.address)
    source.load(None, progress=False)
    wrong = cache / "tiny" / "t10k-labels-idx1-ubyte.gz"
    wrong.write_bytes(b"rotten")
    site.asked.clear()
    with pytest.raises(CorruptArtifact, match=r"t10k-labels-idx1-ubyte.gz is not the canonical file.*Delete it"):
        source.load(None, progress=False)
    assert wrong.read_bytes() == b"rotten"
    assert site.asked == []
    wrong.unlink()
    assert len(source.load(None, progress=False)) == 10


def test_archive_is_downloaded_and_verified(site: Site, gone: str, cache: Path, tmp_path: Path) -> None:
    import io
    import tarfile

    batches = {name: bytes([3]) + bytes([i]) * 3072 for i, name in enumerate(["data_batch_1.bin", "test_batch.bin"])}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in batches.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    files = tuple(cifar.CifarFile(name, 1, hashlib.sha256(content).hexdigest()) for name, content in batches.items())

    def source(mirror: str) -> CifarSource:
        return CifarSource("tiny10", files=files, mirrors=(mirror,), origin="", note="")

    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataUnavailable, match=r"cifar-10-batches-py is the python version, a pickle") as caught:
        source(gone).load(tmp_path, progress=False)
    assert str(cache / "tiny10") in str(caught.value)
    assert "cifar-10-binary.tar.gz" in str(caught.value)
    site.put("/cifar-10-binary.tar.gz", buffer.getvalue()[:-40])
    with pytest.raises(DataUnavailable, match=r"damaged tar.gz archive"):
        source(site.address).load(None, progress=False)
    assert list((cache / "tiny10").iterdir()) == []
    site.put("/cifar-10-binary.tar.gz", buffer.getvalue())
    pool = source(site.address).load(None, progress=False)
    assert pool.images.shape == (2, 3, 32, 32)
    assert pool.evaluation_ids is not None
    assert pool.evaluation_ids.tolist() == [1]
    assert source(gone).load(None, progress=False).digest == pool.digest
