"""The heads of requests and answers on their way through: what belongs to one connection stays on it.

RFC 9110 section 7.6 says what is passed on, RFC 7239 what is told of who asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

from lambent.core.invocation import Asked, Head
from lambent.core.tracing import parent_from
from lambent.runtimes.faults import Fault
from lambent.wire.frames import Call

HOP_BY_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
# Said anew for the program. Its body comes without being asked for, so `Expect` has been met.
OURS: Final = frozenset(
    {
        "content-length", "expect", "forwarded", "traceparent", "tracestate", "x-forwarded-for",
        "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-proto",
    }
)  # fmt: skip
# Of a handshake that is made anew with the program.
HANDSHAKE: Final = frozenset(
    {
        "sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-protocol",
        "sec-websocket-version",
    }
)  # fmt: skip
# RFC 9110 section 6.5.1: framing, routing, authentication and how a body is to be read come before it.
NO_TRAILERS: Final = frozenset(
    {
        "authorization", "cache-control", "content-encoding", "content-length", "content-range",
        "content-type", "host", "set-cookie", "www-authenticate",
    }
)  # fmt: skip
UPGRADE_REQUIRED: Final = 426
SAFE_IN_A_PATH: Final = "/:@!$&'()*+,;=~%"

Headers = Iterable[tuple[str, str]]


def takes_trailers(asked: Asked) -> bool:
    """Whether the client says that it reads what stands behind a body (RFC 9110 section 6.5.1)."""
    said = _of(asked.headers, "te")
    return bool(said) and "trailers" in (one.partition(";")[0].strip().lower() for one in said.split(","))


def trailer(name: str, value: str) -> list[tuple[str, str]]:
    """What is passed on behind a body: nothing of a connection, nor of how the answer is read."""
    return [] if name in HOP_BY_HOP or name in NO_TRAILERS else [(name, value)]


def request_head(asked: Asked, call: Call, *, length: int | None) -> bytes:
    """The head of a request to the program, to its end. Without a `length` the body is sent in chunks.

    Raises `Fault` for a header that would end its line.
    """
    lines = [
        f"{asked.method} {target_of(asked)} HTTP/1.1",
        *(f"{name}: {value}" for name, value in told_headers(asked, call)),
    ]
    if takes_trailers(asked):
        lines += ("te: trailers", "connection: te")
    if length is None:
        lines.append("transfer-encoding: chunked")
    elif length or asked.method not in ("GET", "HEAD", "OPTIONS", "DELETE", "TRACE"):
        lines.append(f"content-length: {length}")
    elif any(name == "content-length" for name, _ in asked.headers):
        lines.append("content-length: 0")
    head = "\r\n".join((*lines, "", "")).encode("latin-1", "replace")
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
        raise Fault("Lambent.CallerFault", "a header holds a character that no header may hold", status=400)
    return head


def target_of(asked: Asked) -> str:
    """The path as it was sent, below where the deployment answers, and the query."""
    if asked.raw_path:
        _, *parts = asked.raw_path.split("/", asked.root_path.count("/") + 1)
        path = "/" + (parts[-1] if len(parts) > asked.root_path.count("/") else "")
    else:
        path = quote(asked.path.removeprefix(asked.root_path), safe=SAFE_IN_A_PATH) or "/"
    return f"{path}?{asked.query}" if asked.query else path


def told_headers(asked: Asked, call: Call) -> Iterator[tuple[str, str]]:
    """What the program is told beside the body's length: the caller's headers, who that is, the trace."""
    sent = asked.headers
    dropped = HOP_BY_HOP | OURS | named_by_connection(sent)
    for name, value in sent:
        if name not in dropped:
            yield name, value
    yield from _forwarded(asked)
    yield "traceparent", parent_from(call.invocation_id, call.trace)
    if call.trace is not None and call.trace.state:
        yield "tracestate", call.trace.state


def _forwarded(asked: Asked) -> Iterator[tuple[str, str]]:
    """Proxies in front of this one have said more than we know: what they said is kept, and added to."""
    host = _of(asked.headers, "host")
    scheme = {"ws": "http", "wss": "https"}.get(asked.scheme, asked.scheme)
    client = asked.client[0]
    if "host" not in (name for name, _ in asked.headers):
        yield "host", "localhost"
    if client:
        yield "x-forwarded-for", _added(_of(asked.headers, "x-forwarded-for"), client)
        node = f'"[{client}]"' if ":" in client else client
        quoted = host.replace("\\", "\\\\").replace('"', '\\"')
        element = f"for={node};proto={scheme}" + (f';host="{quoted}"' if host else "")
        yield "forwarded", _added(_of(asked.headers, "forwarded"), element)
    yield "x-forwarded-proto", _of(asked.headers, "x-forwarded-proto") or scheme
    if forwarded_host := _of(asked.headers, "x-forwarded-host") or host:
        yield "x-forwarded-host", forwarded_host
    if prefix := _of(asked.headers, "x-forwarded-prefix").rstrip("/") + asked.root_path:
        yield "x-forwarded-prefix", quote(prefix, safe=SAFE_IN_A_PATH)


def answer_head(status: int, headers: list[tuple[str, str]]) -> Head:
    """The head of an answer as it is passed on. Its date is said by who passes it on."""
    kept = {"upgrade"} if status == UPGRADE_REQUIRED else set()
    dropped = (HOP_BY_HOP | {"date"} | named_by_connection(headers)) - kept
    return Head(status, tuple(pair for pair in headers if pair[0] not in dropped))


def named_by_connection(headers: Headers) -> frozenset[str]:
    """The headers that are said to be of this connection alone."""
    named = [value for name, value in headers if name == "connection"]
    if not named:
        return frozenset()
    # Of the request to the program, too, there is no making without a host.
    return frozenset(word.strip().lower() for value in named for word in value.split(",")) - {"host"}


def _of(headers: Headers, wanted: str) -> str:
    return ", ".join(value for name, value in headers if name == wanted)


def _added(before: str, more: str) -> str:
    return f"{before}, {more}" if before else more
