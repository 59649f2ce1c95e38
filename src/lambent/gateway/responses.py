"""Answers as the doors give them, and their way onto the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from lambent.core.errors import LambentError, NotFound, Unauthenticated
from lambent.core.invocation import JSON, OCTETS, Invocation, Outcome
from lambent.core.spec import Temperature
from lambent.core.tracing import parent_from
from lambent.gateway.flow import Flow
from lambent.gateway.requests import WHOLE, Scope, Send
from lambent.wire import problem
from lambent.wire.api import Problem

Header = tuple[bytes, bytes]

CONTENT_TYPES: Final[Mapping[str, Header]] = {
    name: (b"content-type", name.encode())
    for name in (JSON, OCTETS, problem.CONTENT_TYPE, "text/plain; charset=utf-8")
}
JSON_HEADER: Final = CONTENT_TYPES[JSON]
TEMPERATURES: Final[Mapping[Temperature, bytes]] = {one: one.value.encode() for one in Temperature}
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
CHALLENGE: Final = (b"www-authenticate", b'Bearer realm="lambent"')


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. `headers` are without the body's length; `length` is what HEAD hears, if not that."""

    status: int
    headers: list[Header]
    body: bytes = b""
    length: int | None = None


async def send(reply: Reply, scope: Scope, send_message: Send) -> None:
    """Put an answer on the wire. To HEAD the body's length is told, the body is not sent."""
    body = reply.body
    headers = reply.headers
    is_head = scope["method"] == "HEAD"
    if reply.status not in (204, 304):
        length = reply.length if is_head and reply.length is not None else len(body)
        headers = [*headers, (b"content-length", b"%d" % length)]
    if is_head or reply.status in (204, 304):
        body = b""
    whole = scope.get("extensions", NOTHING).get(WHOLE)
    if whole is not None and whole.write(reply.status, headers, body):
        return
    await send_message({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send_message({"type": "http.response.body", "body": body})


def json_reply(status: int, value: object, headers: Iterable[Header] = ()) -> Reply:
    """`value` as JSON."""
    return Reply(status, [JSON_HEADER, *headers], msgspec.json.encode(value))


def problem_reply(document: Problem, headers: Iterable[Header] = ()) -> Reply:
    """A problem document."""
    return Reply(document.status, [CONTENT_TYPES[problem.CONTENT_TYPE], *headers], problem.encode(document))


def refusal(error: LambentError, headers: Iterable[Header] = ()) -> Reply:
    """An error as a problem document, with the headers that belong to its kind."""
    return problem_reply(problem.of_error(error), [*headers, *headers_of(error)])


def headers_of(error: LambentError) -> list[Header]:
    """`Retry-After` where the error names a time, `WWW-Authenticate` where a key is missing."""
    headers: list[Header] = []
    if (seconds := problem.retry_after(error)) is not None:
        headers.append((b"retry-after", seconds.encode()))
    if isinstance(error, Unauthenticated):
        headers.append(CHALLENGE)
    return headers


def not_allowed(method: str, path: str, allowed: tuple[str, ...]) -> Reply:
    """What OPTIONS hears, and, as 405, any method that this path does not take."""
    allow = [(b"allow", ", ".join((*allowed, "OPTIONS")).encode())]
    if method == "OPTIONS":
        return Reply(204, allow)
    document = Problem(
        title="Method not allowed",
        status=405,
        code="method_not_allowed",
        detail=f"{method} {path}: use {' or '.join(allowed)}",
    )
    return problem_reply(document, allow)


def no_such_path(path: str) -> Reply:
    """404 for a path that is nobody's."""
    return refusal(NotFound(f"there is nothing at {path}; GET / lists the doors"))


def id_headers(invocation_id: str) -> list[Header]:
    """Which invocation a refusal is about, where there is one already."""
    return [(b"lambent-invocation-id", invocation_id.encode())] if invocation_id else []


def outcome_headers(invocation_id: str, outcome: Outcome) -> list[Header]:
    """What is told of every invocation that ran, whatever the door."""
    timing = outcome.timing
    wake = "".join([f"{part};dur={part_ms:.2f}, " for part, part_ms in timing.wake_ms.items()])
    parts = (
        f"queue;dur={timing.queue_ms:.2f}, {wake}run;dur={timing.run_ms:.2f}, total;dur={timing.total_ms:.2f}"
    )
    return [
        (b"lambent-invocation-id", invocation_id.encode()),
        (b"lambent-revision", outcome.revision.encode()),
        (b"lambent-temperature", TEMPERATURES[outcome.temperature]),
        (b"lambent-billed-ms", b"%d" % outcome.billed_ms),
        (b"server-timing", parts.encode()),
        (b"traceresponse", parent_from(invocation_id, outcome.trace).encode()),
    ]


def stream_headers(invocation: Invocation, flow: Flow | None) -> list[Header]:
    """What is told of an answer that streams, as much as is known when its head goes out."""
    headers = [
        (b"lambent-invocation-id", invocation.id.encode()),
        (b"traceresponse", parent_from(invocation.id, invocation.trace).encode()),
    ]
    if flow is not None:
        headers.append((b"lambent-revision", flow.revision.encode()))
        headers.append((b"lambent-temperature", TEMPERATURES[flow.temperature]))
    return headers


def type_header(content_type: str) -> Header:
    """`Content-Type` as the worker said it; the worker is not trusted to have said a type."""
    known = CONTENT_TYPES.get(content_type)
    if known is not None:
        return known
    if content_type and content_type.isascii() and content_type.isprintable():
        return (b"content-type", content_type.encode())
    return CONTENT_TYPES[OCTETS]
