"""The standard library's logging as Lambda sets it up: one root handler whose lines bear the request's id."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

LINE: Final = "[%(levelname)s]\t%(asctime)s\t%(aws_request_id)s\t%(message)s"


class RequestLog(logging.Handler):
    """Prints each record to whatever standard output is, under the id of the request that runs."""

    def __init__(self) -> None:
        super().__init__()
        self._request_id: Final = ContextVar("request_id", default="")
        self.setFormatter(_Line(LINE))

    @property
    def request_id(self) -> str:
        """The request that runs here, in this thread or task."""
        return self._request_id.get()

    @request_id.setter
    def request_id(self, request_id: str) -> None:
        self._request_id.set(request_id)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; a record that cannot be printed is reported by logging itself."""
        record.aws_request_id = self.request_id
        try:
            sys.stdout.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - logging must not fail the code that logs; this is its own custom
            self.handleError(record)


class _Line(logging.Formatter):
    """Writes the time as Lambda does: UTC with milliseconds and a Z."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def install() -> RequestLog:
    """Make the root logger print. Its level stays WARNING, as on Lambda, until user code sets it."""
    found = RequestLog()
    logging.getLogger().addHandler(found)
    return found
