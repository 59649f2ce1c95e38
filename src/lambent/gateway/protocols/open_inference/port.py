"""The port for gRPC, which is imported when the first client comes: a server without one pays nothing for it.

Until then this port is a plain socket. When somebody connects, gRPC is imported and listens on the same port
beside it (SO_REUSEPORT), and the plain socket is closed. Who came before that is passed on, byte for byte, to
a socket of the file system on which gRPC listens too, for as long as its connection lives: to ask a client to
connect anew would fail its calls over 256 KiB that are on their way (gRPC's retry buffer holds no more).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import socket
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from lambent.core.errors import PlatformFault

BACKLOG: Final = 1024
PIECE_BYTES: Final = 256 * 1024
STOP_S: Final = 5.0
AGAIN_S: Final = 1.0  # after a connection could not be taken
NEEDS: Final = ("grpc", "google.protobuf")

log = logging.getLogger(__name__)


class RpcServer(Protocol):
    """A gRPC server that listens."""

    async def stop(self, grace: float | None) -> None:
        """Take nothing new, end what runs after `grace` seconds."""


Start = Callable[[Sequence[str]], Awaitable[RpcServer]]  # listening on all of these addresses


class _Over(Exception):
    """Ends the port's tasks in good order."""


class GrpcPort:
    """The port, and the server once there is one."""

    def __init__(self, listening: socket.socket, start: Start) -> None:
        self._listening: Final = listening
        self._start: Final = start
        self._server: RpcServer | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._handing_over: asyncio.Task[None] | None = None
        self._stop: Final = asyncio.Event()
        self._ended: Final = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop`."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._listen()
                await self._stop.wait()
                if self._server is not None:
                    await self._server.stop(STOP_S)
                raise _Over  # what is still passed on ends with its server
        except* _Over:
            pass
        finally:
            self._close()
            if self._folder is not None:
                self._folder.cleanup()
            self._ended.set()

    async def stop(self) -> None:
        """End it, and return when it has ended."""
        self._stop.set()
        await self._ended.wait()

    def _listen(self) -> None:
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        while self._tasks is not None:
            try:
                client, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor is free: who waits still waits when one is
                log.warning("grpc_not_accepted", extra={"reason": str(error)})
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listening.fileno())
                loop.call_later(AGAIN_S, self._listen)
                return
            client.setblocking(False)
            if self._handing_over is None:
                self._handing_over = self._tasks.create_task(self._hand_over())
            self._tasks.create_task(self._pass(client, self._handing_over))

    async def _hand_over(self) -> None:
        """Let gRPC listen on this port, and behind it for those who were early."""
        self._folder = tempfile.TemporaryDirectory(prefix="lambent-grpc-")
        try:
            self._server = await self._start((self._early, address_of(self._listening)))
        except Exception:
            log.exception("grpc_not_started")
            return
        self._accept()  # whoever came while it started
        self._close()

    @property
    def _early(self) -> str:
        folder = self._folder.name if self._folder is not None else ""
        return f"unix:{Path(folder, 'early')}"

    def _close(self) -> None:
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listening.fileno())
            self._listening.close()

    async def _pass(self, client: socket.socket, ready: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.setblocking(False)
            await asyncio.shield(ready)
            with contextlib.suppress(OSError):
                await loop.sock_connect(server, self._early.removeprefix("unix:"))
                async with asyncio.TaskGroup() as both:
                    both.create_task(_copy(client, server))
                    both.create_task(_copy(server, client))


async def _copy(source: socket.socket, target: socket.socket) -> None:
    """All that comes, until one of them ends."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while piece := await loop.sock_recv(source, PIECE_BYTES):
            await loop.sock_sendall(target, piece)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def is_installed() -> bool:
    """Whether gRPC can be imported; it is not."""
    try:
        return all(importlib.util.find_spec(name) is not None for name in NEEDS)
    except ModuleNotFoundError:  # not even the package around one of them is there
        return False


def bind(host: str, port: int) -> socket.socket:
    """A listening socket that gRPC can listen beside. Raises `PlatformFault`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        # First without sharing: a port that is another server's shall not be shared with it.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        said = getattr(error, "strerror", None) or error
        raise PlatformFault(f"cannot listen for gRPC on {host}:{port}: {said}") from error
    listening.setblocking(False)
    return listening


def address_of(listening: socket.socket, *, instead: str = "") -> str:
    """`host:port`, as gRPC's clients take it; `instead` of the host, where one is given."""
    host, port = listening.getsockname()[:2]
    host = instead or host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_address_of(listening: socket.socket) -> str:
    """Under which a client on this machine reaches it."""
    host = listening.getsockname()[0]
    return address_of(listening, instead={"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, ""))
