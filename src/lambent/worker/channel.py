"""A template's end of its control socket: one message a packet, file descriptors travel with it."""

from __future__ import annotations

import os
import socket
from typing import Final

import msgspec

from lambent.wire.process import PACKET_BYTES_MAX, FromTemplate, ToTemplate

FDS_MAX: Final = 8

_decoder: Final = msgspec.msgpack.Decoder(ToTemplate)
_encoder: Final = msgspec.msgpack.Encoder()


class BrokenOrder(RuntimeError):
    """The server sent something that is not a message. It is trusted, so this is a bug of ours."""


class Order(msgspec.Struct, frozen=True):
    """What the server wants, with the descriptors that go with it, which now belong to this process."""

    message: ToTemplate
    fds: tuple[int, ...]

    def close(self) -> None:
        """Give the descriptors up."""
        for fd in self.fds:
            os.close(fd)


class Channel:
    """The control socket of one template."""

    def __init__(self, fd: int) -> None:
        self._socket: Final = socket.socket(fileno=fd)
        self._socket.setblocking(True)

    def fileno(self) -> int:
        """The descriptor, for a poll."""
        return self._socket.fileno()

    def receive(self) -> Order | None:
        """The next order, `None` when the server has gone. Raises `BrokenOrder`."""
        try:
            packet, fds, flags, _ = socket.recv_fds(
                self._socket, PACKET_BYTES_MAX, FDS_MAX, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return None
        if not packet:
            return None
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise BrokenOrder(f"an order of more than {PACKET_BYTES_MAX} bytes or {FDS_MAX} descriptors")
        try:
            return Order(_decoder.decode(packet), tuple(fds))
        except msgspec.DecodeError as error:
            raise BrokenOrder(f"an order cannot be read: {error}") from error

    def send(self, message: FromTemplate) -> None:
        """Tell the server. Does nothing where it has gone: the next `receive` will say so."""
        try:
            self._socket.send(_encoder.encode(message))
        except (BrokenPipeError, ConnectionResetError):
            return

    def close(self) -> None:
        """Let go of the socket, without a word to the other end."""
        self._socket.close()
