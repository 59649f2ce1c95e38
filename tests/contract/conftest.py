"""The stores that the contract holds for, each opened on a fresh place."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambent.storage.sql import SqlStore
from tests.support.virtual_time import ManualClock

Open = Callable[[], SqlStore]


@pytest.fixture(params=["sqlite"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"sqlite": f"sqlite:///{tmp_path / 'lambent.db'}"}[request.param]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def reopen(location: str, clock: ManualClock) -> Iterator[Open]:
    """Opens the store, as often as asked: what was acknowledged must be there each time."""
    opened: list[SqlStore] = []

    def once_more() -> SqlStore:
        opened.append(SqlStore.open(location, clock))
        return opened[-1]

    yield once_more
    for store in opened:
        store.close()


@pytest.fixture
def store(reopen: Open) -> SqlStore:
    return reopen()
