"""What each project may have under way over gRPC: calls, and messages that do not say how long they are.

gRPC gives a message when all of it is there, and only then it can be counted as a body. Until then it may
take as much as the longest may.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Final, cast

from google.protobuf.message import DecodeError

from lambent.core.admission import Verdict, offer_bytes
from lambent.core.errors import CallerFault, QueueFull, ServerFull
from lambent.gateway.bodies import Hold
from lambent.wire.inference_proto import MESSAGES

ARRIVE_S: Final = 20.0  # how long a message waits for its turn


class Arriving:
    """Lets messages come in, those of a project one after another where they are many.

    Beside the bodies that are there, as much again may be on its way: were one counted with the other, a body
    would be refused for messages that turn out to be small.
    However many of them one project has under way, there is room for one of another.
    """

    def __init__(self, *, bytes_max: int, message_bytes_max: int, wait_s: float = ARRIVE_S) -> None:
        self._bytes_max: Final = bytes_max
        # Two at once at the least, and one more of somebody else.
        self._each_bytes: Final = min(message_bytes_max, self._bytes_max // 4)
        self._wait_s: Final = wait_s
        self._under_way: Final[dict[str, int]] = {}
        self._waiting: Final[dict[str, deque[asyncio.Future[None]]]] = {}

    async def message(self, sent: AsyncIterator[bytes], kind: str, hold: Hold) -> Any:
        """The only message of a call. Raises `CallerFault` where there is none, and what has no room."""
        async with self.turn(hold.project):
            message = await _only(sent)
        return parsed(message, kind, hold)

    @asynccontextmanager
    async def turn(self, project: str) -> AsyncIterator[None]:
        """Room for one message while it comes in. Raises `ServerFull` who has waited for it for too long."""
        if project not in self._waiting and self._fits(project):
            self._begin(project)
        else:
            await self._wait(project)
        try:
            yield
        finally:
            self._end(project)

    async def _wait(self, project: str) -> None:
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(project, deque())
        waiting.append(given)
        try:
            await asyncio.wait((given,), timeout=self._wait_s)
        except asyncio.CancelledError:
            if given.done():  # in the same moment
                self._end(project)
            raise
        finally:
            if not given.done():
                waiting.remove(given)
                if not waiting:
                    del self._waiting[project]
        if not given.done():
            raise ServerFull(
                f"{self._under_way.get(project, 0)} messages of this project's are on their way; this one "
                f"waited {self._wait_s:g} s for one of them to be whole",
                retry_after_s=self._wait_s,
            )

    def _fits(self, project: str) -> bool:
        each_bytes = self._each_bytes
        offered = offer_bytes(
            each_bytes,
            held_bytes=each_bytes * self._under_way.get(project, 0),
            all_bytes=each_bytes * sum(self._under_way.values()),
            bytes_max=self._bytes_max,
        )
        return offered.verdict is not Verdict.SHED

    def _begin(self, project: str) -> None:
        self._under_way[project] = self._under_way.get(project, 0) + 1

    def _end(self, project: str) -> None:
        self._under_way[project] -= 1
        if not self._under_way[project]:
            del self._under_way[project]
        for name, waiting in tuple(self._waiting.items()):
            while waiting and self._fits(name):
                self._begin(name)
                waiting.popleft().set_result(None)
            if not waiting:
                del self._waiting[name]


class CallsAtOnce:
    """How many calls each project has open, and streams: as many as are free, so that others find some."""

    def __init__(self, *, calls_max: int) -> None:
        self._calls_max: Final = calls_max
        self._open: Final[dict[str, int]] = {}

    @contextmanager
    def one(self, project: str) -> Iterator[None]:
        """While it is open. Raises `QueueFull`."""
        mine = self._open.get(project, 0)
        there = sum(self._open.values())
        offered = offer_bytes(1, held_bytes=mine, all_bytes=there, bytes_max=self._calls_max)
        if offered.verdict is Verdict.SHED:
            raise QueueFull(
                f"the project has {mine} calls over gRPC open, of {self._calls_max} that all may have, and a "
                f"project may have as many as are free: {self._calls_max - there}",
                retry_after_s=1.0,
            )
        self._open[project] = mine + 1
        try:
            yield
        finally:
            self._open[project] -= 1
            if not self._open[project]:
                del self._open[project]


def parsed(message: bytes, kind: str, hold: Hold) -> Any:
    """Counted, and then read. Raises `CallerFault` for what is no such message, and what has no room."""
    hold.grow_to(len(message))
    try:
        return MESSAGES[kind].FromString(message)
    except DecodeError as error:
        raise CallerFault(f"the message is no {kind}: {error}") from error


async def _only(sent: AsyncIterator[bytes]) -> bytes:
    """What has it is closed at once: it lies in a cycle, and would stay until cycles are looked for."""
    async with aclosing(cast(AsyncGenerator[bytes, None], aiter(sent))) as messages_sent:
        async for message in messages_sent:
            return message
    raise CallerFault("the call has no message")
