"""Messages to webhooks: stored with the end that they tell of, sent until they are taken or given up."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

import msgspec

from lambent.clock import Clock, SteadyClock
from lambent.core.deferral import Reach
from lambent.core.delivering import GivenUp, Taken, after_answer
from lambent.core.errors import LambentError, QueueFull
from lambent.core.retrying import Retry
from lambent.core.signing import secret_of, signed_headers
from lambent.jobs.posting import Answer, post
from lambent.jobs.storing import PAUSE_S, insist
from lambent.storage.groups import Disk
from lambent.storage.tickets import Deliveries, Delivery, DeliveryState, Rotation, Rotations

SENDING_MAX: Final = 16
TO_ONE_MAX: Final = 4  # a receiver that is slow must not be waited for in every place
WAITING_MAX: Final = 100_000
RETRY_AFTER_S: Final = 60.0
IDLE_S: Final = 1.0
FORGET_EVERY_S: Final = 600.0
KEPT_S: Final = 7 * 86_400.0

log = logging.getLogger(__name__)


class Poster(Protocol):
    """Who sends: `posting.post` in a server."""

    def __call__(
        self, url: str, body: bytes, headers: Sequence[tuple[str, str]], *, reach: Reach
    ) -> Awaitable[Answer]: ...


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """A project's secrets: the one that signs, and the one before it for as long as that signs as well."""

    current: str
    previous: str = ""
    overlap_until_unix_ms: int = 0


