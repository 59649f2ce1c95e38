"""An operation of AWS's control APIs as a value: the door serves it, the control side does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from lambent.core.invocation import Principal
from lambent.wire.aws.names import Place

REQUEST_BYTES_MAX: Final = 6_291_456


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `labels` are the decoded values in the path, in order; `query` has every value of a name."""

    principal: Principal
    place: Place
    labels: Sequence[str] = ()
    query: Mapping[str, Sequence[str]] = {}
    body: bytes = b""
    base_url: str = ""  # the server as this client reaches it, without a slash at the end


class Answer(msgspec.Struct, frozen=True):
    """What is answered: a value as JSON, or nothing."""

    status: int
    value: object | None = None


class ControlOperation(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is the service model's own template, such as `/2015-03-31/functions/{FunctionName}`.

    `run` raises `Fault`, and other errors of ours, which the door puts into AWS's words.
    """

    name: str
    method: str
    path: str
    run: Callable[[Call], Awaitable[Answer]]
    request_bytes_max: int = REQUEST_BYTES_MAX
