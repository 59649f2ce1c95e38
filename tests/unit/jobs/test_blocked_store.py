"""A store that takes nothing for a while: what has run is not run again for it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from lambent.core.errors import StorageFull
from lambent.core.invocation import Invocation, Outcome
from lambent.storage.sql import SqlStore
from lambent.storage.sql_database import Database
from lambent.storage.tickets import Ticket, TicketState
from tests.support.virtual_time import ManualClock, run
from tests.unit.jobs.durable import open_store, outcome, working


def test_what_was_run_is_not_run_again_while_the_store_takes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_store(tmp_path).close()
    impatient = SqlStore(Database(tmp_path / "lambent.db", busy_timeout_ms=20), ManualClock())
    other = sqlite3.connect(tmp_path / "lambent.db", isolation_level=None)

    async def invoke(_: Invocation) -> Outcome:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(5, other.rollback)
        return outcome(body=b'"once"')

    async def story() -> None:
        async with working(impatient, invoke) as house:
            [ticket] = await house.ended(await house.accept())
        assert (ticket.state, ticket.attempts, ticket.result) == (TicketState.SUCCEEDED, 1, b'"once"')

    run(story())
    impatient.close()
    other.close()
    assert "not_stored" in caplog.messages


@pytest.mark.parametrize("seed", range(3))
def test_what_was_found_in_memory_is_run_although_the_store_could_not_be_read_for_more(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    due, chance = store.tickets.due, random.Random(seed)

    def at_times(
        project: str, deployment: str, *, now_unix_ms: int, limit: int, bytes_max: int
    ) -> Sequence[Ticket]:
        if chance.random() < 0.5:
            raise StorageFull("the disk is busy")
        return due(project, deployment, now_unix_ms=now_unix_ms, limit=limit, bytes_max=bytes_max)

    monkeypatch.setattr(store.tickets, "due", at_times)

    async def invoke(_: Invocation) -> Outcome:
        await asyncio.sleep(chance.randrange(1, 4) / 10)  # some places become free at once
        return outcome()

    async def story() -> None:
        async with working(store, invoke) as house:
            house.deploy(async_running_max=4)
            tickets = [await house.accept() for _ in range(100)]
            await asyncio.sleep(200)
            ended = [await house.find(ticket) for ticket in tickets]
            assert {one.state for one in ended} == {TicketState.SUCCEEDED}

    run(story())