class Webhooks:
    """Delivers, and keeps the secrets that the signatures are made with."""

    def __init__(
        self,
        deliveries: Deliveries,
        rotations: Rotations,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        master: bytes,
        poster: Poster = post,
        disk: Disk = asyncio.to_thread,
    ) -> None:
        self._deliveries: Final = deliveries
        self._rotations: Final = rotations
        self._wall: Final = clock  # what receivers compare with their own
        self._clock: Final = SteadyClock(clock)
        self._tasks: Final = tasks
        self._master: Final = master
        self._post: Final = poster
        self._disk: Final = disk
        self._sending: Final[dict[str, str]] = {}  # ids and URLs
        self._forget_at_s = clock.now_s()
        self._waiting = 0
        self._rest_s = FORGET_EVERY_S
        self._poke: Final = asyncio.Event()

    async def restore(self) -> None:
        """Take up what an earlier server left."""
        self._waiting = await self._disk(self._deliveries.waiting)

    def admit(self) -> None:
        """Raise `QueueFull` where nothing may be added to what waits."""
        if self._waiting >= WAITING_MAX:
            raise QueueFull(
                f"{self._waiting} messages wait for webhooks that do not take them, the maximum; "
                "`lambent webhooks ls` shows them",
                retry_after_s=RETRY_AFTER_S,
            )

    def enter(self) -> None:
        """One more is stored."""
        self._waiting += 1
        self._poke.set()

    async def all(self, project: str, *, limit: int) -> Sequence[Delivery]:
        """Messages, newest first."""
        return await self._disk(lambda: self._deliveries.all(project, limit=limit))

    async def secrets(self, project: str) -> Secrets:
        """What a project's messages are signed with now."""
        rotation = await self._disk(lambda: self._rotations.find(project))
        current = secret_of(self._master, project, rotation.number)
        if rotation.overlap_until_unix_ms <= self._clock.unix_ms():
            return Secrets(current=current)
        previous = secret_of(self._master, project, rotation.number - 1)
        until = rotation.overlap_until_unix_ms
        return Secrets(current=current, previous=previous, overlap_until_unix_ms=until)

    async def rotate(self, project: str, *, overlap_s: float) -> Secrets:
        """A new secret; the one before it goes on signing as well for `overlap_s`."""
        before = await self._disk(lambda: self._rotations.find(project))
        until = self._clock.unix_ms() + int(overlap_s * 1e3)
        rotation = Rotation(project=project, number=before.number + 1, overlap_until_unix_ms=until)
        await self._disk(lambda: self._rotations.put(rotation))
        return await self.secrets(project)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._poke.clear()
            try:
                await self._forget()
                await self._send_due()
            except LambentError as error:
                log.warning("webhooks_stand", extra={"reason": error.message})
                self._rest_s = IDLE_S
            await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._rest_s):
                await self._poke.wait()
        except TimeoutError:
            return

    async def _forget(self) -> None:
        now_s = self._clock.now_s()
        if now_s >= self._forget_at_s:
            self._forget_at_s = now_s + FORGET_EVERY_S
            before = self._clock.unix_ms() - int(KEPT_S * 1e3)
            await self._disk(lambda: self._deliveries.forget(before_unix_ms=before))

    async def _send_due(self) -> None:
        self._rest_s = FORGET_EVERY_S
        if not self._waiting:
            return
        if next_unix_ms := await self._disk(self._deliveries.next_due):
            # What is due and not begun waits for a place, and a place that gets free pokes.
            wait_s = (next_unix_ms - self._clock.unix_ms()) / 1e3
            self._rest_s = min(FORGET_EVERY_S, max(IDLE_S, wait_s))
        while len(self._sending) < SENDING_MAX:
            busy = frozenset(
                url for url, count in Counter(self._sending.values()).items() if count >= TO_ONE_MAX
            )
            # The store does not know which ones are being sent, nor which have arrived since it was asked.
            known = frozenset(self._sending)
            limit = SENDING_MAX + len(known)
            due = await self._disk(
                lambda busy=busy, limit=limit: self._deliveries.due(  # type: ignore[misc]  # of this turn
                    self._clock.unix_ms(), limit=limit, but_to=busy
                )
            )
            fresh = [delivery for delivery in due if delivery.id not in known]
            if not sum([self._begin(delivery) for delivery in fresh]):
                return

    def _begin(self, delivery: Delivery) -> bool:
        """Whether there was a place for it."""
        to_one = sum(url == delivery.url for url in self._sending.values())
        if delivery.id in self._sending or to_one >= TO_ONE_MAX or len(self._sending) >= SENDING_MAX:
            return False
        self._sending[delivery.id] = delivery.url
        self._tasks.create_task(self._send(delivery), name=f"webhook {delivery.id}")
        return True

    async def _send(self, delivery: Delivery) -> None:
        try:
            known = await self.secrets(delivery.project)
            secrets = [secret for secret in (known.current, known.previous) if secret]
            now_s = self._wall.unix_ms() // 1000
            headers = signed_headers(secrets, delivery.id, delivery.body, unix_s=now_s)
            answer = await self._post(delivery.url, delivery.body, headers, reach=delivery.reach)
            after = _after(delivery, answer, jitter=random.random(), now_unix_ms=self._clock.unix_ms())
            await self._store(after)
            self._waiting -= after.state is not DeliveryState.WAITING
        except LambentError as error:
            log.warning("webhook_not_sent", extra={"delivery": delivery.id, "reason": error.message})
            await asyncio.sleep(PAUSE_S)
        finally:
            del self._sending[delivery.id]
            self._poke.set()

    async def _store(self, delivery: Delivery) -> None:
        if delivery.state is DeliveryState.FAILED:
            log.warning("webhook_given_up", extra={"delivery": delivery.id, "reason": delivery.error})
        await insist(lambda: self._disk(lambda: self._deliveries.put(delivery)), record=delivery.id)


def _after(delivery: Delivery, answer: Answer, *, jitter: float, now_unix_ms: int) -> Delivery:
    """The message after a try."""
    tried = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1)
    cause = answer.error or f"it answered {answer.status}"
    match after_answer(
        answer.status,
        retry_after_s=answer.retry_after_s,
        attempts=tried.attempts,
        age_s=(now_unix_ms - delivery.created_unix_ms) / 1e3,
        jitter=jitter,
    ):
        case Taken():
            return msgspec.structs.replace(tried, state=DeliveryState.DELIVERED, error="")
        case GivenUp(reason):
            return msgspec.structs.replace(tried, state=DeliveryState.FAILED, error=f"{cause} ({reason})")
        case Retry(after_s):
            due_unix_ms = now_unix_ms + int(after_s * 1e3)
            return msgspec.structs.replace(tried, error=cause, due_unix_ms=due_unix_ms)
