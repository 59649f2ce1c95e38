"""How calls that run side by side ask for others over their worker's stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Any, Final

from lambent.runtimes.base import Body
from lambent.runtimes.calling import Answered
from lambent.wire.frames import Ask, Told, ToServer


class ConcurrentCaller:
    """For a worker that runs its calls on an event loop, or in threads beside it."""

    def __init__(self, call_id: int, send: Callable[[ToServer, Body], None]) -> None:
        self._call_id: Final = call_id
        self._send: Final = send
        self._loop: Final = asyncio.get_running_loop()
        self._asked: Final[dict[int, asyncio.Future[Answered]]] = {}
        self._last_id = 0
        self._lock: Final = threading.Lock()

    def ask(self, deployment: str, body: bytes, content_type: str, *, timeout_s: float) -> ConcurrentAnswer:
        with self._lock:
            self._last_id += 1
            ask = Ask(self._call_id, self._last_id, deployment, content_type, timeout_s * 1e3)
        answered = self._asked[ask.ask_id] = self._loop.create_future()
        if _is_running(self._loop):
            self._send(ask, body)
        else:
            self._loop.call_soon_threadsafe(self._send, ask, body)
        return ConcurrentAnswer(answered, self._loop)

    def hear(self, told: Told, body: bytes) -> None:
        """The server says what came of one."""
        answered = self._asked.pop(told.ask_id, None)
        if answered is not None and not answered.done():
            answered.set_result((told, body))

    def close(self) -> None:
        """The call is over: nobody is told any more."""
        for answered in self._asked.values():
            answered.cancel()


class ConcurrentAnswer:
    """See `runtimes.calling.Answering`."""

    def __init__(self, answered: asyncio.Future[Answered], loop: asyncio.AbstractEventLoop) -> None:
        self._answered: Final = answered
        self._loop: Final = loop

    def wait(self) -> Answered:
        if _is_running(self._loop):
            raise RuntimeError(
                "await lambent.call(...) in async code: result() would stop the loop that it needs"
            )
        return asyncio.run_coroutine_threadsafe(_of(self._answered), self._loop).result()

    def __await__(self) -> Generator[Any, Any, Answered]:
        return self._answered.__await__()


async def _of(answered: asyncio.Future[Answered]) -> Answered:
    return await answered


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
