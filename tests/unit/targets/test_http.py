"""Endpoints: what goes wrong on a network, what it costs, and that nothing paid for is lost."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from robustnoise.blocks import predict_blocks
from robustnoise.errors import BudgetExceeded, TargetFailed
from robustnoise.models.targets.exchange import Exchange, retry_after
from robustnoise.models.targets.probe import probe
from robustnoise.oracle import CountingOracle
from robustnoise.protocols import Context
from robustnoise.threat import Access, Linf, ThreatModel
from tests.unit.targets.server import NOISE, SHAPE, Endpoint, X, target, truth

pytest.importorskip("httpx")


@pytest.mark.parametrize("codec", ["json", "npy"])
@pytest.mark.parametrize("output", ["labels", "probabilities", "logits"])
def test_answers_come_through_unchanged(endpoint: Endpoint, tmp_path: Path, codec: str, output: str) -> None:
    logits = torch.from_numpy(truth(X.numpy()))
    made = {"labels": logits.argmax(1), "probabilities": logits.softmax(1), "logits": logits}
    endpoint.output = output
    endpoint.answer = lambda _: made[output].numpy()
    victim = target(endpoint, tmp_path, codec=codec, output=output)
    said = victim.predict(X, noise=NOISE)
    assert torch.equal(said.labels, logits.argmax(1))
    assert {"labels": True, "probabilities": said.scores is not None, "logits": said.logits is not None}[output]
    if output == "logits":
        assert said.logits is not None
        assert torch.equal(said.logits, logits)
    assert endpoint.rows == victim.charged == 7


ONCE = [
    "drop", "stall", "drip", "truncate", "huge", "status 429 0", "status 500", "status 503", "body ", "body nonsense",
    "body []", 'body {"logits": [[NaN, 0, 0]]}', 'body {"logits": [[0, 0]]}', 'body {"logits": [[1,2,3],[1]]}',
    'body {"logits": [["a","b","c"]]}', 'body {"logits": {"0": 1}}', 'body {"labels": [1]}',
    'body {"logits": [[1e999, 0, 0]]}', "body " + "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("trouble", ONCE)
def test_trouble_is_tried_again_and_every_sending_is_charged(endpoint: Endpoint, tmp_path: Path, trouble: str) -> None:
    endpoint.script = ["ok", trouble, trouble, "ok"]
    victim = target(endpoint, tmp_path, batch=3)
    said = victim.predict(X, noise=NOISE)
    assert said.logits is not None
    assert torch.equal(said.logits, torch.from_numpy(truth(X.numpy())))
    assert [n for _, n in endpoint.requests] == [3, 3, 3, 3, 1]
    assert victim.charged == endpoint.rows == 13


@pytest.mark.parametrize("trouble", ONCE)
def test_trouble_that_stays_stops_the_run_and_keeps_what_was_paid_for(
    endpoint: Endpoint, tmp_path: Path, trouble: str
) -> None:
    endpoint.script = ["ok", *[trouble] * 3]
    victim = target(endpoint, tmp_path, batch=3, retries=2)
    with pytest.raises(TargetFailed, match=r"no answer after 3 tries.*the same command goes on"):
        victim.predict(X, noise=NOISE)
    assert victim.charged == endpoint.rows == 12
    again = target(endpoint, tmp_path, batch=2)
    assert torch.equal(again.predict(X, noise=NOISE).labels, torch.from_numpy(truth(X.numpy())).argmax(1))
    assert endpoint.rows == again.charged == 12 + 4


def test_a_head_that_comes_byte_by_byte_has_no_longer_than_an_answer(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.script = ["ok", "drip head", "ok"]
    victim = target(endpoint, tmp_path, batch=3)
    started = time.monotonic()
    victim.predict(X, noise=NOISE)
    assert time.monotonic() - started < 5  # the head has 10 s
    assert victim.charged == endpoint.rows == 10


@pytest.mark.parametrize(("status", "words"), [(301, "redirects"), (307, "redirects"), (401, "401"), (404, "404")])
def test_redirects_and_refusals_stop_at_once(endpoint: Endpoint, tmp_path: Path, status: int, words: str) -> None:
    endpoint.script = [f"status {status}"]
    victim = target(endpoint, tmp_path)
    with pytest.raises(TargetFailed, match=words):
        victim.predict(X, noise=NOISE)
    assert endpoint.rows == victim.charged == 7


def test_a_wait_that_is_asked_for_is_kept_and_one_too_long_stops(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(Exchange, "sleep", lambda _, seconds: slept.append(seconds))
    monkeypatch.setattr("robustnoise.models.targets.http_target.FIRST_WAIT", 0.5)
    endpoint.script = ["status 429 7", "status 500", "status 500", "ok", "status 503 3600"]
    victim = target(endpoint, tmp_path)
    victim.predict(X[:1], noise=NOISE)
    assert slept == [7, 1.0, 2.0]
    with pytest.raises(TargetFailed, match="asks to wait 3600 s"):
        victim.predict(X[1:], noise=NOISE)


def test_retry_after_is_read_as_seconds_or_a_date() -> None:
    from datetime import UTC, datetime, timedelta
    from email.utils import format_datetime

    soon = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert soon is not None
    assert 55 < soon <= 60
    past = "Thu, 01 Jan 1970 00:00:00"
    assert [retry_after(t) for t in ("5", f"{past} GMT")] == [5, 0]
    assert [retry_after(t) for t in ("soon", "", None, f"{past} +{9**99}")] == [None] * 4


def test_requests_are_spaced(endpoint: Endpoint, tmp_path: Path) -> None:
    victim = target(endpoint, tmp_path, batch=1, requests_per_second=50)
    started = time.monotonic()
    victim.predict(X, noise=NOISE)
    assert time.monotonic() - started >= 6 / 50


def test_the_hard_budget_holds_over_runs_and_is_no_budget_of_the_attacker(endpoint: Endpoint, tmp_path: Path) -> None:
    victim = target(endpoint, tmp_path, batch=2, max_rows=5)
    with pytest.raises(TargetFailed, match="4 of max_rows = 5 are spent") as raised:
        victim.predict(X, noise=NOISE)
    # An attack that takes a spent budget for the end of its work must not take this for one.
    assert not isinstance(raised.value, BudgetExceeded)
    assert endpoint.rows == victim.charged == 4
    with pytest.raises(TargetFailed, match="max_rows"):
        target(endpoint, tmp_path, batch=2, max_rows=5).predict(X[4:], noise=NOISE)
    assert endpoint.rows == 4
    assert target(endpoint, tmp_path, max_rows=7).predict(X, noise=NOISE).labels.shape == (7,)
    assert endpoint.rows == 7


def test_without_a_connection_nothing_is_charged(tmp_path: Path, endpoint: Endpoint) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint.url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    victim = target(endpoint, tmp_path, retries=1)
    with pytest.raises(TargetFailed, match="no connection"):
        victim.predict(X, noise=NOISE)
    assert victim.charged == 0


def test_a_deterministic_target_is_asked_about_an_image_once(endpoint: Endpoint, tmp_path: Path) -> None:
    victim = target(endpoint, tmp_path)
    victim.predict(torch.cat([X, X]), noise=NOISE)
    victim.predict(X.flip(0), noise=NOISE.child("other"))
    assert endpoint.rows == victim.charged == 7


def test_a_stochastic_target_is_asked_once_in_each_stream(endpoint: Endpoint, tmp_path: Path) -> None:
    calls = iter(range(100))
    endpoint.answer = lambda x: truth(x) + next(calls)
    victim = target(endpoint, tmp_path, stochastic=True)
    twice = victim.predict(torch.cat([X[:1], X[:1]]), noise=NOISE)
    first = victim.predict(X, noise=NOISE.child(1))
    other = victim.predict(X, noise=NOISE.child(2))
    assert endpoint.rows == victim.charged == 16
    resumed = target(endpoint, tmp_path, stochastic=True)
    assert torch.equal(resumed.predict(X, noise=NOISE.child(1)).logits, first.logits)  # type: ignore[arg-type]
    assert torch.equal(resumed.predict(X, noise=NOISE.child(2)).logits, other.logits)  # type: ignore[arg-type]
    assert not torch.equal(first.logits, other.logits)  # type: ignore[arg-type]
    assert twice.logits is not None
    assert endpoint.rows == 16


def test_the_probe_asks_twice_and_is_paid_once(endpoint: Endpoint, tmp_path: Path) -> None:
    probe(target(endpoint, tmp_path), X)
    probe(target(endpoint, tmp_path), X)
    assert endpoint.rows == 8
    calls = iter(range(100))
    endpoint.answer = lambda x: truth(x) + next(calls)
    with pytest.raises(TargetFailed, match="declared deterministic"):
        probe(target(endpoint, tmp_path / "other", name="noisy"), X)


def test_behind_the_oracle_the_counts_agree_to_the_row(endpoint: Endpoint, tmp_path: Path) -> None:
    threat = ThreatModel(Linf(0.1).norm, 0.1, Access.LOGITS)
    victim = target(endpoint, tmp_path, stochastic=True)
    oracle = CountingOracle(victim, threat, NOISE, per_image=3)
    for n in (1, 7, 3):
        oracle.query(X[:n], torch.arange(n))
    many = torch.rand(130, *SHAPE, generator=NOISE.generator("many"))
    oracle.query(many, torch.arange(100, 230))
    assert endpoint.rows == victim.charged == oracle.spent == 141


def test_noise_and_votes_go_around_it(endpoint: Endpoint, tmp_path: Path) -> None:
    from robustnoise_defenses import GaussianInputNoise, Vote

    stack = (GaussianInputNoise(0.1) | Vote(3)).apply(target(endpoint, tmp_path), Context(seed=0))
    predict_blocks(stack, X, NOISE)
    assert endpoint.rows == 21


KILLED = """
import sys, torch, robustnoise as rn
from robustnoise.seeds import SeedStream
url, journal, shape, classes = sys.argv[1], sys.argv[2], (1, 2, 2), 3
victim = rn.models.from_http(url, name="toy 1", input_shape=shape, num_classes=classes, output="logits",
                             max_rows=1000, journal=journal, batch=1, timeout=20)
