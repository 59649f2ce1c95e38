"""Spans of invocations on their way to an OTLP receiver, in batches and beside the request path.

An invocation that ends leaves its facts in a bounded queue. Everything else (making spans, writing them,
sending them) happens in a thread; whatever fails there is counted, and harms no invocation.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError
from lambent.core.invocation import Invocation, Outcome, Timing
from lambent.core.spans import Facts, Value, is_sampled, spans_of
from lambent.core.telemetry import Telemetry
from lambent.wire import otlp
from lambent.wire.skills import TYPES, Skill

TRIES_MAX: Final = 5
RETRY_S: Final = 1.0  # doubled for each further try, and drawn between half of that and the whole
RETRY_S_MAX: Final = 30.0
RETRYABLE: Final = frozenset({429, 502, 503, 504})  # OTLP specification, "retryable response codes"
PIECE: Final = 16  # invocations that are written at once, in a fifth of a millisecond
SETTLE_S: Final = 2.0  # what a stop waits for a receiver
LONGER_S: Final = 1.0  # than one step of an exchange may take it may take as a whole
MESSAGE_CHARACTERS_MAX: Final = 1000  # of what went wrong: thousands of them may wait
# What a model is asked for, by the type of the question, in the words of the conventions for GenAI.
OPERATIONS: Final[Mapping[str, str]] = {
    TYPES[Skill.CHAT]: "chat",
    TYPES[Skill.COMPLETE]: "text_completion",
    TYPES[Skill.EMBED]: "embeddings",
}

log = logging.getLogger(__name__)


class Said(msgspec.Struct, frozen=True):
    """A receiver's answer; status 0 where there was none, with the reason as text."""

    status: int
    body: bytes = b""
    retry_after_s: float | None = None


Post = Callable[[bytes], Said]


class Counts(Protocol):
    """Who counts what became of the invocations that were to be told of: the metrics."""

    def exported(self, outcome: str, count: int) -> None:
        """So many more ended like this: sent, queue_full, refused or unreachable."""


class Aside:
    """Posts in a thread that nobody has to wait for: no batch behind it, and not the end of the process.

    A time that a socket keeps to is one of each step, and who answers a byte a second takes a step in time.
    """

    def __init__(self, post: Post, *, within_s: float) -> None:
        self._post: Final = post
        self._within_s: Final = within_s
        self._is_busy = False

    async def __call__(self, request: bytes) -> Said:
        """What the receiver says within the time that it has."""
        if self._is_busy:
            return Said(0, b"it has not answered to what it was sent before")
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[Said] = loop.create_future()

        def tell(said: Said) -> None:
            self._is_busy = False
            if not heard.done():
                heard.set_result(said)

        def ask() -> None:
            said = self._post(request)
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(tell, said)

        self._is_busy = True
        threading.Thread(target=ask, name="spans", daemon=True).start()
        try:
            async with asyncio.timeout(self._within_s):
                return await heard
        except TimeoutError:
            return Said(0, b"it has not answered in %.0f s" % self._within_s)


