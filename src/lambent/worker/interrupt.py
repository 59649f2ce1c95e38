"""Ends user code whose call nobody waits for any more, when a signal says that there is such news."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Final

from lambent.core.errors import Cancelled
from lambent.wire.process import CANCEL_SIGNAL
from lambent.worker.mail import Mail


class Interrupt:
    """Raises `Cancelled` in the main thread, once a call, and only while user code runs there.

    A signal that comes while our own code runs is remembered until user code is entered again: an exception
    in the middle of a frame would leave half of it on the wire.
    """

    def __init__(self, mail: Mail) -> None:
        self._mail: Final = mail
        self._call_id = 0
        self._open = False
        self._due = False
        self._raised = False

    def listen(self) -> None:
        """Hear the signal from now on."""
        signal.signal(CANCEL_SIGNAL, self._heard)

    def enter(self, call_id: int) -> None:
        """User code of this call begins. Raises `Cancelled` where it need not."""
        self._call_id, self._raised = call_id, False
        self.resume()

    def pause(self) -> None:
        """Our own code runs."""
        self._open = False

    def resume(self) -> None:
        """User code runs again. Raises `Cancelled` if there was news meanwhile."""
        self._open = True
        if self._due:
            self._look()

    def _heard(self, _: int, __: FrameType | None) -> None:
        if self._open:
            self._look()
        else:
            self._due = True

    def _look(self) -> None:
        self._open = self._due = False  # what is read here must not be read twice at once
        self._mail.look()
        if self._mail.is_cancelled(self._call_id) and not self._raised:
            self._raised = True
            raise Cancelled
        self._open = True
