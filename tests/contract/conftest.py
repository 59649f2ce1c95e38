"""The stores and the engines that the contracts hold for, each opened on a fresh place."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambent.storage.sql import SqlStore
from tests.support.engine_stages import LocalStage, MemoryStage, Stage, local_stage, scripted_peer
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


@pytest.fixture(params=["memory", "scripted", "local"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    match request.param:
        case "memory":
            return MemoryStage()
        case "scripted":
            return LocalStage(tmp_path, scripted_peer(tmp_path), asyncio.new_event_loop)
        case _:
            return local_stage(tmp_path)
