"""One HTTP request as the doors see it. Nothing of it is decoded before somebody asks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from lambent.core.errors import CallerFault, PayloadTooLarge
from lambent.gateway.bodies import Hold
from lambent.gateway.presence import ClientLeft, Presence

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Extensions of ASGI: a scope may offer to take an answer in one piece, to tell when its client leaves, and to
# end an answer with what stands behind its body.
WHOLE: Final = "lambent.whole"
PRESENCE: Final = "lambent.presence"
TRAILERS: Final = "lambent.trailers"
TOO_DEEP: Final = "it is nested too deeply"
QUERY_FIELDS_MAX: Final = 100

_skim: Final = msgspec.json.Decoder(msgspec.Raw)
# A backslash that is escaped goes along: what follows it is no escape.
_SURROGATE: Final = re.compile(rb"\\\\|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class NotAllowed(CallerFault):
    """A method that a path does not take."""

    code = "method_not_allowed"
    status = 405


class Request:
    """A request whose head has arrived. The body is read once, by `body`."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: Final[str] = scope["method"]
        self.path: Final[str] = scope["path"]
        self.scope: Final = scope
        # The last of two equal names wins; no header that we read may come twice.
        self.headers: Final[Mapping[bytes, bytes]] = dict(scope["headers"])
        self.invocation_id = ""
        self.send: Final = send  # for an answer that streams; others are returned
        self._receive: Final = receive

    @property
    def query(self) -> Mapping[str, str]:
        """The query, decoded; the last of two equal names wins. Raises `CallerFault` where it is too much."""
        text = self.scope["query_string"]
        if not text:
            return {}
        try:
            fields = parse_qs(text.decode("latin-1"), keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
        except ValueError as error:
            raise CallerFault(f"the query has more than {QUERY_FIELDS_MAX} fields") from error
        return {name: values[-1] for name, values in fields.items()}

    async def body(self, bytes_max: int, hold: Hold) -> bytes:
        """The whole body, for which `hold` finds room.

        Raises `PayloadTooLarge` as soon as it is known to be over, what `hold` raises, and `ClientLeft`.
        """
        hold.grow_to(self._announced(bytes_max))
        message = await self._receive()
        chunk: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body") and len(chunk) <= bytes_max:
            hold.grow_to(len(chunk))
            return chunk
        return await self._rest(message, bytes_max, hold)

    async def parts(self, bytes_max: int, hold: Hold) -> list[bytes]:
        """The whole body in the pieces in which it came. Raises as `body`."""
        hold.grow_to(self._announced(bytes_max))
        return await self._pieces(await self._receive(), bytes_max, hold)

    async def first(self, bytes_max: int, hold: Hold) -> tuple[bytes, bool]:
        """The beginning of the body, and whether more follows, which `pieces` then has. Raises as `body`."""
        self._announced(bytes_max)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk: bytes = message.get("body", b"")
        if len(chunk) > bytes_max:
            raise too_large(bytes_max)
        hold.grow_to(len(chunk))
        return chunk, bool(message.get("more_body"))

    async def pieces(self) -> AsyncIterator[bytes]:
        """The rest of a body whose `first` piece was read. Raises `ClientLeft`."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            more = bool(message.get("more_body"))
            if message.get("body"):
                yield message["body"]

    @property
    def client(self) -> Presence | None:
        """Tells when the client leaves, where the server that we run under knows."""
        found: Presence | None = self.scope.get("extensions", {}).get(PRESENCE)
        return found

    def _announced(self, bytes_max: int) -> int:
        announced = self.headers.get(b"content-length")
        if announced is None:
            return 0
        if len(announced) > 18 or int(announced) > bytes_max:
            raise too_large(bytes_max)
        return int(announced)

    async def _rest(self, message: Message, bytes_max: int, hold: Hold) -> bytes:
        return b"".join(await self._pieces(message, bytes_max, hold))

    async def _pieces(self, message: Message, bytes_max: int, hold: Hold) -> list[bytes]:
        chunks: list[bytes] = []
        size_bytes = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientLeft
            chunk = message.get("body", b"")
            size_bytes += len(chunk)
            if size_bytes > bytes_max:
                raise too_large(bytes_max)
            hold.grow_to(size_bytes)
            chunks.append(chunk)
            if not message.get("more_body"):
                return chunks
            message = await self._receive()


def check_json(body: bytes) -> None:
    """Read the syntax and build nothing. Raises `msgspec.DecodeError`, also for nesting that is too deep.

    Half of a surrogate pair, which JavaScript writes, is valid JSON (RFC 8259, section 8.2) and nothing to
    msgspec: what it refuses is looked at again with such escapes replaced, in time linear in the size.
    """
    try:
        try:
            _skim.decode(body)
        except msgspec.DecodeError:
            # Outside of strings the letter is no JSON, so that nothing gets valid by it but strings.
            mended, count = _SURROGATE.subn(b"x", body)
            if not count:
                raise
            _skim.decode(mended)
    except RecursionError as error:
        raise msgspec.DecodeError(TOO_DEEP) from error


def too_large(bytes_max: int) -> PayloadTooLarge:
    """What is said of a body over the limit."""
    return PayloadTooLarge(f"the body is over the limit of {bytes_max} bytes")
