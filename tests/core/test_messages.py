"""What becomes of messages in a queue."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from lambent.core import messages
from lambent.core.messages import DedupScope, Message, Order, Terms

NOW = 1_700_000_000_000
PLAIN = Terms()
ORDERED = Terms(order=Order.KEPT, dedup_by_content=True)
MORTAL = Terms(dead_letters="dead", receives_max=2)
ONE = Message(id="m", body="hello", group="g")


@pytest.mark.parametrize(
    ("terms", "delay_s", "seen_after_s"),
    [
        pytest.param(PLAIN, None, 0, id="at once"),
        pytest.param(Terms(delay_s=9), None, 9, id="after the queue's delay"),
        pytest.param(Terms(delay_s=9), 0, 0, id="its own delay goes before the queue's, also none"),
        pytest.param(PLAIN, 900, 900, id="after its own"),
    ],
)
def test_when_a_message_is_first_seen(terms: Terms, delay_s: int | None, seen_after_s: int) -> None:
    stored = messages.sent(ONE, terms, delay_s=delay_s, now_unix_ms=NOW)
    assert (stored.sent_unix_ms, stored.visible_unix_ms) == (NOW, NOW + seen_after_s * 1000)


@pytest.mark.parametrize(
    ("terms", "dedup", "key"),
    [
        pytest.param(PLAIN, "x", "", id="without an order every message is another"),
        pytest.param(ORDERED, "x", "x", id="the sender's own id"),
        pytest.param(ORDERED, "", hashlib.sha256(b"hello").hexdigest(), id="else the body's hash"),
        pytest.param(Terms(order=Order.KEPT), "", "", id="nothing tells it"),
        pytest.param(
            Terms(order=Order.KEPT, dedup_scope=DedupScope.GROUP), "x", "g\nx", id="within its group alone"
        ),
    ],
)
def test_what_the_same_message_is_known_by(terms: Terms, dedup: str, key: str) -> None:
    message = msgspec.structs.replace(ONE, dedup=dedup)
    stored = messages.sent(message, terms, delay_s=None, now_unix_ms=NOW)
    assert messages.dedup_key(stored, terms) == key


def test_a_message_that_is_received_is_hidden_until_its_time_is_over() -> None:
    got = messages.received(ONE, mark="a", visibility_s=30, now_unix_ms=NOW)
    assert (got.receives, got.first_received_unix_ms, got.visible_unix_ms) == (1, NOW, NOW + 30_000)
    assert messages.is_in_flight(got, now_unix_ms=NOW + 29_999)
    assert not messages.is_in_flight(got, now_unix_ms=NOW + 30_000)
    again = messages.received(got, mark="b", visibility_s=5, now_unix_ms=NOW + 40_000)
    assert (again.receives, again.first_received_unix_ms, again.mark) == (2, NOW, "b")


def test_a_message_is_given_up_when_it_was_received_as_often_as_may_be() -> None:
    message = ONE
    for _ in range(MORTAL.receives_max):
        assert not messages.is_given_up(message, MORTAL)
        message = messages.received(message, mark="a", visibility_s=0, now_unix_ms=NOW)
    assert messages.is_given_up(message, MORTAL)
    assert not messages.is_given_up(message, PLAIN)
    dead = messages.given_up(message, MORTAL, "q", now_unix_ms=NOW + 5)
    assert (dead.source, dead.visible_unix_ms, dead.sent_unix_ms, dead.mark) == ("q", NOW + 5, 0, "")
    # It counts on, and is still not given up at once by a dead-letter queue that has one of its own.
    assert dead.receives == MORTAL.receives_max
    assert not messages.is_given_up(dead, MORTAL)


def test_the_age_of_a_dead_letter_begins_anew_where_the_order_is_kept() -> None:
    sent = messages.sent(ONE, ORDERED, delay_s=None, now_unix_ms=NOW)
    assert messages.given_up(sent, ORDERED, "q", now_unix_ms=NOW + 5).sent_unix_ms == NOW + 5
    assert messages.given_up(sent, MORTAL, "q", now_unix_ms=NOW + 5).sent_unix_ms == NOW


def test_what_is_older_than_the_retention_is_forgotten() -> None:
    assert messages.oldest_kept_unix_ms(Terms(retention_s=60), now_unix_ms=NOW) == NOW - 60_000
