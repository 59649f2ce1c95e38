"""Standard output and error of a process whose user code may close, replace or leave them half written."""

from __future__ import annotations

import io
import os
import sys
from typing import Final, TextIO

from lambent.runtimes.outputs import flush

OUTPUTS: Final = (1, 2)


class Printing:
    """Leads both to the log, and back to it whenever they were led astray."""

    def __init__(self, log_fd: int) -> None:
        """`log_fd` stays open and is the caller's."""
        self._log_fd: Final = log_fd
        status = os.fstat(log_fd)
        self._log: Final = (status.st_dev, status.st_ino)
        flush()
        for fd in OUTPUTS:
            os.dup2(log_fd, fd)

    def settle(self) -> bool:
        """Flush, and repair what is damaged. Says whether something was."""
        flushed = flush()
        leads = [self._leads_to_log(fd) for fd in OUTPUTS]
        if flushed and all(leads):
            return False
        for fd in OUTPUTS:
            os.dup2(self._log_fd, fd)
        sys.stdout, sys.stderr = _text(1), _text(2)
        return True

    def _leads_to_log(self, fd: int) -> bool:
        try:
            status = os.fstat(fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._log


def by_lines() -> None:
    """Print each line as it comes, in UTF-8 whatever the locale: a process that is killed keeps none back."""
    sys.stdout, sys.stderr = _text(1), _text(2)


def _text(fd: int) -> TextIO:
    raw = io.FileIO(fd, "w", closefd=False)
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)
