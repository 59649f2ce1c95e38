"""Frames between the server and a worker: two lengths, a msgpack header, a body.

    u32 header length · u32 body length (both little-endian) · header · body

The header is one of the structs below; the body is opaque. A worker is the untrusted side: lengths over the
maximum end the connection.
"""

from __future__ import annotations

import struct
from typing import Final, Generic, TypeVar

import msgspec

from lambent.core.invocation import JSON, FunctionError, Status

PREFIX: Final = struct.Struct("<II")
HEADER_BYTES_MAX: Final = 256 * 1024
BODY_BYTES_MAX: Final = 1 << 30


class Call(msgspec.Struct, frozen=True, array_like=True, tag="call"):
    """Server → worker: run this. `remaining_ms` is what is left of the timeout."""

    call_id: int
    invocation_id: str
    remaining_ms: float
    content_type: str = JSON
    client_context: str = ""


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Server → worker: finish what runs and exit."""


class Wake(msgspec.Struct, frozen=True, array_like=True, tag="wake"):
    """Server → parked worker: you are needed. It restores and says hello."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """Worker → server: ready for calls. `parts_ms` names what the wake was made of on this side."""

    parts_ms: dict[str, float]


class LoadError(msgspec.Struct, frozen=True, array_like=True, tag="load_error"):
    """Worker → server: load/init failed, the worker exits. The body is a `FunctionError` as JSON."""


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """Worker → server: the result of a call. If the status is not ok the body is a `FunctionError` as JSON.

    `run_us` is the time in user code, `cpu_us` the CPU time of the process meanwhile, `rss_bytes` its peak
    memory. `retiring`: the worker will exit after this answer and takes no more calls.
    """

    call_id: int
    status: Status
    content_type: str
    run_us: int
    cpu_us: int
    rss_bytes: int
    retiring: bool = False


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="progress"):
    """Worker → server: news of a call that still runs. The body is JSON."""

    call_id: int


ToWorker = Call | Stop | Wake
ToServer = Hello | LoadError | Answer | Progress

H = TypeVar("H")

_encoder: Final = msgspec.msgpack.Encoder()


class FrameError(ValueError):
    """The peer sent something that is not a frame."""


def encode(header: ToWorker | ToServer, body: bytes = b"") -> bytes:
    """One frame as bytes."""
    head = _encoder.encode(header)
    return b"".join((PREFIX.pack(len(head), len(body)), head, body))


_errors: Final = msgspec.json.Decoder(FunctionError)


def read_error(body: bytes) -> FunctionError:
    """The error that an answer carries. What a worker wrote there is not trusted to be one."""
    try:
        return _errors.decode(body)
    except msgspec.DecodeError:
        return FunctionError("the worker's error could not be read", "Runtime.Unknown")


class FrameReader(Generic[H]):
    """Cuts a byte stream into frames of one direction: `FrameReader(ToServer)` on the server's side."""

    def __init__(self, headers: type[H] | object, *, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self._decoder: msgspec.msgpack.Decoder[H] = msgspec.msgpack.Decoder(headers)
        self._body_bytes_max = body_bytes_max
        self._buffer = bytearray()

    def feed(self, chunk: bytes | memoryview) -> list[tuple[H, bytes]]:
        """The frames that `chunk` completes, in order. Raises `FrameError`: the stream is of no use then."""
        # Nearly every chunk of a small call is one whole frame: it is cut where it lies, without the buffer.
        kept = self._buffer
        if kept:
            kept += chunk
        frames: list[tuple[H, bytes]] = []
        start = 0
        with memoryview(kept or chunk) as view:
            while len(view) - start >= PREFIX.size:
                head_bytes, body_bytes = PREFIX.unpack_from(view, start)
                if head_bytes > HEADER_BYTES_MAX or body_bytes > self._body_bytes_max:
                    raise FrameError(f"a frame of {head_bytes} + {body_bytes} bytes is over the maximum")
                head_start = start + PREFIX.size
                body_start = head_start + head_bytes
                end = body_start + body_bytes
                if end > len(view):
                    break
                frames.append((self._header(view[head_start:body_start]), bytes(view[body_start:end])))
                start = end
        if kept:
            del kept[:start]
        else:
            kept += chunk[start:]
        return frames

    def _header(self, head: memoryview) -> H:
        with head:
            try:
                return self._decoder.decode(head)
            except msgspec.DecodeError as error:
                raise FrameError(f"a frame's header cannot be read: {error}") from error
