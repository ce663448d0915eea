"""A credential of an endpoint goes to the endpoint and nowhere else, whatever goes wrong on the way."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import robustnoise
from tests.unit.targets.server import serving

pytest.importorskip("httpx")
SECRET = "s3cr3t-0f-the-endpoint"
FORMS = [SECRET, SECRET[::-1], base64.b64encode(SECRET.encode()).decode(), SECRET.encode().hex(), SECRET[4:16]]
BOARD = """
schema = 1
name = "paid"
[data]
name = "digits"
train = 50
attacker = 20
validation = 10
evaluation = 20
[threat]
norm = "linf"
eps = 0.2
access = "logits"
[run]
threads = 1
[victims.paid]
target = "{url}"
[victims.paid.options]
name = "theirs 1"
output = "logits"
max_rows = {rows}
batch = 10
retries = 0
auth_env = "ROBUSTNOISE_AUTH_THEIRS"
[attacks]
null = "null"
random-noise = "random-noise"
"""


def logits(x: np.ndarray) -> np.ndarray:
    """Ten numbers an image."""
    return x.reshape(len(x), -1)[:, :10].astype(np.float32)


@pytest.mark.parametrize("trouble", ["none", "status 401", "status 500", "drop", "body nonsense", "too few rows"])
def test_the_credential_is_in_nothing_that_is_written_or_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ROBUSTNOISE_AUTH_THEIRS", f"Bearer {SECRET}")
    (tmp_path / "board").mkdir()
    with serving() as endpoint:
        endpoint.answer = logits
        if trouble not in ("none", "too few rows"):
            endpoint.script = [*["ok"] * 2, *[trouble] * 50]
        rows = 5 if trouble == "too few rows" else 10_000
        (tmp_path / "board" / "board.toml").write_text(BOARD.format(url=endpoint.url, rows=rows))
        said = []
        for arguments in (
            ["run", "board", "--output", "out"], ["board", "page", "out", "--output", "page.html"],
            ["board", "show", "out", "--json"], ["board", "verify", "out"], ["cache", "list"],
        ):  # fmt: skip
            done = robustnoise(tmp_path / "cache", arguments, tmp_path)
            said += [done.stdout, done.stderr]
            if arguments[0] == "run":
                assert (done.returncode == 0) == (trouble == "none"), done.stderr
        if trouble != "too few rows":
            assert any(SECRET in json.dumps(headers) for headers, _ in endpoint.requests)  # it was sent
    said.append(caplog.text)
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) >= 3
    for form in FORMS:
        assert not any(form in text for text in said)
        for path in written:
            assert form.encode() not in path.read_bytes(), path
            assert form not in path.name
