"""Frames between the server and a worker: two lengths, a msgpack header, a body.

    u32 header length · u32 body length (both little-endian) · header · body

The header is one of the structs below; the body is opaque. A worker is the untrusted side: lengths over the
maximum end the connection.

Most calls are one `Call` and one `Answer`. One that streams says `Begin` and `Chunk`s before its answer, as
many bytes as it was given credit for (`CREDIT_BYTES` to begin with, more by `Credit`, as in HTTP/2's flow
control, RFC 9113 section 5.2). One whose request streams is told `Input`s, and grants credit with `Took`.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import Final, Generic, TypeVar

import msgspec

from lambent.core.invocation import JSON, Asked, Called, FunctionError, Head, Status
from lambent.core.tracing import Trace
from lambent.wire.typed import unpacker

PREFIX: Final = struct.Struct("<II")
HEADER_BYTES_MAX: Final = 256 * 1024
BODY_BYTES_MAX: Final = 1 << 30
JOINED_BYTES_MAX: Final = 64 * 1024  # a body up to this size is sent in one piece with its header
CREDIT_BYTES: Final = 256 * 1024  # how much may be on its way to a reader that has taken nothing yet

PIECE_BYTES: Final = 64  # what each piece costs beside its bytes: empty ones take room too


class Form(StrEnum):
    """What a piece of a stream is: its writer's words decide, its reader shapes them."""

    BYTES = "bytes"
    TEXT = "text"  # UTF-8
    JSON = "json"  # one value
    TRAILERS = (
        "trailers"  # what stands behind an answer's body, where it was asked for: names and values, as JSON
    )
    CLOSE = "close"  # how a WebSocket was closed: its code in two bytes, the reason (RFC 6455 section 5.5.1)


class Call(msgspec.Struct, frozen=True, array_like=True, tag="call"):
    """Server → worker: run this. `remaining_ms` is what is left of the timeout.

    `more`: the body is only its beginning, and `Input`s follow. `asked` is there where the revision speaks
    HTTP itself, `trace` where it does not begin one, `called` where an AWS client called it.
    """

    call_id: int
    invocation_id: str
    remaining_ms: float
    content_type: str = JSON
    client_context: str = ""
    more: bool = False
    asked: Asked | None = None
    trace: Trace | None = None
    called: Called | None = None


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """Server → worker: run these together. The body is theirs, one after another; `sizes` are their bytes."""

    call_id: int
    calls: tuple[Call, ...]
    sizes: tuple[int, ...]


class Input(msgspec.Struct, frozen=True, array_like=True, tag="input"):
    """Server → worker: more of a request. `last`: no more comes; of a WebSocket it says how it was closed."""

    call_id: int
    form: Form = Form.BYTES
    last: bool = False


class Credit(msgspec.Struct, frozen=True, array_like=True, tag="credit"):
    """Server → worker: pieces that cost so much were taken; as much more may be sent. See `cost_of`."""

    call_id: int
    size_bytes: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Server → worker: nobody waits for this call any more. It is answered all the same."""

    call_id: int


class Told(msgspec.Struct, frozen=True, array_like=True, tag="told"):
    """Server → worker: what came of an invocation that a call asked for: the result, or the error."""

    call_id: int
    ask_id: int
    status: Status
    content_type: str


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Server → worker: finish what runs and exit."""


