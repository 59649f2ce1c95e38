"""A store that takes nothing for a while: what has run is not run again for it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from lambent.core.invocation import Invocation, Outcome
from lambent.storage.sql import SqlStore
from lambent.storage.sql_database import Database
from lambent.storage.tickets import TicketState
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
