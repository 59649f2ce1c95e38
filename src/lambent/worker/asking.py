"""How a call asks for others over the stream of a worker that runs one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any, Final

from lambent.core.errors import Cancelled
from lambent.runtimes.calling import Answered
from lambent.wire.frames import Ask, Batch, Call
from lambent.worker.asks import Asks
from lambent.worker.interrupt import Interrupt
from lambent.worker.mail import Mail
from lambent.worker.stream import Stream

ELSEWHERE: Final = (
    "a function that runs one call at a time calls others in its own thread: make several calls first, "
    "they run side by side, then ask each for its result()"
)


class SerialCaller:
    """For a worker that runs one call at a time: who waits reads. See `runtimes.calling.Caller`."""

    def __init__(self, stream: Stream, mail: Mail, interrupt: Interrupt) -> None:
        self._stream: Final = stream
        self._mail: Final = mail
        self._interrupt: Final = interrupt
        self._last_id = 0
        self._asks: Asks | None = None
        self._work: Call | Batch | None = None

    @property
    def call(self) -> Call:
        """The call that runs; of a batch its first. Raises `RuntimeError` where none does."""
        work = self._work
        if work is None:
            raise RuntimeError("no call runs")
        return work if isinstance(work, Call) else work.calls[0]

    def turn(self, work: Call | Batch) -> None:
        """It is the turn of this one."""
        self._work, self._asks = work, None

    def ask(
        self, deployment: str, body: bytes, content_type: str, *, alias: str, timeout_s: float
    ) -> SerialAnswer:
        _check_thread()
        if self._asks is None:
            self._asks = Asks()
        self._last_id += 1
        ask = Ask(self.call.call_id, self._last_id, deployment, content_type, timeout_s * 1e3, alias)
        self._asks.add(ask, body)
        self._interrupt.pause()
        self._send(self._asks)
        self._interrupt.resume()
        return SerialAnswer(self, ask)

    def told(self, ask: Ask) -> Answered:
        """Wait for what came of it. Raises `Cancelled`, `RuntimeError` where its call is over."""
        _check_thread()
        asks = self._asks
        if asks is None or ask.call_id != self.call.call_id:
            raise RuntimeError("the call that asked for this is over")
        self._interrupt.pause()
        while (answered := self._mail.told(ask.call_id, ask.ask_id)) is None:
            if not self._mail.wait() or self._mail.is_cancelled(ask.call_id):
                raise Cancelled
            self._send(asks)
        self._interrupt.resume()
        return answered

    def _send(self, asks: Asks) -> None:
        for ask_id in self._mail.heard_of():
            asks.ended(ask_id)
        for ask, body in asks.due():
            self._stream.send(ask, body)


class SerialAnswer:
    """See `runtimes.calling.Answering`."""

    def __init__(self, caller: SerialCaller, ask: Ask) -> None:
        self._caller: Final = caller
        self._ask: Final = ask
        self._answered: Answered | None = None

    def wait(self) -> Answered:
        if self._answered is None:
            self._answered = self._caller.told(self._ask)
        return self._answered

    def __await__(self) -> Generator[Any, Any, Answered]:
        # Async code in a worker that runs one call at a time: what it asked for runs side by side all the
        # same, and its own loop stands still until the answer is there.
        yield from ()
        return self.wait()


def _check_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(ELSEWHERE)
