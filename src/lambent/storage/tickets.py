"""The records of asynchronous invocations and of the webhooks that tell of their end, and their stores.

As in `base`, methods block, and what one returns from is on disk.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from lambent.core.deferral import Reach
from lambent.storage.queues import Letter

KEY_KEPT_S: Final = 86_400.0  # how long, at the least, an idempotency key stands for its ticket


class TicketState(StrEnum):
    """Where an accepted asynchronous invocation is. All but the first two are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"  # in the dead-letter queue
    CANCELLED = "cancelled"
    FORGOTTEN = "forgotten"  # kept only so that its idempotency key is not taken for a new one


OPEN: Final = (TicketState.QUEUED, TicketState.RUNNING)


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted asynchronous invocation.

    `result` is the body of its outcome once it is final. `body` is dropped when it has succeeded;
    `body_hash` is its SHA-256. `queued_unix_ms` is when its age began: when it was first due, or was
    redriven. `forget_unix_ms` is until when a final one is kept. `keyed`: its id comes from an idempotency
    key. `alias` and `sticky` are the invocation's, `trace` and `called` are its own as text. `face` says in
    whose words it was accepted, as text.
    """

    id: str
    project: str
    deployment: str
    body: bytes
    content_type: str
    state: TicketState
    attempts: int = 0
    due_unix_ms: int = 0
    error: str = ""
    result: bytes = b""
    result_type: str = ""
    created_unix_ms: int
    client_context: str = ""
    order_key: str = ""
    webhook: str = ""
    webhook_reach: Reach = Reach.PUBLIC
    body_hash: bytes = b""
    keyed: bool = False
    queued_unix_ms: int = 0
    ended_unix_ms: int | None = None
    forget_unix_ms: int | None = None
    alias: str = ""
    sticky: str = ""
    trace: str = ""
    called: str = ""
    face: str = ""


class DeliveryState(StrEnum):
    """Where a webhook's message is. The last two are final."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a webhook. `id` is what the receiver knows it by, the same in every try."""

    id: str
    project: str
    deployment: str
    ticket: str
    url: str
    reach: Reach
    body: bytes
    state: DeliveryState
    attempts: int = 0
    due_unix_ms: int = 0
    error: str = ""
    created_unix_ms: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket as it shall be from now on, provided that it is in the state `expects`.

    Where `expects` is None it is new; one whose id comes from a key is stored unless that is taken.
    `delivery` and `letters` are stored with it; so is `follow`, another new ticket, unless its id is taken.
    """

    ticket: Ticket
    expects: TicketState | None
    delivery: Delivery | None = None
    follow: Ticket | None = None
    letters: tuple[Letter, ...] = ()


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment has in the queue: unfinished ones with their bytes, and dead letters."""

    project: str
    deployment: str
    open: int
    open_bytes: int
    dead: int


class Moved(msgspec.Struct, frozen=True):
    """How many tickets went from one state to another, and the bytes of their bodies."""

    count: int
    size_bytes: int


class Tickets(Protocol):
    """The durable queue of asynchronous invocations."""

    def change(self, changes: Sequence[Change]) -> Sequence[bool]:
        """Make changes in one transaction; which of them were made, as their tickets were as expected."""

    def find(self, project: str, ticket: str) -> Ticket | None: ...

    def due(
        self, project: str, deployment: str, *, now_unix_ms: int, limit: int, bytes_max: int
    ) -> Sequence[Ticket]:
        """Queued tickets whose time has come, longest due first, but those that an order key bars.

        At most `limit`, and none more once their bodies have `bytes_max`.
        """

    def restore(self, *, now_unix_ms: int) -> int:
        """At start: what was running is queued again; returns how many.

        Where something was stored later than now, the clock has been set back, and by so much everything that
        waits is due earlier, messages to webhooks included.
        """

    def shares(self) -> Sequence[Share]:
        """What each deployment has in the queue; none for those that have nothing."""

    def forget(self, *, now_unix_ms: int, results_bytes_max: int) -> int:
        """Forget final ones whose time is over, and the oldest results over a size; returns how many.

        Forgets a bounded number at a time: zero means that there is nothing more. Unfinished ones stay.
        """


class DeadLetters(Protocol):
    """What could not be done, by deployment."""

    def page(self, project: str, deployment: str, *, after: str, limit: int) -> Sequence[Ticket]:
        """Oldest first, behind the one with the id `after`, without their bodies and results."""

    def redrive(self, project: str, deployment: str, *, ticket: str, now_unix_ms: int) -> Moved:
        """Queue one, or all where `ticket` is empty, as if just accepted; returns how many."""

    def purge(self, project: str, deployment: str, *, ticket: str, now_unix_ms: int) -> Moved:
        """Forget one, or all where `ticket` is empty; returns how many."""


class Deliveries(Protocol):
    """The durable queue of messages to webhooks."""

    def put(self, delivery: Delivery) -> None:
        """Replace by id."""

    def due(self, now_unix_ms: int, *, limit: int, but_to: Collection[str] = ()) -> Sequence[Delivery]:
        """Waiting ones whose time has come, longest due first, without those to some URLs."""

    def waiting(self) -> int:
        """How many have not come to an end."""

    def next_due(self) -> int | None:
        """When the next of those is due, in Unix milliseconds; None where there is none."""

    def all(self, project: str, *, limit: int) -> Sequence[Delivery]:
        """Newest first."""

    def forget(self, *, before_unix_ms: int) -> int:
        """Forget final ones made before a time; returns how many."""


class Rotations(Protocol):
    """How often each project's webhook secret was changed."""

    def find(self, project: str) -> Rotation: ...

    def put(self, rotation: Rotation) -> None: ...


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """The number of a project's secret, and until when the one before it signs as well."""

    project: str
    number: int = 0
    overlap_until_unix_ms: int = 0