victim.predict(torch.rand(7, *shape, generator=SeedStream(0, ("http",)).generator("x")), noise=SeedStream(0))
"""


def test_a_killed_run_pays_again_only_for_what_was_under_way(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.answer = lambda x: (time.sleep(0.15), truth(x))[1]
    child = subprocess.Popen([sys.executable, "-c", KILLED, endpoint.url, str(tmp_path)])
    while endpoint.rows < 4:
        time.sleep(0.01)
    child.kill()
    child.wait()
    received = endpoint.rows
    endpoint.answer = truth
    victim = target(endpoint, tmp_path)
    assert victim.charged == received
    victim.predict(X, noise=NOISE)
    # At most the one row that was on its way is asked again.
    assert 7 <= endpoint.rows <= 8
    assert victim.charged == endpoint.rows


def test_several_processes_share_a_journal_and_its_budget(endpoint: Endpoint, tmp_path: Path) -> None:
    first, second = target(endpoint, tmp_path, max_rows=9), target(endpoint, tmp_path, max_rows=9)
    first.predict(X[:4], noise=NOISE)
    second.predict(X, noise=NOISE)
    assert endpoint.rows == 7
    first.predict(1 - X[:2], noise=NOISE)
    with pytest.raises(TargetFailed, match="9 of max_rows = 9"):
        second.predict(1 - X, noise=NOISE)
    assert pickle.loads(pickle.dumps(first)).charged == 9
