"""A worker's end of its stream: frames, blocking, without copies of large bodies."""

from __future__ import annotations

import socket
import threading
from typing import Final

import msgspec

from lambent.wire.frames import BODY_BYTES_MAX, HEADER_BYTES_MAX, PREFIX, FrameError, ToServer, ToWorker, Wake

READ_BYTES: Final = 64 * 1024
JOIN_BYTES_MAX: Final = 64 * 1024  # below this one copy costs less than a second buffer in the system call

_decoder: Final = msgspec.msgpack.Decoder(ToWorker)
_encoder: Final = msgspec.msgpack.Encoder()


class BodyTooLarge(MemoryError):
    """A body did not fit into the worker's memory. It was read and thrown away; `header` is its frame's."""

    def __init__(self, header: ToWorker, body_bytes: int) -> None:
        super().__init__(f"the body of {body_bytes} bytes does not fit into the function's memory")
        self.header = header


class Stream:
    """Frames to and from the server."""

    def __init__(self, fd: int) -> None:
        # Told what it is, `socket` asks the kernel nothing. The server made it blocking.
        self._socket: Final = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=fd)
        self._arrived = bytearray()  # what was read beyond the last frame: calls are sent ahead of their turn
        self._chunk: Final = memoryview(bytearray(READ_BYTES))
        self._sending: Final = threading.Lock()  # user code may report progress from a thread of its own
        self.busy = False  # a call runs, which may wait for more than has arrived
        self.ending = False  # no more calls are wanted

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for who reads it in another way."""
        return self._socket

    def woken(self) -> bool:
        """Wait for `Wake`; False where `Stop`, or the end of the stream, comes in its place."""
        frame = self.receive()
        return frame is not None and isinstance(frame[0], Wake)

    def pull(self) -> bool:
        """Take what has arrived, without waiting, and say whether it is at least one whole frame."""
        while self._pulled():
            pass
        if len(self._arrived) < PREFIX.size:
            return False
        head_bytes, body_bytes = PREFIX.unpack_from(self._arrived)
        return len(self._arrived) - PREFIX.size >= int(head_bytes) + int(body_bytes)

    def receive(self) -> tuple[ToWorker, bytearray] | None:
        """The next frame, `None` at the end of the stream. Raises `FrameError`, `BodyTooLarge`."""
        if not self._arrive(PREFIX.size):
            return None
        head_bytes, body_bytes = PREFIX.unpack_from(self._arrived)
        if head_bytes > HEADER_BYTES_MAX or body_bytes > BODY_BYTES_MAX:
            raise FrameError(f"a frame of {head_bytes} + {body_bytes} bytes is over the maximum")
        body_start = PREFIX.size + head_bytes
        if not self._arrive(body_start):
            return None
        with memoryview(self._arrived) as arrived:
            header = _decoder.decode(arrived[PREFIX.size : body_start])
        del self._arrived[:body_start]
        try:
            body = bytearray(body_bytes)
        except MemoryError:
            self._drain(body_bytes)
            raise BodyTooLarge(header, body_bytes) from None
        return (header, body) if self._fill(body) else None

    def send(self, header: ToServer, body: bytes | bytearray | memoryview = b"") -> None:
        """Send one frame whole. Raises `OSError` where the server has gone."""
        head = _encoder.encode(header)
        size = body.nbytes if isinstance(body, memoryview) else len(body)
        start = PREFIX.pack(len(head), size) + head
        with self._sending:
            if size <= JOIN_BYTES_MAX:
                self._socket.sendall(start + body)
                return
            sent = self._socket.sendmsg((start, body))
            if sent < len(start):
                self._socket.sendall(start[sent:])
                sent = len(start)
            self._socket.sendall(memoryview(body)[sent - len(start) :])

    def no_more(self) -> None:
        """Take no more calls. Where none runs, what has arrived is still read, then the stream ends."""
        self.ending = True
        if not self.busy:
            self._socket.shutdown(socket.SHUT_RD)

    def rest(self) -> None:
        """No call runs any more."""
        self.busy = False
        if self.ending:  # as was said when it was busy
            self.no_more()

    def close(self) -> None:
        """Let go of the socket, without a word to the other end."""
        self._socket.close()

    def _pulled(self) -> bool:
        have = len(self._arrived)
        try:
            self._arrived += self._chunk  # room first: what was read could not be given back
        except MemoryError:
            return False  # it is read when its turn comes, and refused then
        got = 0
        try:
            with memoryview(self._arrived) as arrived:
                got = self._socket.recv_into(arrived[have:], 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        finally:
            del self._arrived[have + got :]
        return got > 0

    def _arrive(self, size: int) -> bool:
        """Have at least `size` bytes at hand; False where the stream ends first."""
        while len(self._arrived) < size:
            got = self._socket.recv_into(self._chunk)
            if not got:
                return False
            self._arrived += self._chunk[:got]
        return True

    def _fill(self, buffer: bytearray) -> bool:
        """Read exactly as much as `buffer` holds; False where the stream ends first."""
        with memoryview(buffer) as view:
            filled = min(len(view), len(self._arrived))
            view[:filled] = self._arrived[:filled]
            del self._arrived[:filled]
            while filled < len(view):
                got = self._socket.recv_into(view[filled:], 0, socket.MSG_WAITALL)
                if not got:
                    return False
                filled += got
        return True

    def _drain(self, size: int) -> None:
        at_hand = min(size, len(self._arrived))
        del self._arrived[:at_hand]
        size -= at_hand
        while size:
            got = self._socket.recv_into(self._chunk, min(size, READ_BYTES))
            if not got:
                return
            size -= got
