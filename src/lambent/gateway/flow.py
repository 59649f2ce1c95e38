"""A streaming answer on its way through the server: as much of it as its reader has not taken yet."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import Final, Protocol

import msgspec

from lambent.core.invocation import JSON, OCTETS, Head, Invocation
from lambent.core.spec import Temperature
from lambent.gateway.asking import Asking, Asks
from lambent.gateway.presence import Presence
from lambent.pool.member import Lease
from lambent.wire.frames import (
    CREDIT_BYTES,
    Ask,
    Begin,
    Cancel,
    Chunk,
    Closing,
    Credit,
    Drop,
    Form,
    FromCall,
    Input,
    Took,
    cost_of,
)

TEXT: Final = "text/plain; charset=utf-8"
COLLECTED_BYTES_MAX: Final = 64 * 1024 * 1024  # of a stream that its door takes in one piece

Piece = tuple[Form, bytes]


class Streams(Protocol):
    """A door that can pass a stream on."""

    def started(self, flow: Flow) -> None:
        """The call was sent: its request may be added to, and it may be cancelled."""

    def begun(self, flow: Flow) -> None:
        """The answer streams: from now on `flow.pieces` has it, to its end."""


class Flow:
    """What one call says before its answer. Bounded by the credit that its reader grants."""

    __slots__ = (
        "_asking",
        "_asks",
        "_call_id",
        "_caller",
        "_client",
        "_collected_bytes",
        "_lease",
        "_pieces",
        "_room",
        "_streams",
        "_wake",
        "begun",
        "ended",
        "head",
        "heard_bytes",
        "said_bytes",
        "temperature",
        "too_large",
        "whole",
    )

    def __init__(
        self,
        call_id: int,
        lease: Lease,
        temperature: Temperature,
        client: Presence | None,
        streams: Streams | None,
        *,
        caller: Invocation,
        asking: Asking,
    ) -> None:
        self._asking: Final = asking
        self._caller: Final = caller
        self._asks: Asks | None = None  # once it asks for others
        self._call_id: Final = call_id
        self._lease: Final = lease
        self._streams: Final = streams
        self._pieces: Final[deque[Piece]] = deque()
        self._collected_bytes = 0
        self._room = CREDIT_BYTES  # of the request, that the worker takes
        self._wake: asyncio.Event | None = None
        self.temperature: Final = temperature
        self.head: Head | None = None
        self._client = client
        self.begun = False
        self.whole = False  # all of the answer has come, though the call may go on
        self.ended = False
        self.heard_bytes = 0  # of the request that was added to it
        self.said_bytes = 0  # of the answer
        self.too_large = ""  # why it is not taken as a whole

    @property
    def revision(self) -> str:
        """Whose answer it is."""
        return self._lease.plan.revision

    def start(self) -> None:
        """The call was sent. A client that leaves cancels it from now on."""
        client = self._client
        if self._streams is not None:
            self._streams.started(self)
        if client is not None:
            client.when_left(self.cancel)

    def hear(self, said: FromCall, body: bytes) -> None:
        """The call says something. What its worker says out of turn is not heard."""
        match said:
            case Begin(_, head) if not self.begun:
                self.begun, self.head = True, head
                if self._streams is not None:
                    self._streams.begun(self)
            case Chunk(_, form, last) if not self.whole:
                self.said_bytes += len(body)
                self._pieces.append((form, body))
                if self._streams is None:
                    self._collect(cost_of(body))
                if last:
                    self._complete()
            case Took(_, size_bytes):
                self._room += size_bytes
            case Ask() | Drop():
                if self._asks is None:
                    self._asks = self._asking.by((self._caller,), self._lease.tell)
                self._asks.hear(said, body)
        self._stir()

    def cancel(self) -> None:
        """Nobody reads it any more."""
        if not self.ended:
            self._lease.tell(Cancel(self._call_id))

    def end(self) -> None:
        """The call is over: nothing more comes."""
        self.ended = True
        self._forget()
        if self._asks is not None:
            self._asks.end()
        self._stir()

    async def pieces(self) -> AsyncIterator[Piece]:
        """Each piece; when the next is asked for, the one before has been taken."""
        while True:
            while self._pieces:
                form, body = self._pieces.popleft()
                yield form, body
                if not self.ended:
                    self._lease.tell(Credit(self._call_id, cost_of(body)))
            if self.ended or self.whole:
                return
            await self._news()

    async def over(self, *, within_s: float) -> None:
        """Wait for the end of the call, but not for long."""
        if not self.ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while not self.ended:
                        await self._news()

    async def write(self, form: Form, piece: bytes) -> bool:
        """Add to the request, once the worker has room for it; False where the call has ended."""
        while self._room <= 0 and not self.ended:
            await self._news()
        if self.ended:
            return False
        self._room -= cost_of(piece)
        self.heard_bytes += len(piece)
        self._lease.tell(Input(self._call_id, form), piece)
        return True

    def close(self, how: Closing | None = None) -> None:
        """Nothing will be added to the request: it is whole, or a WebSocket that was closed."""
        if self.ended:
            return
        if how is None:
            self._lease.tell(Input(self._call_id, last=True))
        else:
            self._lease.tell(Input(self._call_id, Form.CLOSE, last=True), how.piece())

    def collected(self) -> tuple[bytes, str]:
        """All pieces as one body, and its type: bytes and text joined, values as a list."""
        return joined(self._pieces)

    def _complete(self) -> None:
        """A client that leaves from now on has all that it asked for: what still runs may go on."""
        self.whole = True
        self._forget()

    def _forget(self) -> None:
        # Once only: its connection may serve its next request by now, and tell that one.
        client, self._client = self._client, None
        if client is not None:
            client.forget()

    def _collect(self, cost: int) -> None:
        self._collected_bytes += cost
        if self._collected_bytes > COLLECTED_BYTES_MAX:
            self.too_large = f"the stream is over {COLLECTED_BYTES_MAX} bytes, too long to be sent as a whole"
            self._pieces.clear()
            self.cancel()
        else:
            self._lease.tell(Credit(self._call_id, cost))

    async def _news(self) -> None:
        if self._wake is None:
            self._wake = asyncio.Event()
        await self._wake.wait()

    def _stir(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.set()


def joined(pieces: Collection[Piece]) -> tuple[bytes, str]:
    """Pieces as one body, and its type: bytes and text joined, values as a list."""
    forms = {form for form, _ in pieces}
    if forms <= {Form.BYTES}:
        return b"".join(body for _, body in pieces), OCTETS
    if forms == {Form.TEXT}:
        return b"".join(body for _, body in pieces), TEXT
    return b"[" + b",".join(as_json(form, body) for form, body in pieces) + b"]", JSON


def as_json(form: Form, body: bytes) -> bytes:
    """A piece as one JSON value. Bytes are written in base64."""
    if form is Form.JSON:
        return body
    if form is Form.TEXT:
        return msgspec.json.encode(body.decode("utf-8", "replace"))
    return msgspec.json.encode(base64.b64encode(body).decode())
