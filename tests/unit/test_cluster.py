"""Where a cluster is looked for, without Ray."""

from __future__ import annotations

import socket

import pytest

from robustnoise.harness.executors.cluster import knock


def test_an_address_that_listens_is_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        knock(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("address", ["", "auto", "local", "ray://127.0.0.1:1", "127.0.0.1", "FIRST:port"])
def test_other_addresses_are_left_to_ray(address: str) -> None:
    knock(address)


@pytest.mark.parametrize("port", [1, 65536, 10**30])
def test_an_address_where_nobody_listens_is_refused_at_once(port: int) -> None:
    with pytest.raises(ConnectionError, match=f"127.0.0.1:{port}: "):
        knock(f"127.0.0.1:{port}")
