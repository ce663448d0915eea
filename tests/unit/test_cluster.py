"""Where a cluster is looked for, without Ray."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import cast

import pytest

from robustnoise.errors import BadParameter
from robustnoise.harness.executors.cluster import RayCluster, knock
from robustnoise.harness.executors.job import Job


def test_an_address_that_listens_is_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        knock(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("address", ["", "auto", "local", "ray://127.0.0.1:1", "127.0.0.1", "FIRST:port", ":6379"])
def test_other_addresses_are_left_to_ray(address: str) -> None:
    knock(address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:65536", f"127.0.0.1:{10**30}", "a..b:1"])
def test_an_address_where_nobody_listens_is_refused_at_once(address: str) -> None:
    with pytest.raises(ConnectionError, match=f"{address}: "):
        knock(address)


def test_ray_isnt_asked_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    workers = RayCluster().workers(cast(Job, None))  # it isn't looked at before somebody answers
    with pytest.raises(BadParameter, match=r"no Ray cluster answers: 127\.0\.0\.1:1.*unset it"), workers:
        pass