class Exporter:
    """Hears how invocations end, and tells it in batches. `post` blocks and never raises."""

    def __init__(
        self,
        telemetry: Telemetry,
        clock: Clock,
        *,
        unix_ns: Callable[[], int],
        encoder: otlp.Encoder,
        post: Post,
        counts: Counts,
    ) -> None:
        self._telemetry: Final = telemetry
        self._clock: Final = clock
        self._unix_ns: Final = unix_ns
        self._encoder: Final = encoder
        self._post: Final = Aside(post, within_s=telemetry.timeout_s + LONGER_S)
        self._counts: Final = counts
        self._waiting: Final[deque[Facts]] = deque()
        self._notes: Final[dict[str, Mapping[str, Value]]] = {}
        self._due: Final = asyncio.Event()
        self._settled: Final = asyncio.Event()
        self._stopping = False
        self._troubled = False

    def answered(self, invocation: Invocation, outcome: Outcome) -> None:
        """It ran, and ended just now."""
        if not self._takes(invocation):
            return
        error = outcome.error
        self._put(
            Facts(
                invocation_id=invocation.id,
                trace=invocation.trace,
                trigger=invocation.trigger,
                project=invocation.project,
                deployment=invocation.deployment,
                alias=invocation.alias,
                revision=outcome.revision,
                instance=outcome.worker,
                temperature=outcome.temperature,
                status=outcome.status,
                error=error.error_type if error else "",
                message=error.error_message[:MESSAGE_CHARACTERS_MAX] if error else "",
                arrived_s=self._clock.now_s() - outcome.timing.total_ms / 1e3,
                timing=outcome.timing,
                billed_ms=outcome.billed_ms,
                operation=OPERATIONS.get(invocation.content_type, ""),
            )
        )

    def note(self, invocation_id: str, attributes: Mapping[str, Value]) -> None:
        """Of an invocation that runs, or has just ended, its door knows this as well."""
        if len(self._notes) >= self._telemetry.queue_max:
            self._notes.clear()  # of those that nobody records, or that were dropped
        self._notes[invocation_id] = attributes

    def refused(self, invocation: Invocation, revision: str, error: LambentError, *, since_s: float) -> None:
        """It was not run, and hears so now."""
        if not self._takes(invocation):
            return
        self._put(
            Facts(
                invocation_id=invocation.id,
                trace=invocation.trace,
                trigger=invocation.trigger,
                project=invocation.project,
                deployment=invocation.deployment,
                alias=invocation.alias,
                revision=revision,
                error=error.code,
                message=error.message[:MESSAGE_CHARACTERS_MAX],
                arrived_s=since_s,
                timing=Timing(total_ms=(self._clock.now_s() - since_s) * 1e3),
            )
        )

    async def run(self) -> None:
        """Send what there is, whenever a batch is full or its time has come, until cancelled."""
        size_max = self._telemetry.batch_max
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._telemetry.every_s):
                    await self._due.wait()
            count = len(self._waiting)
            if self._due.is_set() and not self._stopping:
                count -= count % size_max  # the others wait for a full batch, or for their time
            self._due.clear()
            while count > 0:
                size = min(count, size_max)
                await self._send([self._waiting.popleft() for _ in range(size)])
                count -= size
            if len(self._waiting) >= size_max:
                self._due.set()
            if self._stopping and not self._waiting:
                self._settled.set()

    async def settle(self) -> None:
        """Nothing more will come: send what there is, as long as a stop may take."""
        self._stopping = True
        self._due.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._settled.wait()

    def _takes(self, invocation: Invocation) -> bool:
        if not is_sampled(invocation.trace):
            return False
        if len(self._waiting) < self._telemetry.queue_max:
            return True
        self._counts.exported("queue_full", 1)
        return False

    def _put(self, facts: Facts) -> None:
        self._waiting.append(facts)
        if len(self._waiting) == self._telemetry.batch_max:
            self._due.set()

    async def _send(self, batch: Sequence[Facts]) -> None:
        """Once, or as often as it helps. What is not taken then is dropped and counted."""
        request = await self._written(batch)
        said = await self._post(request)
        for attempt in range(1, TRIES_MAX):
            if not _is_passing(said) or self._stopping:
                break
            await asyncio.sleep(_pause_s(said, attempt))
            said = await self._post(request)
        self._count(said, len(batch))

    async def _written(self, batch: Sequence[Facts]) -> bytes:
        """As a request. In a thread this would take turns with all that goes on at a high price."""
        origin_unix_ns = self._unix_ns() - round(self._clock.now_s() * 1e9)
        pieces = []
        for start in range(0, len(batch), PIECE):
            piece = batch[start : start + PIECE]
            spans = (
                span
                for facts in piece
                for span in spans_of(
                    facts, origin_unix_ns=origin_unix_ns, beside=self._notes.pop(facts.invocation_id, None)
                )
            )
            pieces.append(self._encoder.written(spans))
            await asyncio.sleep(0)
        return self._encoder.request(pieces)

    def _count(self, said: Said, count: int) -> None:
        is_taken = 200 <= said.status < 300
        outcome = "sent" if is_taken else "unreachable" if _is_passing(said) else "refused"
        rejected = otlp.rejected(said.body) if is_taken else 0
        self._counts.exported(outcome, count)
        if is_taken and not rejected:
            self._troubled = False
        elif not self._troubled:  # said once, until it is well again
            self._troubled = True
            reason = said.body[:500].decode("utf-8", "replace")
            log.warning(
                "spans_not_exported",
                extra={
                    "url": self._telemetry.url,
                    "status": said.status,
                    "reason": reason,
                    "spans": rejected,
                },
            )


def _is_passing(said: Said) -> bool:
    return said.status == 0 or said.status in RETRYABLE


def _pause_s(said: Said, attempt: int) -> float:
    if said.retry_after_s is not None:
        return min(RETRY_S_MAX, said.retry_after_s)
    longest_s = min(RETRY_S_MAX, RETRY_S * 2.0 ** (attempt - 1))
    return longest_s * random.uniform(0.5, 1.0)
