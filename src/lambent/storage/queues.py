"""Queues and their messages as they are kept, what may be asked of their store, and what it answers.

As in `base`, methods block, and what one returns from is on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from lambent.core.messages import Message, Receipt, Terms

HELD: Final = "s"  # how the marks of those begin that receive within the server


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue. `extra` are settings that nothing here acts on; `id` is 0 before it is stored."""

    id: int = 0
    project: str
    name: str
    terms: Terms = Terms()
    extra: dict[str, str] = {}
    tags: dict[str, str] = {}
    created_unix_ms: int = 0
    modified_unix_ms: int = 0


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Store messages. Answered with `Sent`."""

    queue: int
    terms: Terms
    messages: tuple[Message, ...]


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a queue by its name, stored with what it tells of, unless there is no such queue."""

    project: str
    queue: str
    message: Message
    now_unix_ms: int


class Take(msgspec.Struct, frozen=True, kw_only=True):
    """Receive up to `count` messages of `bytes_max` in all, under `mark`. Answered with `Taken`.

    `dead_letters` is the queue of those that are given up, 0 for none; then `terms` name none either.
    """

    queue: Queue
    terms: Terms
    dead_letters: int
    count: int
    bytes_max: int
    visibility_s: float
    mark: str
    now_unix_ms: int


class Remove(msgspec.Struct, frozen=True):
    """Remove what was received, unless somebody else has it by now. Answered with `Gone`."""

    receipts: tuple[Receipt, ...]


class Tries(StrEnum):
    """Whether the time that it was received counts."""

    COUNTED = "counted"
    TAKEN_BACK = "taken back"


class Show(msgspec.Struct, frozen=True, kw_only=True):
    """Let a message that is in flight be seen from another time on. Answered with `Shown`."""

    receipt: Receipt
    visible_unix_ms: int
    now_unix_ms: int
    tries: Tries = Tries.COUNTED


class Empty(msgspec.Struct, frozen=True):
    """Remove every message of a queue. Answered with `Gone`."""

    queue: int


class Drop(msgspec.Struct, frozen=True):
    """Forget a queue with all of its messages. Answered with `Gone`."""

    queue: int


class Forget(msgspec.Struct, frozen=True):
    """Remove some of what is too old, and what is not known any more of the same messages. With `Gone`."""

    queue: int
    sent_unix_ms: int
    now_unix_ms: int


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Send what can be received of a queue anew, first come first, as many as there are `ids` for it.

    To the queue `to` of the same project; where that is empty, each to the queue that gave it up. Answered
    with `Moved`.
    """

    queue: Queue
    to: str
    ids: tuple[str, ...]
    now_unix_ms: int


class Sent(msgspec.Struct, frozen=True):
    """The messages as they are stored, the same ones as before in place of those that came again."""

    messages: tuple[Message, ...]
    count: int
    size_bytes: int


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What was received, what was given up in doing so, and when the next is seen that is not seen yet."""

    queue: int
    messages: tuple[Message, ...] = ()
    given_up: int = 0
    given_up_bytes: int = 0
    next_unix_ms: int | None = None
    too_many_in_flight: bool = False


class Stuck(StrEnum):
    """Why the next message could not be moved."""

    NO = ""
    NO_SOURCE = "no source"  # no queue gave it up, and none was named
    NO_QUEUE = "no queue"


class Moved(msgspec.Struct, frozen=True):
    """What was moved, and to where, by ids of queues."""

    sent: tuple[tuple[int, Sent], ...]
    stuck: Stuck = Stuck.NO


class Gone(msgspec.Struct, frozen=True):
    """How many messages were removed."""

    count: int
    size_bytes: int


class Shown(StrEnum):
    """What became of a wish to show a message at another time."""

    DONE = "done"
    NOT_IN_FLIGHT = "not in flight"
    NOT_THERE = "not there"


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a queue, by what receivers see of it."""

    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    size_bytes: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return self.visible + self.in_flight + self.delayed


Ask = Send | Take | Remove | Show | Empty | Drop | Forget | Move
Answer = Sent | Taken | Gone | Shown | Moved


class Queues(Protocol):
    """Queues of every project, and the messages in them."""

    def put(self, queue: Queue) -> Queue:
        """Insert or replace by id; as it is stored, with its id."""

    def all(self) -> Sequence[Queue]: ...

    def together(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        """Do all of it in one transaction, in this order."""

    def share(self, queue: int, *, now_unix_ms: int) -> Share:
        """What is in it now."""

    def restore(self, *, now_unix_ms: int) -> None:
        """At start: what an earlier server held under a mark that begins with `HELD` is seen again.

        Where something was sent later than now, the clock has been set back: all is seen so much earlier.
        """
