"""What user code may say to the server while its call runs, one call at a time."""

from __future__ import annotations

import threading
from typing import Final

from lambent.core.errors import Cancelled
from lambent.core.invocation import Head
from lambent.runtimes.base import Body
from lambent.wire.frames import CREDIT_BYTES, Begin, Chunk, Form, Progress, cost_of
from lambent.worker.interrupt import Interrupt
from lambent.worker.mail import Mail
from lambent.worker.stream import Stream


class SerialLine:
    """See `runtimes.base.Line`."""

    def __init__(self, call_id: int, stream: Stream, mail: Mail, interrupt: Interrupt) -> None:
        self._call_id: Final = call_id
        self._stream: Final = stream
        self._mail: Final = mail
        self._interrupt: Final = interrupt
        self._credit = CREDIT_BYTES
        self._open = True
        self._aside: Final = threading.Lock()  # held while another thread speaks
        self.begun = False

    def close(self) -> None:
        """The call is over: nothing more is said of it."""
        with self._aside:
            self._open = False

    def notify(self, news: bytes) -> None:
        # A thread that user code left behind may still have something to say when its call is over.
        if threading.current_thread() is not threading.main_thread():
            with self._aside:
                if self._open:
                    self._stream.send(Progress(self._call_id), news)
            return
        self._interrupt.pause()
        self._stream.send(Progress(self._call_id), news)
        self._interrupt.resume()

    def begin(self, head: Head | None = None) -> None:
        if self.begun or not self._open:
            raise RuntimeError("the answer has begun already")
        self._interrupt.pause()
        self._stream.send(Begin(self._call_id, head))
        self.begun = True
        self._interrupt.resume()

    def write(self, form: Form, piece: Body) -> None:
        if not self._open:
            raise RuntimeError("the call is over")
        if not self.begun:
            self.begin()
        self._interrupt.pause()
        self._wait_for_credit()
        self._credit -= cost_of(piece)
        self._stream.send(Chunk(self._call_id, form), piece)
        self._interrupt.resume()

    def _wait_for_credit(self) -> None:
        self._credit += self._mail.credit(self._call_id)
        while self._credit <= 0:
            if not self._mail.wait() or self._mail.is_cancelled(self._call_id):
                raise Cancelled
            self._credit += self._mail.credit(self._call_id)
