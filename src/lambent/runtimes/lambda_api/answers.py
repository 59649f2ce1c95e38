"""What a program sends to the Runtime API, by what it may be: an answer, whole or in pieces, or an error."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from lambent.runtimes.faults import Fault, Reported
from lambent.runtimes.lambda_api.http import Exchange
from lambent.runtimes.lambda_api.reports import as_fault, as_payload
from lambent.runtimes.lambda_api.work import Ended, Work

REPORT_BYTES_MAX: Final = 1024 * 1024  # of an error, as its program tells it
ERROR_TYPE: Final = "lambda-runtime-function-error-type"
ERROR_BODY: Final = "lambda-runtime-function-error-body"
JSON_LINE: Final = b"Content-Type: application/json\r\n"
ACCEPTED: Final = b'{"status":"OK"}\n'


class Answering:
    """An answer on its way, of whatever form."""

    def __init__(self, work: Work, exchange: Exchange, end: Callable[[Work, Ended], None]) -> None:
        self.work: Final = work
        self.exchange: Final = exchange
        self._end: Final = end

    def end(self, how: Ended) -> None:
        """Its invocation is over, and who answers hears that it was taken."""
        self._end(self.work, how)
        self.exchange.reply(202, ACCEPTED, JSON_LINE)

    def failed(self, body: bytes | bytearray, error_type: str) -> None:
        """It is over with an error that the program reports."""
        payload = as_payload(bytes(body), error_type, self.work.event.request_id)
        self.end(Ended(error=Reported(payload)))

    def spoilt(self, error_type: str, message: str) -> None:
        """It is over with an error of ours: the answer cannot be used."""
        self._end(self.work, Ended(error=Fault(error_type, message)))

    def broken(self) -> None:
        """Its connection has ended in the middle."""
        self.spoilt("Runtime.TruncatedResponse", "the program's answer broke off before its end")


class Whole:
    """An answer in one piece. One that is too large ends its invocation, and is read to its end."""

    def __init__(self, answer: Answering, bytes_max: int, done: Callable[[bytearray], None]) -> None:
        self._answer: Final = answer
        self._bytes_max: Final = bytes_max
        self._done: Final = done
        self._body: bytearray | None = bytearray()

    def feed(self, piece: bytes) -> None:
        if self._body is None:
            return
        try:
            if len(self._body) + len(piece) > self._bytes_max:
                raise MemoryError
            self._body += piece
        except MemoryError:  # over the bound, or over what the function may use
            self._body = None
            self._answer.spoilt("Function.ResponseSizeTooLarge", too_large(self._bytes_max))

    def end(self, trailers: Mapping[str, str]) -> None:
        if self._body is None:
            text = too_large(self._bytes_max)
            self._answer.exchange.reply(413, said("RequestEntityTooLarge", text), JSON_LINE)
        else:
            self._done(self._body)

    def broken(self) -> None:
        self._answer.broken()


class Streaming:
    """An answer in pieces, which may end in an error that its trailers tell."""

    def __init__(self, answer: Answering, content_type: str) -> None:
        self._answer: Final = answer
        answer.work.begin(content_type)

    def feed(self, piece: bytes) -> None:
        self._answer.work.write(piece, pause=self._answer.exchange.pause)

    def end(self, trailers: Mapping[str, str]) -> None:
        error_type = trailers.get(ERROR_TYPE, "")
        if not error_type:
            self._answer.end(Ended())
            return
        try:
            body = base64.b64decode(trailers.get(ERROR_BODY, ""), validate=True)
        except binascii.Error:
            body = trailers[ERROR_BODY].encode("latin-1")
        self._answer.failed(body or b"{}", error_type)

    def broken(self) -> None:
        self._answer.broken()


class Failure:
    """What the program says of its own start."""

    def __init__(self, exchange: Exchange, error_type: str, fails: Callable[[Fault], None]) -> None:
        self._exchange: Final = exchange
        self._error_type: Final = error_type
        self._fails: Final = fails
        self._body: Final = bytearray()

    def feed(self, piece: bytes) -> None:
        if len(self._body) < REPORT_BYTES_MAX:
            self._body.extend(piece)

    def end(self, trailers: Mapping[str, str]) -> None:
        self._exchange.reply(202, ACCEPTED, JSON_LINE)
        self._fails(as_fault(bytes(self._body), self._error_type))

    def broken(self) -> None:
        self._fails(as_fault(bytes(self._body), self._error_type))


class Known:
    """A request whose answer is known. It is read to its end all the same, or its answer might be lost."""

    def __init__(self, exchange: Exchange, status: int, body: bytes = b"") -> None:
        self._exchange: Final = exchange
        self._status: Final = status
        self._body: Final = body

    def feed(self, piece: bytes) -> None:
        """Nobody wants it."""

    def end(self, trailers: Mapping[str, str]) -> None:
        self._exchange.reply(self._status, self._body, JSON_LINE if self._body else b"")

    def broken(self) -> None:
        """Nobody waits for it."""


def refused(exchange: Exchange, status: int, error_type: str, message: str) -> Known:
    """A request that changes nothing, and why."""
    return Known(exchange, status, said(error_type, message))


def out_of_turn(exchange: Exchange, why: str) -> Known:
    """What AWS says of a request that does not fit what went before it."""
    return refused(exchange, 403, "InvalidStateTransition", f"State transition is not allowed: {why}")


def said(error_type: str, message: str) -> bytes:
    """An error in the words of the Runtime API."""
    return msgspec.json.encode({"errorMessage": message, "errorType": error_type})


def too_large(bytes_max: int) -> str:
    """As AWS says it."""
    return f"Response payload size exceeded maximum allowed payload size ({bytes_max} bytes)."