class Wake(msgspec.Struct, frozen=True, array_like=True, tag="wake"):
    """Server → parked worker: you are needed. It restores and says hello."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """Worker → server: ready for calls. `parts_ms` names what the wake was made of on this side.

    `total_us` is the CPU time that the worker, and a program beside it, have used until now.
    """

    parts_ms: dict[str, float]
    total_us: int = 0


class LoadError(msgspec.Struct, frozen=True, array_like=True, tag="load_error"):
    """Worker → server: load/init failed, the worker exits. The body is a `FunctionError` as JSON."""


class Each(msgspec.Struct, frozen=True, array_like=True):
    """One call's part in the answer to a batch."""

    status: Status
    content_type: str
    size_bytes: int
    head: Head | None = None


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """Worker → server: the result of a call. If the status is not ok the body is a `FunctionError` as JSON.

    `run_us` is the time in user code, `cpu_us` the CPU time of the process meanwhile, `rss_bytes` its peak
    memory. `retiring`: the worker will exit after this answer and takes no more calls. To a batch, `each`
    says what the body is made of, in the order of its calls. After a `Begin` the body is empty, or the error.
    `own_us` is what of `run_us` other processes have not taken from it, as far as that is known: 0 where not.
    `total_us` is as in `Hello`: a call that ends with its worker has used what came after it.
    """

    call_id: int
    status: Status
    content_type: str
    run_us: int
    cpu_us: int
    rss_bytes: int
    retiring: bool = False
    each: tuple[Each, ...] = ()
    head: Head | None = None
    own_us: int = 0
    total_us: int = 0


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="begin"):
    """Worker → server: the answer to a call streams."""

    call_id: int
    head: Head | None = None


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag="chunk"):
    """Worker → server: the next piece of a streaming answer. `last`: its call may still go on."""

    call_id: int
    form: Form = Form.BYTES
    last: bool = False


class Took(msgspec.Struct, frozen=True, array_like=True, tag="took"):
    """Worker → server: pieces of the request that cost so much were taken; as much more may be sent."""

    call_id: int
    size_bytes: int


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """Worker → server: a call asks for another deployment's answer. `Told` follows, once for each `ask_id`.

    `timeout_ms` is how long it will wait, 0 for as long as the call itself may take.
    """

    call_id: int
    ask_id: int
    deployment: str
    content_type: str = JSON
    timeout_ms: float = 0.0
    alias: str = ""


class Drop(msgspec.Struct, frozen=True, array_like=True, tag="drop"):
    """Worker → server: nobody waits for what a call had asked for. `Told` follows all the same."""

    call_id: int
    ask_id: int


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="progress"):
    """Worker → server: news of a call that still runs. The body is JSON."""

    call_id: int


ToCall = Input | Credit | Cancel | Told  # what is told while a call runs
FromCall = Begin | Chunk | Took | Progress | Ask | Drop  # what is said before its answer
ToWorker = Call | Batch | ToCall | Stop | Wake
ToServer = Hello | LoadError | Answer | FromCall

H = TypeVar("H")

_encoder: Final = msgspec.msgpack.Encoder()


class FrameError(ValueError):
    """The peer sent something that is not a frame."""


def encode(header: ToWorker | ToServer, body: bytes = b"") -> bytes:
    """One frame as bytes."""
    head = _encoder.encode(header)
    return b"".join((PREFIX.pack(len(head), len(body)), head, body))


def parts(header: ToWorker | ToServer, body: bytes = b"") -> tuple[bytes, ...]:
    """One frame in pieces: a large body is not copied to stand behind its header."""
    if len(body) <= JOINED_BYTES_MAX:
        return (encode(header, body),)
    head = _encoder.encode(header)
    return PREFIX.pack(len(head), len(body)) + head, body


class _Foreign(msgspec.Struct, frozen=True, rename="camel"):
    """An error of a runtime that is not ours, which writes a stack, or an id, in its own way."""

    error_message: str
    error_type: str
    stack_trace: object = ()


_errors: Final = msgspec.json.Decoder(FunctionError)
_foreign_errors: Final = msgspec.json.Decoder(_Foreign)


def read_error(body: bytes) -> FunctionError:
    """The error that an answer carries. What a worker wrote there is not trusted to be one."""
    try:
        return _errors.decode(body)
    except msgspec.DecodeError:
        pass
    try:
        error = _foreign_errors.decode(body)
        return FunctionError(error.error_message, error.error_type, "", stack_lines(error.stack_trace))
    except (msgspec.DecodeError, RecursionError):
        return FunctionError("the worker's error could not be read", "Runtime.Unknown")


def stack_lines(stack: object) -> tuple[str, ...]:
    """A stack of any shape as one text for each frame."""
    if not isinstance(stack, list):
        return ()
    return tuple(one if isinstance(one, str) else msgspec.json.encode(one).decode() for one in stack)


