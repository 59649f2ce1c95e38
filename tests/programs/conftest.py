"""One server for a whole file of tests, as in `tests/e2e`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import RunningServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A running server with a fresh state directory."""
    running = RunningServer(tmp_path_factory.mktemp("state")).start()
    yield running
    assert running.stop() == 0, running.log()
