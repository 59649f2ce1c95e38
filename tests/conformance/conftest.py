"""A server for each module, and what its foreign clients leave behind.

They leave connections open whose answers were not read to the end, in cycles. What collects them later would
warn in the middle of another test. So each module collects its own.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import RunningServer

UNCLOSED = "ignore:unclosed <socket:ResourceWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Their sockets are not ours to close."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(UNCLOSED))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One for all tests of a module; a module that wants another one has a fixture of this name."""
    running = RunningServer(tmp_path_factory.mktemp("server") / "state").start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module", autouse=True)
def foreign_connections_are_collected() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
