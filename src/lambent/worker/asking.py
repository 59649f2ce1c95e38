"""How a call asks for others over the stream of a worker that runs one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any, Final

from lambent.core.errors import Cancelled
from lambent.runtimes.calling import Answered
from lambent.wire.frames import Ask
from lambent.worker.interrupt import Interrupt
from lambent.worker.mail import Mail
from lambent.worker.stream import Stream


class SerialCaller:
    """For a worker that runs one call at a time: who waits reads. See `runtimes.calling.Caller`."""

    def __init__(self, stream: Stream, mail: Mail, interrupt: Interrupt) -> None:
        self._stream: Final = stream
        self._mail: Final = mail
        self._interrupt: Final = interrupt
        self._last_id = 0
        self.call_id = 0  # of the call that runs

    def ask(self, deployment: str, body: bytes, content_type: str, *, timeout_s: float) -> SerialAnswer:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("lambent.call is for the thread that runs the function")
        self._last_id += 1
        ask = Ask(self.call_id, self._last_id, deployment, content_type, timeout_s * 1e3)
        self._interrupt.pause()
        self._stream.send(ask, body)
        self._interrupt.resume()
        return SerialAnswer(self, ask)

    def told(self, ask: Ask) -> Answered:
        """Wait for what came of it. Raises `Cancelled`, `RuntimeError` where its call is over."""
        if ask.call_id != self.call_id:
            raise RuntimeError("the call that asked for this is over")
        self._interrupt.pause()
        while (answered := self._mail.told(ask.call_id, ask.ask_id)) is None:
            if not self._mail.wait() or self._mail.is_cancelled(ask.call_id):
                raise Cancelled
        self._interrupt.resume()
        return answered


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
        # Async code in a worker that runs one call at a time: there is nothing else to run meanwhile.
        yield from ()
        return self.wait()
