"""What becomes of messages in a durable queue: when they are seen, and when they are given up. Pure.

A message that is received is hidden, not gone: unless its receiver removes it within the visibility timeout,
it is seen again. In a queue that keeps its order, messages of one group come one after another, and the same
message sent again within five minutes is stored once.
Source: Amazon SQS Developer Guide, "visibility timeout", "FIFO queues", "dead-letter queues".
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Final

import msgspec

DEDUP_MS: Final = 300_000
BODY_BYTES_MAX: Final = 1_048_576


class DedupScope(StrEnum):
    """Within what the same message is stored once."""

    QUEUE = "queue"
    GROUP = "messageGroup"


class Order(StrEnum):
    """In which order messages come."""

    LOOSE = "loose"  # about as they were sent
    KEPT = "kept"  # first in, first out, in each group


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a queue treats its messages.

    What was received `receives_max` times goes to the queue `dead_letters` of its project, empty for none.
    """

    order: Order = Order.LOOSE
    visibility_s: int = 30
    delay_s: int = 0
    retention_s: int = 345_600
    message_bytes_max: int = BODY_BYTES_MAX
    wait_s: int = 0
    dedup_by_content: bool = False
    dedup_scope: DedupScope = DedupScope.QUEUE
    dead_letters: str = ""
    receives_max: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message in a queue. `sequence` is its place, 0 before it has one.

    `attributes` are the sender's, as it wrote them. It is seen from `visible_unix_ms` on. `mark` changes with
    each time that it is received; `receives_before` are those in the queue that gave it up, named `source`.
    """

    id: str
    body: str
    sender: str = ""
    trace: str = ""
    attributes: dict[str, Any] = {}
    sequence: int = 0
    size_bytes: int = 0
    sent_unix_ms: int = 0
    visible_unix_ms: int = 0
    first_received_unix_ms: int = 0
    receives: int = 0
    receives_before: int = 0
    mark: str = ""
    group: str = ""
    dedup: str = ""
    source: str = ""


class Receipt(msgspec.Struct, frozen=True):
    """What a receiver knows a message by: its queue, its place, and the mark of that one time."""

    queue: int
    sequence: int
    mark: str


def sent(message: Message, terms: Terms, *, delay_s: int | None, now_unix_ms: int) -> Message:
    """The message as it is stored. `delay_s` is the message's own, None where it has none."""
    wait_s = terms.delay_s if delay_s is None else delay_s
    dedup = message.dedup
    if terms.order is Order.KEPT and not dedup and terms.dedup_by_content:
        dedup = hashlib.sha256(message.body.encode()).hexdigest()
    return msgspec.structs.replace(
        message, sent_unix_ms=now_unix_ms, visible_unix_ms=now_unix_ms + wait_s * 1000, dedup=dedup
    )


def dedup_key(message: Message, terms: Terms) -> str:
    """What the same message is known by; nothing where every message is another."""
    if terms.order is Order.LOOSE or not message.dedup:
        return ""
    return f"{message.group}\n{message.dedup}" if terms.dedup_scope is DedupScope.GROUP else message.dedup


def is_given_up(message: Message, terms: Terms) -> bool:
    """Whether it was received as often as may be: who would receive it now does not get it."""
    return bool(terms.dead_letters) and message.receives - message.receives_before >= terms.receives_max


def given_up(message: Message, terms: Terms, source: str, *, now_unix_ms: int) -> Message:
    """The message in its dead-letter queue. Its age goes on, but where the order is kept it begins anew."""
    return msgspec.structs.replace(
        message,
        sent_unix_ms=now_unix_ms if terms.order is Order.KEPT else message.sent_unix_ms,
        visible_unix_ms=now_unix_ms,
        receives_before=message.receives,
        mark="",
        source=source,
    )


def moved(message: Message, terms: Terms, *, message_id: str, now_unix_ms: int) -> Message:
    """A message that was given up, as it is sent anew to a queue of these terms.

    It is another message with an age of its own. Where the same message is stored once, it goes by the id
    that it had: what it went by at first may still be known from the time before it was given up.
    Source: Amazon SQS Developer Guide, "configuring a dead-letter queue redrive".
    """
    anew = Message(
        id=message_id,
        body=message.body,
        sender=message.sender,
        trace=message.trace,
        attributes=message.attributes,
        size_bytes=message.size_bytes,
        group=message.group,
        dedup=message.id if terms.order is Order.KEPT else message.dedup,
    )
    return sent(anew, terms, delay_s=None, now_unix_ms=now_unix_ms)


def received(message: Message, *, mark: str, visibility_s: float, now_unix_ms: int) -> Message:
    """The message as its receiver has it, hidden from others for a while."""
    return msgspec.structs.replace(
        message,
        receives=message.receives + 1,
        first_received_unix_ms=message.first_received_unix_ms or now_unix_ms,
        visible_unix_ms=now_unix_ms + round(visibility_s * 1000),
        mark=mark,
    )


def is_in_flight(message: Message, *, now_unix_ms: int) -> bool:
    """Whether somebody has it."""
    return bool(message.mark) and message.visible_unix_ms > now_unix_ms


def oldest_kept_unix_ms(terms: Terms, *, now_unix_ms: int) -> int:
    """What was sent then or before is forgotten."""
    return now_unix_ms - terms.retention_s * 1000
