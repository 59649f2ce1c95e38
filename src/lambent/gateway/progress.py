"""How much of what was written to a connection its reader has taken, as the kernel counts it, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Final

# `tcpi_bytes_acked` of Linux's `struct tcp_info` (include/uapi/linux/tcp.h, since 4.1).
ACKED: Final = struct.Struct("=Q")
ACKED_AT: Final = 120
# Closed with a time of zero to linger, a connection is reset, and the kernel drops what it holds for it.
RESET: Final = struct.pack("ii", 1, 0)


def taken_bytes(transport: asyncio.Transport) -> int | None:
    """The bytes that the other side has acknowledged; None where the kernel does not say.

    One that does not read closes its window once its buffer is full, and acknowledges nothing more.
    """
    ours = transport.get_extra_info("socket")
    if ours is None:
        return None
    try:
        told = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKED_AT + ACKED.size)
    except OSError:  # it is no TCP connection, or none any more
        return None
    if len(told) < ACKED_AT + ACKED.size:
        return None
    acked: int = ACKED.unpack_from(told, ACKED_AT)[0]
    return acked


def cut_off(transport: asyncio.Transport) -> None:
    """End the connection now. To close it would be to wait until all that was written has been taken."""
    ours = transport.get_extra_info("socket")
    if ours is not None:
        with contextlib.suppress(OSError):
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()
