"""What every store must do with asynchronous invocations and messages to webhooks, whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from lambent.core.deferral import Reach
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import Change, Delivery, DeliveryState, Rotation, Share, Ticket, TicketState

Open = Callable[[], SqlStore]

DAY_MS = 86_400_000


def ticket(number: int, **fields: object) -> Ticket:
    defaults: dict[str, object] = {
        "id": f"ticket-{number}",
        "project": "default",
        "deployment": "hello",
        "body": b"{}",
        "content_type": "application/json",
        "state": TicketState.QUEUED,
        "created_unix_ms": number,
    }
    return msgspec.convert(defaults | fields, Ticket)


def delivery(number: int, **fields: object) -> Delivery:
    defaults: dict[str, object] = {
        "id": f"msg-{number}",
        "project": "default",
        "deployment": "hello",
        "ticket": "ticket-1",
        "url": "http://127.0.0.1/",
        "reach": Reach.ANY,
        "body": b"{}",
        "state": DeliveryState.WAITING,
        "created_unix_ms": number,
    }
    return msgspec.convert(defaults | fields, Delivery)


def put(store: SqlStore, *tickets: Ticket) -> None:
    assert all(store.tickets.change([Change(ticket=one, expects=None) for one in tickets]))


def due(store: SqlStore, now_unix_ms: int = 100, limit: int = 10, bytes_max: int = 1 << 20) -> list[str]:
    found = store.tickets.due("default", "hello", now_unix_ms=now_unix_ms, limit=limit, bytes_max=bytes_max)
    return [one.id for one in found]


def test_a_ticket_keeps_its_bytes_and_is_found_in_its_project_only(store: SqlStore, reopen: Open) -> None:
    begun = ticket(1, body=bytes(range(256)), order_key="k", webhook="http://x/", keyed=True, body_hash=b"h")
    put(store, begun)
    ended = msgspec.structs.replace(
        begun, state=TicketState.DEAD, result=bytes(range(256)), result_type="image/png", ended_unix_ms=5
    )
    assert store.tickets.change([Change(ticket=ended, expects=TicketState.QUEUED)]) == [True]
    again = reopen()
    assert again.tickets.find("default", "ticket-1") == ended
    assert again.tickets.find("second", "ticket-1") is None


def test_a_change_is_made_where_the_ticket_is_as_expected_and_only_there(store: SqlStore) -> None:
    put(store, ticket(1))
    running = ticket(1, state=TicketState.RUNNING, attempts=1)
    twice = Change(ticket=running, expects=TicketState.QUEUED)
    told = Change(
        ticket=ticket(1, state=TicketState.CANCELLED), expects=TicketState.QUEUED, delivery=delivery(1)
    )
    again = Change(ticket=ticket(1, body=b"other", keyed=True), expects=None)
    assert store.tickets.change([twice, twice, told, again]) == [True, False, False, False]
    assert store.tickets.find("default", "ticket-1") == running
    assert store.deliveries.waiting() == 0


def test_an_end_and_its_message_are_stored_together(store: SqlStore) -> None:
    put(store, ticket(1, state=TicketState.RUNNING))
    ended = ticket(1, state=TicketState.SUCCEEDED, body=b"", result=b"1")
    assert store.tickets.change(
        [Change(ticket=ended, expects=TicketState.RUNNING, delivery=delivery(1))]
    ) == [True]
    found = store.tickets.find("default", "ticket-1")
    assert found is not None
    assert (found.body, found.result) == (b"", b"1")
    assert store.deliveries.due(5, limit=9) == [delivery(1)]


def test_due_tickets_come_oldest_first_and_not_before_their_time(store: SqlStore) -> None:
    put(store, *(ticket(n, due_unix_ms=at) for n, at in [(1, 30), (2, 10), (3, 20), (4, 200)]))
    put(store, ticket(5, due_unix_ms=1, state=TicketState.RUNNING), ticket(6, deployment="other"))
    assert due(store) == ["ticket-2", "ticket-3", "ticket-1"]
    assert due(store, limit=2) == ["ticket-2", "ticket-3"]


def test_no_more_is_read_once_it_has_so_many_bytes(store: SqlStore) -> None:
    put(store, *(ticket(n, body=b"12345") for n in range(4)))
    assert due(store, bytes_max=6) == ["ticket-0", "ticket-1"]
    assert due(store, bytes_max=1) == ["ticket-0"]


def test_of_many_changes_each_is_made_or_not_by_itself(store: SqlStore) -> None:
    put(store, *(ticket(n) for n in range(40)))
    store.tickets.change([Change(ticket=ticket(7, state=TicketState.CANCELLED), expects=TicketState.QUEUED)])
    ended = [
        Change(
            ticket=ticket(n, state=TicketState.SUCCEEDED, body=b"" if n % 2 else b"x"),
            expects=TicketState.QUEUED,
            delivery=delivery(n) if n % 3 == 1 else None,
        )
        for n in range(40)
    ]
    fresh = [Change(ticket=ticket(99), expects=None)]
    assert store.tickets.change(ended + fresh) == [n != 7 for n in range(41)]
    assert store.deliveries.waiting() == 12
    assert due(store) == ["ticket-99"]


def test_of_one_order_key_only_the_first_that_has_not_ended_is_due(store: SqlStore) -> None:
    put(store, ticket(1, order_key="a", due_unix_ms=500), ticket(2, order_key="a"))
    put(store, ticket(3, order_key="b", state=TicketState.RUNNING), ticket(4, order_key="b"))
    put(store, ticket(5, order_key="c"), ticket(6, order_key="c"), ticket(7))
    put(store, ticket(8, order_key="d", state=TicketState.DEAD), ticket(9, order_key="d"))
    put(store, ticket(10, order_key="c", deployment="other"))
    assert due(store) == ["ticket-5", "ticket-7", "ticket-9"]
    assert due(store, now_unix_ms=500)[-1] == "ticket-1"


def test_running_tickets_are_queued_again_and_shares_are_counted(store: SqlStore) -> None:
    put(
        store, ticket(1, state=TicketState.RUNNING, attempts=1), ticket(2, state=TicketState.DEAD, body=b"12")
    )
    put(store, ticket(3, body=b"1234"), ticket(4, deployment="b", state=TicketState.SUCCEEDED))
    assert [store.tickets.restore(now_unix_ms=9) for _ in range(2)] == [1, 0]
    found = store.tickets.find("default", "ticket-1")
    assert found == ticket(1, attempts=1)
    assert store.tickets.shares() == [
        Share(project="default", deployment="hello", open=2, open_bytes=6, dead=1)
    ]


def test_only_final_tickets_whose_time_is_over_are_forgotten(store: SqlStore) -> None:
    for number, state in enumerate(TicketState):
        put(store, ticket(number, state=state, forget_unix_ms=5))
    put(store, ticket(9, state=TicketState.DEAD, forget_unix_ms=50))
    put(store, ticket(10, state=TicketState.SUCCEEDED, forget_unix_ms=5, keyed=True, created_unix_ms=5))

    def forget_all(now_unix_ms: int) -> None:
        while store.tickets.forget(now_unix_ms=now_unix_ms, results_bytes_max=1000):
            pass

    forget_all(6)
    left = [n for n in (*range(len(TicketState)), 9, 10) if store.tickets.find("default", f"ticket-{n}")]
    assert left == [0, 1, 9, 10]
    kept = store.tickets.find("default", "ticket-10")
    assert kept is not None
    assert (kept.state, kept.body) == (TicketState.FORGOTTEN, b"")
    forget_all(6 + DAY_MS)
    assert store.tickets.find("default", "ticket-10") is None


def test_messages_come_oldest_first_without_those_to_some_urls(store: SqlStore, reopen: Open) -> None:
    for number, at in [(1, 30), (2, 10), (3, 200)]:
        store.deliveries.put(delivery(number, due_unix_ms=at))
    store.deliveries.put(delivery(4, url="http://slow/"))
    store.deliveries.put(delivery(5, state=DeliveryState.FAILED))
    again = reopen().deliveries
    assert [one.id for one in again.due(100, limit=9)] == ["msg-4", "msg-2", "msg-1"]
    assert [one.id for one in again.due(100, limit=9, but_to=["http://slow/"])] == ["msg-2", "msg-1"]
    assert again.waiting() == 4
    assert [one.id for one in again.all("default", limit=2)] == ["msg-5", "msg-4"]
    assert again.forget(before_unix_ms=100) == 1


def test_a_rotation_is_kept(store: SqlStore, reopen: Open) -> None:
    assert store.rotations.find("default") == Rotation(project="default")
    for number in (1, 2):
        store.rotations.put(Rotation(project="default", number=number, overlap_until_unix_ms=9))
    assert reopen().rotations.find("default").number == 2


def test_what_waits_is_due_as_soon_as_before_though_the_clock_was_set_back(store: SqlStore) -> None:
    put(
        store,
        ticket(1, created_unix_ms=9 * DAY_MS, queued_unix_ms=9 * DAY_MS, due_unix_ms=10 * DAY_MS),
        ticket(
            2,
            state=TicketState.SUCCEEDED,
            created_unix_ms=8 * DAY_MS,
            ended_unix_ms=9 * DAY_MS,
            forget_unix_ms=11 * DAY_MS,
        ),
    )
    store.deliveries.put(delivery(1, created_unix_ms=9 * DAY_MS, due_unix_ms=10 * DAY_MS))
    store.tickets.restore(now_unix_ms=2 * DAY_MS)
    assert due(store, 3 * DAY_MS - 1) == []
    assert due(store, 3 * DAY_MS) == ["ticket-1"]
    assert [one.id for one in store.deliveries.due(3 * DAY_MS, limit=10)] == ["msg-1"]
    assert store.tickets.forget(now_unix_ms=4 * DAY_MS - 1, results_bytes_max=1000) == 0
    found = store.tickets.find("default", "ticket-2")
    assert found is not None
    assert (found.created_unix_ms, found.ended_unix_ms, found.forget_unix_ms) == (
        DAY_MS, 2 * DAY_MS, 4 * DAY_MS,
    )  # fmt: skip
    store.tickets.restore(now_unix_ms=3 * DAY_MS)  # nothing lies ahead: nothing moves
    assert due(store, 3 * DAY_MS) == ["ticket-1"]
