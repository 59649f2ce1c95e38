"""The descriptor that a program writes its log to, as AWS Lambda's runtimes do, and who reads it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Final

from lambent.runtimes.lambda_api.telemetry import Telemetry

READ_BYTES: Final = 64 * 1024
READS_MAX: Final = 16  # at once: what logs without end must not keep its own answer from being read
LOG_FD: Final = 1


class TelemetryPipe:
    """Passes what a program writes to it on to where this process prints."""

    def __init__(self) -> None:
        """Raises OSError where there are no descriptors left."""
        self._loop: Final = asyncio.get_running_loop()
        self._telemetry: Final = Telemetry()
        self._reading, self.writing_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reading, False)
        self._loop.add_reader(self._reading, self.hear)

    def hand_over(self) -> None:
        """The program has its end, or there is none: ours is closed."""
        os.close(self.writing_fd)

    def hear(self) -> None:
        """Pass on what has been written until now."""
        try:
            for _ in range(READS_MAX):
                chunk = os.read(self._reading, READ_BYTES)
                _say(self._telemetry.feed(chunk))
                if not chunk:  # it has closed its end, and so has all that it started
                    self._loop.remove_reader(self._reading)
                    return
        except BlockingIOError:
            return

    def end(self) -> None:
        """Its writer has ended: pass on what is left, half a message too."""
        self.hear()
        _say(self._telemetry.close())

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._reading)
        os.close(self._reading)


def _say(text: bytes) -> None:
    with contextlib.suppress(OSError):
        while text:
            text = text[os.write(LOG_FD, text) :]
