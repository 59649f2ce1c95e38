"""The server's end of a control socket: one message a packet, descriptors travel along."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from lambent.core.errors import InvalidSpec
from lambent.wire.process import PACKET_BYTES_MAX, Fork, FromTemplate
from lambent.wire.typed import unpacker

# Packets taken in one turn of the loop, and in all when the peer has died.
PACKETS_PER_TURN: Final = 64
PACKETS_AT_END_MAX: Final = 4096

_encoder: Final = msgspec.msgpack.Encoder()


class ControlEnded(Exception):
    """The peer is gone, or what it sent is no message."""


class Control:
    """Sends forks, hears of their lives.

    `on_message` gets each message in order; `on_end` is called once, when the peer has closed its end or has
    sent something that is no message.
    """

    def __init__(
        self, sock: socket.socket, *, on_message: Callable[[FromTemplate], None], on_end: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self._sock: Final = sock
        self._loop: Final = asyncio.get_running_loop()
        self._on_message: Final = on_message
        self._on_end: Final = on_end
        self._decoder: Final[msgspec.msgpack.Decoder[FromTemplate]] = unpacker(FromTemplate)
        self._sending: Final = asyncio.Lock()
        self._turn: asyncio.Future[None] | None = None
        self._ended = False
        self._loop.add_reader(sock, self._read, PACKETS_PER_TURN)

    async def send(self, message: Fork, descriptors: Sequence[int]) -> None:
        """Send one packet; the descriptors stay the caller's to close.

        Raises `ControlEnded`, and `InvalidSpec` when the plan does not fit into a packet.
        """
        packet = _encoder.encode(message)
        if len(packet) > PACKET_BYTES_MAX:
            raise InvalidSpec(
                f"settings of {len(packet)} bytes do not fit into {PACKET_BYTES_MAX}: shorten env or imports"
            )
        async with self._sending:
            while not self._try_send(packet, descriptors):
                await self._writable()

    def drain(self) -> None:
        """Take what the peer had sent before it died."""
        self._read(PACKETS_AT_END_MAX)

    def close(self) -> None:
        """Close this end: a template knows by it that it is not needed. `on_end` is not called after that."""
        if not self._ended:
            self._ended = True
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self._let_on()

    def _try_send(self, packet: bytes, descriptors: Sequence[int]) -> bool:
        if self._ended:
            raise ControlEnded
        try:
            socket.send_fds(self._sock, [packet], list(descriptors))
        except BlockingIOError:
            return False
        except OSError as error:
            raise ControlEnded from error
        return True

    async def _writable(self) -> None:
        self._turn = self._loop.create_future()
        self._loop.add_writer(self._sock, self._let_on)
        try:
            await self._turn
        finally:
            if not self._ended:
                self._loop.remove_writer(self._sock)

    def _let_on(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def _read(self, packets_max: int) -> None:
        for _ in range(packets_max):
            if self._ended:
                return
            try:
                packet = self._sock.recv(PACKET_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            with contextlib.suppress(msgspec.DecodeError):
                if packet:
                    self._on_message(self._decoder.decode(packet))
                    continue
            self.close()
            self._on_end()
