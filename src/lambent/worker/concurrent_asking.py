"""How calls that run side by side ask for others over their worker's stream."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable, Generator
from typing import Any, Final

from lambent.core.errors import Cancelled
from lambent.runtimes.base import Body
from lambent.runtimes.calling import Answered
from lambent.wire.frames import Ask, Call, Drop, Told, ToServer
from lambent.worker.asks import Asks


class ConcurrentCaller:
    """For a worker that runs its calls on an event loop, or in threads beside it."""

    def __init__(self, call: Call, send: Callable[[ToServer, Body], None]) -> None:
        self.call: Final = call
        self._send: Final = send
        self._loop: Final = asyncio.get_running_loop()
        self._asked: Final[dict[int, asyncio.Future[Answered]]] = {}
        self._asks: Asks | None = None
        self._last_id = 0
        self._open = True
        self._turn: Final = threading.Lock()  # of changing the last three

    def ask(
        self, deployment: str, body: bytes, content_type: str, *, alias: str, timeout_s: float
    ) -> ConcurrentAnswer:
        with self._turn:
            if not self._open:
                raise RuntimeError("the call that asks for this is over")
            if self._asks is None:
                self._asks = Asks()
            self._last_id += 1
            number = self._last_id
        ask = Ask(self.call.call_id, number, deployment, content_type, timeout_s * 1e3, alias)
        answered: asyncio.Future[Answered] = self._loop.create_future()
        if _is_running(self._loop):
            self._begin(ask, body, answered)
        else:
            self._loop.call_soon_threadsafe(self._begin, ask, body, answered)
        return ConcurrentAnswer(answered, self._loop)

    def hear(self, told: Told, body: bytes) -> None:
        """The server says what came of one."""
        answered = self._asked.pop(told.ask_id, None)
        if answered is not None and not answered.done():
            answered.set_result((told, body))
        if self._asks is not None:
            self._asks.ended(told.ask_id)
            self._send_due(self._asks)

    def close(self) -> None:
        """The call is over: nobody is told any more."""
        with self._turn:
            self._open = False
        for answered in tuple(self._asked.values()):
            answered.cancel()

    def _begin(self, ask: Ask, body: bytes, answered: asyncio.Future[Answered]) -> None:
        if not self._open or self._asks is None:
            answered.cancel()
            return
        self._asked[ask.ask_id] = answered
        answered.add_done_callback(functools.partial(self._done, ask))
        self._asks.add(ask, body)
        self._send_due(self._asks)

    def _done(self, ask: Ask, answered: asyncio.Future[Answered]) -> None:
        """Where user code stopped waiting for it, nobody waits for it any more."""
        if not (answered.cancelled() and self._open):
            return
        self._asked.pop(ask.ask_id, None)  # its answer may have come in the same turn
        if self._asks is not None and self._asks.forget(ask.ask_id):
            self._send(Drop(ask.call_id, ask.ask_id), b"")

    def _send_due(self, asks: Asks) -> None:
        for ask, body in asks.due():
            self._send(ask, body)


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
        try:
            return asyncio.run_coroutine_threadsafe(_of(self._answered), self._loop).result()
        except concurrent.futures.CancelledError:
            raise Cancelled from None  # the call is over, or nobody waits for it any more

    def __await__(self) -> Generator[Any, Any, Answered]:
        if _is_running(self._loop):
            return self._answered.__await__()
        # A loop of its own, in a thread of user code.
        return asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(_of(self._answered), self._loop)
        ).__await__()


async def _of(answered: asyncio.Future[Answered]) -> Answered:
    return await answered


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
