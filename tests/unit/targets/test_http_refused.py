"""Endpoints: secrets that are told to nobody, and what is refused before it is charged."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from robustnoise.errors import BadParameter, TargetFailed
from tests.unit.targets.server import NOISE, Endpoint, X, target

pytest.importorskip("httpx")


def test_the_credential_is_sent_and_is_nowhere_else(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_TOKEN", "Bearer s3cret")
    caplog.set_level("DEBUG")
    victim = target(endpoint, tmp_path, auth_env="MY_TOKEN", retries=0)
    without = target(endpoint, tmp_path)
    assert victim.digest == without.digest
    victim.predict(X, noise=NOISE)
    assert endpoint.requests[0][0]["Authorization"] == "Bearer s3cret"
    endpoint.script = ["drop"]
    with pytest.raises(TargetFailed) as raised:
        victim.predict(1 - X, noise=NOISE)
    assert "s3cret" not in str(raised.value)
    assert "s3cret" not in (tmp_path / f"{victim.digest[:16]}.jsonl").read_text()
    assert b"s3cret" not in pickle.dumps(victim)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("value", ["", "Bearer a\r\nX: 1", "schlüssel", " s3cret"])
def test_an_unfit_credential_is_refused_before_anything_is_charged(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MY_TOKEN", value)
    victim = target(endpoint, tmp_path, auth_env="MY_TOKEN")
    with pytest.raises(BadParameter, match="MY_TOKEN") as raised:
        victim.predict(X, noise=NOISE)
    assert not value or value not in str(raised.value)
    assert endpoint.rows == victim.charged == 0


@pytest.mark.parametrize(
    "url",
    ["http://user:s3cret@localhost/", "http://s3cret@localhost/", "https://localhost/?key=s3cret", "http://localhost/#s3cret",
     "file:///etc/s3cret", "ftp://localhost/s3cret", "http:///s3cret", "http://[s3cret", "http://a:99999/s3cret",
     "http://localhost/s3cret\r\nX: 1", "http://☃/s3cret", "//localhost/s3cret"],
)  # fmt: skip
def test_other_addresses_are_refused_and_not_repeated(endpoint: Endpoint, tmp_path: Path, url: str) -> None:
    endpoint.url = url
    with pytest.raises(BadParameter, match="address of the HTTP target") as raised:
        target(endpoint, tmp_path)
    assert "s3cret" not in str(raised.value)


def test_proxies_of_the_environment_are_not_used(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    target(endpoint, tmp_path, retries=0).predict(X, noise=NOISE)
    assert endpoint.rows == 7


def test_a_request_that_is_too_large_is_refused_before_it_is_charged(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustnoise.models.targets.exchange.REQUEST_LIMIT", 100)
    victim = target(endpoint, tmp_path)
    with pytest.raises(BadParameter, match="smaller batch"):
        victim.predict(X, noise=NOISE)
    assert endpoint.rows == victim.charged == 0


@pytest.mark.parametrize(
    "changes",
    [{"max_rows": -1}, {"max_rows": True}, {"batch": 0}, {"retries": -1}, {"timeout": 0}, {"timeout": float("nan")},
     {"requests_per_second": -1}, {"codec": "pickle"}, {"output": "scores"}, {"auth_env": "Bearer abc"},
     {"auth_header": "a b"}, {"auth_env": 5}, {"name": ""}, {"num_classes": 1}, {"input_shape": (2, 2)}],
)  # fmt: skip
def test_wrong_options_are_refused(endpoint: Endpoint, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        target(endpoint, tmp_path, **changes)
