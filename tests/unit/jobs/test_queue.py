"""Asynchronous invocations: accepted on disk, run at least once, never dropped without a cause."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import msgspec
import pytest

from lambent.core.errors import Draining, HoldExpired, LambentError, LoadFailed, QueueFull
from lambent.core.invocation import Invocation, Outcome, Status
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import Change, Ticket, TicketState
from tests.support.virtual_time import VirtualClock, run
from tests.unit.jobs.durable import BROKEN, PROJECT, answers, outcome, sleeper, working


def test_what_is_accepted_is_run_once_and_its_result_kept(store: SqlStore) -> None:
    seen: list[str] = []

    async def invoke(one: Invocation) -> Outcome:
        seen.append(one.id)
        return outcome(body=b'{"y": 2}')

    async def story() -> None:
        async with working(store, invoke) as house:
            accepted = await asyncio.gather(*(house.accept() for _ in range(10)))
            ended = await house.ended(*accepted)
        assert sorted(seen) == sorted(ticket.id for ticket in ended)
        assert {(t.state, t.result, t.attempts, t.body) for t in ended} == {
            (TicketState.SUCCEEDED, b'{"y": 2}', 1, b"")
        }

    run(story())


def test_a_failure_is_tried_again_and_a_later_success_counts(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, answers(BROKEN, BROKEN, outcome())) as house:
            [ticket] = await house.ended(await house.accept())
        assert (ticket.state, ticket.attempts, ticket.error) == (TicketState.SUCCEEDED, 3, "")

    run(story())


@pytest.mark.parametrize("retries", [0, 2, 5])
def test_after_the_last_try_it_is_dead_with_its_cause_and_its_event(store: SqlStore, retries: int) -> None:
    async def story() -> None:
        async with working(store, answers(LoadFailed("No module named 'x'"))) as house:
            house.deploy(retries=retries)
            [ticket] = await house.ended(await house.accept(body=b'{"x": 1}'))
        assert (ticket.state, ticket.attempts, ticket.body) == (TicketState.DEAD, retries + 1, b'{"x": 1}')
        assert "No module named 'x'" in ticket.error
        assert "no attempts left" in ticket.error

    run(story())


def test_the_waits_between_tries_grow_up_to_their_bound(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried_s: list[float] = []

    async def invoke(_: Invocation) -> Outcome:
        tried_s.append(VirtualClock().now_s())
        return BROKEN

    async def story() -> None:
        async with working(store, invoke) as house:
            house.deploy(retries=5, retry_first_s=10)
            await house.ended(await house.accept())

    monkeypatch.setattr("random.random", lambda: 1.0)
    run(story())
    waits = [after - before for before, after in itertools.pairwise(tried_s)]
    # A second at most goes by before it is seen that the time has come.
    for wait, longest in zip(waits, [10, 40, 120, 120, 120], strict=True):
        assert longest <= wait <= longest + 1.5


@pytest.mark.parametrize("error", [QueueFull("full"), HoldExpired("no worker"), Draining("stopping")])
def test_a_try_that_found_no_room_is_none(store: SqlStore, error: LambentError) -> None:
    async def story() -> None:
        async with working(store, answers(error, error, error, error, error, outcome())) as house:
            [ticket] = await house.ended(await house.accept())
        assert (ticket.state, ticket.attempts) == (TicketState.SUCCEEDED, 1)

    run(story())


def test_one_that_never_finds_room_dies_of_age(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, answers(QueueFull("all slots are taken"))) as house:
            house.deploy(async_age_max_s=60)
            [ticket] = await house.ended(await house.accept())
        assert (ticket.state, ticket.attempts) == (TicketState.DEAD, 0)
        assert "all slots are taken (too old" in ticket.error
        assert VirtualClock().now_s() < 65

    run(story())


def test_what_grew_too_old_while_no_server_ran_is_dead_and_not_run(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, sleeper(1)) as house:
            house.queue.pause()
            ticket = await house.accept()
        await asyncio.sleep(7 * 3600)
        async with working(store, answers(LoadFailed("this was run"))) as house:
            [ended] = await house.ended(ticket)
        assert (ended.state, ended.attempts) == (TicketState.DEAD, 0)
        assert "not tried in time" in ended.error

    run(story())


def test_what_was_running_when_the_server_died_is_run_again(store: SqlStore) -> None:
    async def story() -> None:
        lost = Ticket(
            id="lost", project=PROJECT, deployment="f", body=b"{}", content_type="application/json",
            state=TicketState.RUNNING, attempts=1, created_unix_ms=VirtualClock().unix_ms(),
            queued_unix_ms=VirtualClock().unix_ms(),
        )  # fmt: skip
        store.tickets.change([Change(ticket=lost, expects=None)])
        async with working(store, answers(outcome())) as house:
            [ticket] = await house.ended(lost)
        assert (ticket.state, ticket.attempts) == (TicketState.SUCCEEDED, 2)

    run(story())


def test_a_server_that_stops_stores_what_has_run_and_leaves_what_it_cut_off_to_the_next(
    store: SqlStore,
) -> None:
    async def invoke(one: Invocation) -> Outcome:
        await asyncio.sleep(1)
        return outcome(Status.EXITED) if one.body == b"2" else outcome()

    async def story() -> None:
        async with working(store, invoke) as house:
            tickets = [await house.accept(body=body) for body in (b"1", b"2")]
            await asyncio.sleep(0.5)
            house.queue.pause()
            await house.queue.settle()
            late = await house.accept()
            await asyncio.sleep(5)
            states = [(await house.find(ticket)).state for ticket in (*tickets, late)]
        assert states == [TicketState.SUCCEEDED, TicketState.RUNNING, TicketState.QUEUED]
        async with working(store, answers(outcome())) as house:
            ended = await house.ended(*tickets, late)
        assert [ticket.attempts for ticket in ended] == [1, 2, 1]

    run(story())


def test_no_more_run_at_once_than_the_server_and_each_deployment_allow(store: SqlStore) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def invoke(one: Invocation) -> Outcome:
        for name in (one.deployment, "all"):
            running[name] += 1
            most[name] = max(most[name], running[name])
        await asyncio.sleep(1)
        for name in (one.deployment, "all"):
            running[name] -= 1
        return outcome()

    async def story() -> None:
        async with working(store, invoke, running_max=5) as house:
            house.deploy("few", async_running_max=2)
            house.deploy("auto", workers_max=4)
            names = ["few", "auto"] * 15
            await house.ended(*[await house.accept(name) for name in names])

    run(story())
    assert dict(most) == {"few": 2, "auto": 3, "all": 5}


def test_a_deployment_with_much_to_do_holds_no_other_up(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, sleeper(10), running_max=4) as house:
            house.deploy("busy", async_running_max=3)
            for _ in range(300):
                await house.accept("busy")
            began_s = VirtualClock().now_s()
            await house.ended(await house.accept("f"))
            assert VirtualClock().now_s() - began_s < 12

    run(story())


def test_a_project_with_much_to_do_in_many_deployments_holds_no_other_up(store: SqlStore) -> None:
    running: Counter[str] = Counter()
    seen: list[tuple[int, int]] = []

    async def invoke(one: Invocation) -> Outcome:
        running[one.project] += 1
        seen.append((running[PROJECT], running["quiet"]))
        await asyncio.sleep(10)
        running[one.project] -= 1
        return outcome()

    async def story() -> None:
        async with working(store, invoke, running_max=8) as house:
            for number in range(12):
                house.deploy(f"flood-{number}", async_running_max=3)
            house.deploy("f", project="quiet", async_running_max=8)
            for turn in range(120):
                await house.accept(f"flood-{turn % 12}")
            await asyncio.sleep(5)
            assert dict(running) == {PROJECT: 7}
            first = await house.accept(project="quiet")
            others = [await house.accept(project="quiet") for _ in range(12)]
            began_s = VirtualClock().now_s()
            await house.ended(first)
            assert VirtualClock().now_s() - began_s <= 11
            # Then both have half of the places, whoever has more deployments.
            await house.ended(*others)
            assert VirtualClock().now_s() - began_s <= 70
            assert max(quiet for _, quiet in seen) >= 4

    run(story())


def test_one_order_key_runs_one_after_another_in_order_also_across_retries(store: SqlStore) -> None:
    story_of: dict[str, list[bytes]] = {"a": [], "b": [], "": []}
    running: set[str] = set()
    tries: Counter[bytes] = Counter()

    async def invoke(one: Invocation) -> Outcome:
        key = one.body.decode()[0] if one.body[:1].isalpha() else ""
        assert not key or key not in running
        running.add(key)
        await asyncio.sleep(0.5)
        running.discard(key)
        tries[one.body] += 1
        if one.body in (b"a1", b"b0") and tries[one.body] < 3:
            return BROKEN
        if one.body == b"a3":
            return BROKEN  # dead in the end, and those behind it go on
        story_of[key].append(one.body)
        return outcome()

    async def story() -> None:
        async with working(store, invoke) as house:
            tickets = [
                await house.accept(body=f"{key}{number}".encode(), order_key=key)
                for number in range(6)
                for key in ("a", "b")
            ]
            plain = await house.accept(body=b"0")
            await house.ended(plain)
            assert VirtualClock().now_s() < 2, "one without a key waits for none"
            await house.ended(*tickets)

    run(story())
    assert story_of["a"] == [b"a0", b"a1", b"a2", b"a4", b"a5"]
    assert story_of["b"] == [b"b0", b"b1", b"b2", b"b3", b"b4", b"b5"]


def test_a_delay_is_waited_and_is_no_part_of_the_age(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, answers(outcome())) as house:
            house.deploy(async_age_max_s=60)
            [ticket] = await house.ended(await house.accept(delay_s=600))
            assert ticket.state is TicketState.SUCCEEDED
            assert 600 <= VirtualClock().now_s() <= 602

    run(story())


def test_what_an_earlier_server_left_counts_towards_the_most_that_may_wait(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambent.jobs.lanes.OPEN_MAX", 4)
    monkeypatch.setattr("lambent.jobs.lanes.OPEN_BYTES_MAX", 200)

    async def story() -> None:
        async with working(store, sleeper(1)) as house:
            house.queue.pause()
            await house.accept()
            with pytest.raises(QueueFull, match="bytes"):
                await house.accept(body=b"x" * 197)
            await house.accept()
        async with working(store, sleeper(1)) as house:
            with pytest.raises(QueueFull, match="2 of 2 open"):
                await house.accept()
            await asyncio.sleep(5)
            await house.accept()

    run(story())


def test_an_end_that_a_webhook_is_to_hear_of_is_stored_with_its_message(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, answers(BROKEN, BROKEN, BROKEN, outcome(body=b'{"y": 1}'))) as house:
            tickets = [
                (await house.ended(await house.accept(webhook="http://127.0.0.1:1/x", reach="any")))[0]
                for _ in range(2)
            ]
            silent = await house.accept()
            await house.ended(silent)
            assert house.outbox.waiting == 2
        told = store.deliveries.all(PROJECT, limit=10)
        bodies = [msgspec.json.decode(delivery.body) for delivery in reversed(told)]
        assert [body["type"] for body in bodies] == ["invocation.dead", "invocation.succeeded"]
        assert [body["data"]["id"] for body in bodies] == [ticket.id for ticket in tickets]
        assert bodies[1]["data"]["result"] == {"y": 1}
        assert "no attempts left" in bodies[0]["data"]["error"]

    run(story())


def test_whatever_falls_when_each_ticket_ends_once_and_nothing_is_left_over(store: SqlStore) -> None:
    """A law, over many tickets that succeed, fail, are refused and are cancelled, in two servers."""

    async def invoke(one: Invocation) -> Outcome:
        number = int(one.body)
        await asyncio.sleep(number % 7 / 10)
        if number % 5 == 0:
            raise QueueFull("full") if number % 2 else LoadFailed("never")
        return outcome() if number % 3 else BROKEN

    async def story() -> None:
        tickets: list[Ticket] = []
        for _ in range(2):
            async with working(store, invoke, running_max=6) as house:
                house.deploy(async_age_max_s=15)
                tickets += [
                    await house.accept(body=b"%d" % n, order_key="k" if n % 4 == 0 else "") for n in range(60)
                ]
                await asyncio.sleep(1.3)
        async with working(store, invoke, running_max=6) as house:
            house.deploy(async_age_max_s=15)
            ended = await house.ended(*tickets)
        states = Counter(ticket.state for ticket in ended)
        assert states[TicketState.SUCCEEDED] + states[TicketState.DEAD] == 120
        assert all(ticket.error for ticket in ended if ticket.state is TicketState.DEAD)
        [share] = store.tickets.shares()
        assert (share.open, share.open_bytes, share.dead) == (0, 0, states[TicketState.DEAD])

    run(story())
