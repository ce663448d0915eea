"""An endpoint for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.targets.server import Endpoint, serving


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr("robustnoise.models.targets.http_target.FIRST_WAIT", 0.001)
    with serving() as found:
        yield found
