"""Asynchronous invocations: accepted on disk, run at least once, never dropped without a cause."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from lambent.clock import SystemClock
from lambent.core.errors import Draining, HoldExpired, LambentError, LoadFailed, QueueFull
from lambent.core.invocation import FunctionError, Invocation, Outcome, Status, Timing, new_id
from lambent.core.retrying import RetryPolicy
from lambent.core.spec import Temperature
from lambent.jobs.queue import AsyncQueue
from lambent.storage.base import Ticket, TicketState
from lambent.storage.sql import SqlStore
from lambent.storage.sql_database import Database
from tests.support.patience import PATIENT_S

QUICK = RetryPolicy(attempts_max=3, first_s=0.01, factor=1.0, cap_s=0.01, age_max_s=60)
RUNNING_MAX = 4
FINAL = (TicketState.SUCCEEDED, TicketState.DEAD)

Invoke = Callable[[Invocation], Awaitable[Outcome]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore.open(tmp_path / "lambent.db", SystemClock())
    yield opened
    opened.close()


def outcome(status: Status = Status.OK, body: bytes = b"1") -> Outcome:
    return Outcome(
        status=status,
        body=body,
        content_type="application/json",
        revision="r",
        temperature=Temperature.HOT,
        timing=Timing(),
        billed_ms=1,
        error=None if status is Status.OK else FunctionError("it broke", "ValueError"),
    )


def invocation() -> Invocation:
    return Invocation(id=new_id(), project="default", deployment="f", body=b"{}")


async def through(
    store: SqlStore, invoke: Invoke, count: int = 1, *, accepted: list[Ticket] | None = None
) -> list[Ticket]:
    """Accept `count` invocations, run the queue until all are final, and return their tickets."""

    class Over(Exception):
        pass

    ended: list[Ticket] = []
    try:
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(PATIENT_S):
            queue = AsyncQueue(
                store.tickets, invoke, SystemClock(), tasks, running_max=RUNNING_MAX, retry=QUICK
            )
            await queue.restore()
            waiting = accepted or [await queue.accept(invocation()) for _ in range(count)]
            assert all(ticket.state is TicketState.QUEUED for ticket in waiting)
            tasks.create_task(queue.run())
            while len(ended) < len(waiting):
                found = [await queue.find("default", ticket.id) for ticket in waiting]
                ended = [ticket for ticket in found if ticket is not None and ticket.state in FINAL]
                await asyncio.sleep(0.01)
            raise Over
    except* Over:
        pass
    return ended


def test_what_is_accepted_is_run_once_and_its_result_kept(store: SqlStore) -> None:
    seen: list[str] = []

    async def invoke(one: Invocation) -> Outcome:
        seen.append(one.id)
        return outcome(body=b'{"y": 2}')

    ended = asyncio.run(through(store, invoke, 10))
    assert sorted(seen) == sorted(ticket.id for ticket in ended)
    assert {(ticket.state, ticket.result, ticket.attempts) for ticket in ended} == {
        (TicketState.SUCCEEDED, b'{"y": 2}', 1)
    }


def test_a_failure_is_tried_again_and_a_later_success_counts(store: SqlStore) -> None:
    tries = 0

    async def invoke(_: Invocation) -> Outcome:
        nonlocal tries
        tries += 1
        return outcome(Status.FAILED if tries < 3 else Status.OK)

    [ticket] = asyncio.run(through(store, invoke))
    assert (ticket.state, ticket.attempts, ticket.error) == (TicketState.SUCCEEDED, 3, "")


def test_after_the_last_try_it_is_dead_with_its_cause(store: SqlStore) -> None:
    async def invoke(_: Invocation) -> Outcome:
        raise LoadFailed("No module named 'x'")

    [ticket] = asyncio.run(through(store, invoke))
    assert (ticket.state, ticket.attempts) == (TicketState.DEAD, 3)
    assert "No module named 'x'" in ticket.error
    assert "no attempts left" in ticket.error


@pytest.mark.parametrize("error", [QueueFull("full"), HoldExpired("no worker"), Draining("stopping")])
def test_a_try_that_found_no_room_is_none(store: SqlStore, error: LambentError) -> None:
    refusals = QUICK.attempts_max + 2

    async def invoke(_: Invocation) -> Outcome:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise error
        return outcome()

    [ticket] = asyncio.run(through(store, invoke))
    assert (ticket.state, ticket.attempts) == (TicketState.SUCCEEDED, 1)


def test_one_that_never_finds_room_dies_of_age(store: SqlStore) -> None:
    async def invoke(_: Invocation) -> Outcome:
        raise QueueFull("all slots are taken")

    old = SystemClock().unix_ms() - int((QUICK.age_max_s + 1) * 1e3)
    ticket = Ticket(
        id=new_id(), project="default", deployment="f", body=b"{}", content_type="application/json",
        state=TicketState.QUEUED, created_unix_ms=old,
    )  # fmt: skip
    store.tickets.put(ticket)
    [ended] = asyncio.run(through(store, invoke, accepted=[ticket]))
    assert ended.state is TicketState.DEAD
    assert "all slots are taken" in ended.error


def test_what_was_running_when_the_server_died_is_run_again(store: SqlStore) -> None:
    lost = Ticket(
        id=new_id(), project="default", deployment="f", body=b"{}", content_type="application/json",
        state=TicketState.RUNNING, attempts=1, created_unix_ms=SystemClock().unix_ms(),
    )  # fmt: skip
    store.tickets.put(lost)

    async def invoke(_: Invocation) -> Outcome:
        return outcome()

    [ticket] = asyncio.run(through(store, invoke, accepted=[_queued(lost)]))
    assert (ticket.state, ticket.attempts) == (TicketState.SUCCEEDED, 2)


def test_no_more_run_at_once_than_allowed(store: SqlStore) -> None:
    running, most, full = 0, 0, asyncio.Event()

    async def invoke(_: Invocation) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == RUNNING_MAX:
            full.set()
        await full.wait()
        await asyncio.sleep(0.01)  # in which one more would come
        running -= 1
        return outcome()

    asyncio.run(through(store, invoke, 5 * RUNNING_MAX))
    assert most == RUNNING_MAX


def test_what_was_run_is_not_run_again_while_the_store_takes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    SqlStore.open(tmp_path / "lambent.db", SystemClock()).close()
    impatient = SqlStore(Database(tmp_path / "lambent.db", busy_timeout_ms=20), SystemClock())
    other = sqlite3.connect(tmp_path / "lambent.db", isolation_level=None)

    def release_when_refused() -> None:
        if "not_stored" in caplog.messages:
            other.rollback()
        else:
            asyncio.get_running_loop().call_later(0.01, release_when_refused)

    async def invoke(_: Invocation) -> Outcome:
        other.execute("BEGIN IMMEDIATE")
        release_when_refused()
        return outcome(body=b'"once"')

    [ticket] = asyncio.run(through(impatient, invoke))
    impatient.close()
    other.close()
    assert (ticket.state, ticket.attempts, ticket.result) == (TicketState.SUCCEEDED, 1, b'"once"')
    assert "not_stored" in caplog.messages


def test_what_an_earlier_server_left_counts_towards_the_most_that_may_wait(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambent.jobs.queue.OPEN_MAX", 1)
    asyncio.run(accepted_by_a_server_that_stops(store))
    with pytest.raises(QueueFull, match="maximum"):
        asyncio.run(accepted_by_a_server_that_stops(store))


async def accepted_by_a_server_that_stops(store: SqlStore) -> None:
    async def invoke(_: Invocation) -> Outcome:
        raise AssertionError("nothing is run")

    tasks = asyncio.TaskGroup()
    queue = AsyncQueue(store.tickets, invoke, SystemClock(), tasks, running_max=1)
    await queue.restore()
    await queue.accept(invocation())


def _queued(ticket: Ticket) -> Ticket:
    """As the caller of `accept` saw it, before it was taken up."""
    return msgspec.structs.replace(ticket, state=TicketState.QUEUED)
