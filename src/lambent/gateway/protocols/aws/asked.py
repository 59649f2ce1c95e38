"""A request of AWS's clients whose sender is known, and what one of its operations is to the door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from lambent.core.invocation import Principal
from lambent.gateway.requests import Request
from lambent.gateway.responses import JSON_HEADER, Header, Reply
from lambent.wire.aws.names import Place

REQUEST_BYTES_MAX: Final = 6_291_456


class Asked(msgspec.Struct, frozen=True):
    """A request whose sender is known. `labels` are the decoded values of the path's template, in order."""

    request: Request
    principal: Principal
    place: Place
    labels: Sequence[str]
    body: bytes

    def header(self, name: bytes) -> str:
        """A header's value, empty where there is none."""
        return self.request.headers.get(name, b"").decode("latin-1")


Run = Callable[[Asked], Awaitable[Reply | None]]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: `name` is AWS's. `run` answers; `None` where it has answered by itself.

    It raises `Fault`, and other errors of ours. A body over `request_bytes_max` is refused in AWS's words.
    """

    name: str
    run: Run
    request_bytes_max: int = REQUEST_BYTES_MAX


def json_of(asked: Asked, value: object, *, status: int = 200) -> Reply:
    """`value` as the JSON of an answer."""
    headers = [JSON_HEADER, *request_id(asked.request.invocation_id)]
    return Reply(status, headers, msgspec.json.encode(value))


def request_id(invocation_id: str) -> list[Header]:
    """What every answer of AWS carries."""
    return [(b"x-amzn-requestid", invocation_id.encode())]