def unheard(ask: Ask) -> tuple[Told, bytes]:
    """What is told where nobody runs what a call asks for."""
    error = FunctionError(
        "only functions, models and jobs may call others, while they run", "Lambent.CallerFault"
    )
    return Told(ask.call_id, ask.ask_id, Status.FAILED, JSON), msgspec.json.encode(error)


def cost_of(piece: bytes | bytearray) -> int:
    """How much credit a piece of a stream takes, in bytes."""
    return len(piece) + PIECE_BYTES


class Closing(msgspec.Struct, frozen=True):
    """How a WebSocket was closed. As a piece it is what RFC 6455 puts into its closing frame."""

    code: int = 1005  # what is said where nothing was said
    reason: str = ""

    def piece(self) -> bytes:
        """As the body of a piece of `Form.CLOSE`."""
        return self.code.to_bytes(2, "big") + self.reason.encode("utf-8", "replace")

    @classmethod
    def of(cls, piece: bytes | bytearray) -> Closing:
        """What `piece` says."""
        if len(piece) < 2:
            return cls()
        return cls(int.from_bytes(piece[:2], "big"), bytes(piece[2:]).decode("utf-8", "replace"))


class FrameReader(Generic[H]):
    """Cuts a byte stream into frames of one direction: `FrameReader(ToServer)` on the server's side."""

    def __init__(self, headers: type[H] | object, *, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self._decoder: msgspec.msgpack.Decoder[H] = unpacker(headers)
        self._body_bytes_max = body_bytes_max
        self._buffer = bytearray()
        self._large: tuple[H, list[bytes]] | None = None  # a frame whose body is on its way, in its pieces
        self._missing_bytes = 0  # of it

    def feed(self, chunk: bytes | memoryview) -> list[tuple[H, bytes]]:
        """The frames that `chunk` completes, in order. Raises `FrameError`: the stream is of no use then."""
        if self._large is not None:
            return self._feed_large(self._large, chunk)
        # Nearly every chunk of a small call is one whole frame: it is cut where it lies, without the buffer.
        kept = self._buffer
        if kept:
            kept += chunk
        frames: list[tuple[H, bytes]] = []
        view = memoryview(kept) if kept else chunk
        start, whole = 0, len(view)
        while whole - start >= PREFIX.size:
            head_bytes, body_bytes = PREFIX.unpack_from(view, start)
            if head_bytes > HEADER_BYTES_MAX or body_bytes > self._body_bytes_max:
                raise FrameError(f"a frame of {head_bytes} + {body_bytes} bytes is over the maximum")
            body_start = start + PREFIX.size + head_bytes
            end = body_start + body_bytes
            if end > whole:
                if body_bytes > JOINED_BYTES_MAX and body_start <= whole:
                    header = self._header(view[start + PREFIX.size : body_start])
                    self._large = header, [bytes(view[body_start:])]
                    self._missing_bytes = end - whole
                    start = whole
                break
            frames.append((self._header(view[start + PREFIX.size : body_start]), bytes(view[body_start:end])))
            start = end
        if isinstance(view, memoryview) and kept:
            view.release()
            del kept[:start]
        elif start < whole:
            kept += view[start:]
        return frames

    def _header(self, head: bytes | bytearray | memoryview) -> H:
        try:
            return self._decoder.decode(head)
        except msgspec.DecodeError as error:
            raise FrameError(f"a frame's header cannot be read: {error}") from error

    def _feed_large(self, large: tuple[H, list[bytes]], chunk: bytes | memoryview) -> list[tuple[H, bytes]]:
        """A large body is put together once, when all of it is here."""
        header, pieces = large
        piece = bytes(chunk[: self._missing_bytes])
        pieces.append(piece)
        self._missing_bytes -= len(piece)
        if self._missing_bytes:
            return []
        self._large = None
        rest = chunk[len(piece) :]
        return [(header, b"".join(pieces)), *(self.feed(rest) if rest else ())]
