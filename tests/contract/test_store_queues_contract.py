"""What every store must do with queues and their messages, whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from lambent.core import messages
from lambent.core.messages import DEDUP_MS, Message, Order, Receipt, Terms
from lambent.storage.queues import (
    Drop,
    Empty,
    Forget,
    Gone,
    Queue,
    Remove,
    Send,
    Sent,
    Show,
    Shown,
    Take,
    Taken,
    Tries,
)
from lambent.storage.sql import SqlStore

Open = Callable[[], SqlStore]
NOW = 1_700_000_000_000
FIFO = Terms(order=Order.KEPT, dedup_by_content=True)


def made(store: SqlStore, name: str = "q", terms: Terms | None = None) -> Queue:
    return store.queues.put(Queue(project="p", name=name, terms=terms or Terms()))


def send(store: SqlStore, queue: Queue, *bodies: str, at: int = NOW, **fields: str) -> Sent:
    told = tuple(
        messages.sent(
            Message(id=f"id-{body}", body=body, size_bytes=len(body), **fields),
            queue.terms,
            delay_s=None,
            now_unix_ms=at,
        )
        for body in bodies
    )
    [sent] = store.queues.together([Send(queue=queue.id, terms=queue.terms, messages=told)])
    assert isinstance(sent, Sent)
    return sent


def take(store: SqlStore, queue: Queue, *, at: int = NOW, count: int = 10, dead: int = 0) -> Taken:
    ask = Take(
        queue=queue, terms=queue.terms, dead_letters=dead, count=count, bytes_max=1 << 20,
        visibility_s=queue.terms.visibility_s, mark=f"mark-{at}", now_unix_ms=at,
    )  # fmt: skip
    [taken] = store.queues.together([ask])
    assert isinstance(taken, Taken)
    return taken


def bodies(taken: Taken) -> list[str]:
    return [one.body for one in taken.messages]


def receipt(queue: Queue, message: Message) -> Receipt:
    return Receipt(queue.id, message.sequence, message.mark)


def test_a_message_is_there_after_the_store_is_opened_again_and_hidden_while_it_is_in_flight(
    store: SqlStore, reopen: Open
) -> None:
    queue = made(store)
    send(store, queue, "ä", "b", trace="t", sender="s")
    again = reopen()
    assert again.queues.all() == [queue]
    [first, second] = take(again, queue).messages
    assert (first.body, first.trace, first.sender, first.receives) == ("ä", "t", "s", 1)
    third = reopen()
    assert take(third, queue) == Taken(queue=queue.id, next_unix_ms=NOW + 30_000)
    assert bodies(take(third, queue, at=NOW + 30_000)) == ["ä", "b"]
    assert second.sequence > first.sequence


def test_only_who_has_it_last_removes_a_message(store: SqlStore) -> None:
    queue = made(store)
    send(store, queue, "a")
    [early] = take(store, queue).messages
    [late] = take(store, queue, at=NOW + 40_000).messages
    assert store.queues.together([Remove((receipt(queue, early),))]) == [Gone(0, 0)]
    assert store.queues.together([Remove((receipt(queue, late),))]) == [Gone(1, 1)]
    assert store.queues.share(queue.id, now_unix_ms=NOW).count == 0


def test_no_sequence_is_given_twice(store: SqlStore) -> None:
    queue = made(store)
    [first] = send(store, queue, "a").messages
    store.queues.together([Empty(queue.id)])
    [second] = send(store, queue, "a").messages
    assert second.sequence > first.sequence


def test_a_message_in_flight_is_shown_when_its_receiver_says(store: SqlStore) -> None:
    queue = made(store)
    send(store, queue, "a")
    [got] = take(store, queue).messages
    later = Show(receipt=receipt(queue, got), visible_unix_ms=NOW + 60_000, now_unix_ms=NOW)
    assert store.queues.together([later]) == [Shown.DONE]
    assert take(store, queue, at=NOW + 59_999).messages == ()
    now = msgspec.structs.replace(later, visible_unix_ms=NOW + 2, now_unix_ms=NOW + 2, tries=Tries.TAKEN_BACK)
    assert store.queues.together([now, now]) == [Shown.DONE, Shown.NOT_IN_FLIGHT]
    assert take(store, queue, at=NOW + 2).messages[0].receives == 1
    gone = msgspec.structs.replace(later, receipt=Receipt(queue.id, 99, "x"))
    assert store.queues.together([gone]) == [Shown.NOT_THERE]


def test_of_a_group_nothing_comes_while_one_of_it_is_in_flight(store: SqlStore) -> None:
    queue = made(store, terms=FIFO)
    send(store, queue, "a1", "a2", "a3", group="a")
    send(store, queue, "b1", group="b")
    first = take(store, queue, count=2)
    assert bodies(first) == ["a1", "a2"]
    assert bodies(take(store, queue, at=NOW + 1)) == ["b1"]
    store.queues.together([Remove((receipt(queue, first.messages[0]),))])
    assert bodies(take(store, queue, at=NOW + 2)) == []
    shown = Show(receipt=receipt(queue, first.messages[1]), visible_unix_ms=NOW + 3, now_unix_ms=NOW + 3)
    store.queues.together([shown])
    assert bodies(take(store, queue, at=NOW + 3)) == ["a2", "a3"]


def test_the_same_message_within_five_minutes_is_stored_once_even_if_it_is_gone(store: SqlStore) -> None:
    queue = made(store, terms=FIFO)
    [first] = send(store, queue, "a", group="g").messages
    taken = take(store, queue)
    store.queues.together([Remove((receipt(queue, taken.messages[0]),))])
    again = send(store, queue, "a", at=NOW + DEDUP_MS - 1, group="h")
    assert (again.messages[0].sequence, again.count) == (first.sequence, 0)
    assert send(store, queue, "a", at=NOW + DEDUP_MS, group="g").count == 1


@pytest.mark.parametrize("order", Order)
def test_what_was_received_too_often_is_in_the_dead_letter_queue_with_the_receive_that_finds_it(
    store: SqlStore, order: Order
) -> None:
    dead = made(store, "dead", Terms(order=order))
    queue = made(store, "q", Terms(order=order, visibility_s=0, dead_letters="dead", receives_max=2))
    send(store, queue, "bad", group="g", dedup="bad")
    for at in (1, 2):
        assert bodies(take(store, queue, at=NOW + at, dead=dead.id)) == ["bad"]
    send(store, queue, "good", at=NOW + 3, group="g", dedup="good")
    taken = take(store, queue, at=NOW + 3, count=1, dead=dead.id)
    assert (bodies(taken), taken.given_up, taken.given_up_bytes) == (["good"], 1, 3)
    [letter] = take(store, dead, at=NOW + 6).messages
    assert (letter.body, letter.source, letter.receives) == ("bad", "q", 3)


def test_what_is_too_old_is_neither_received_nor_kept(store: SqlStore) -> None:
    queue = made(store, terms=Terms(retention_s=60))
    send(store, queue, "a")
    send(store, queue, "b", at=NOW + 1)
    assert bodies(take(store, queue, at=NOW + 60_000)) == ["b"]
    forget = Forget(queue.id, NOW, NOW + 60_000)
    assert store.queues.together([forget, forget]) == [Gone(1, 1), Gone(0, 0)]


def test_a_share_tells_what_is_seen_what_is_in_flight_and_what_is_delayed(store: SqlStore) -> None:
    queue = made(store)
    send(store, queue, "aa", "b")
    send(store, queue, "later", at=NOW + 500)
    take(store, queue, count=1)
    share = store.queues.share(queue.id, now_unix_ms=NOW)
    assert (share.visible, share.in_flight, share.delayed, share.size_bytes) == (1, 1, 1, 8)


def test_a_queue_goes_with_its_messages(store: SqlStore, reopen: Open) -> None:
    queue, other = made(store), made(store, "other")
    send(store, queue, "a")
    assert store.queues.together([Drop(queue.id)]) == [Gone(1, 1)]
    changed = store.queues.put(msgspec.structs.replace(other, tags={"a": "b"}))
    assert reopen().queues.all() == [changed]
    assert store.queues.share(queue.id, now_unix_ms=NOW).count == 0


def test_messages_from_the_future_are_seen_now_where_the_clock_was_set_back(store: SqlStore) -> None:
    queue = made(store)
    send(store, queue, "a")
    store.queues.restore(now_unix_ms=NOW - 3_600_000)
    assert bodies(take(store, queue, at=NOW - 3_600_000)) == ["a"]


def test_what_a_server_held_is_free_at_the_next_start_and_what_clients_hold_is_not(store: SqlStore) -> None:
    queue = made(store)
    send(store, queue, "a", "b")
    for mark in ("client", "server"):
        ask = Take(
            queue=queue, terms=queue.terms, dead_letters=0, count=1, bytes_max=1 << 20, visibility_s=30,
            mark=mark, now_unix_ms=NOW,
        )  # fmt: skip
        store.queues.together([ask])
    store.queues.restore(now_unix_ms=NOW + 1)
    [again] = take(store, queue, at=NOW + 1).messages
    assert (again.body, again.receives) == ("b", 2)
