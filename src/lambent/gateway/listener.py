"""uvicorn inside our own event loop: it parses HTTP, we decide when it starts and stops."""

from __future__ import annotations

import functools
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import uvicorn

from lambent.core.errors import PlatformFault
from lambent.gateway.connection import Connection
from lambent.gateway.turnstile import Turnstile

BACKLOG: Final = 2048
KEEP_ALIVE_S: Final = 75
CONNECTIONS_MAX: Final = 10_000
SHUTDOWN_S: Final = 5
WEBSOCKET_BYTES_MAX: Final = 16 * 1024 * 1024  # of one message


class Listener:
    """One listening socket and the HTTP server behind it."""

    def __init__(
        self,
        app: Any,
        listening: socket.socket,
        tls: tuple[Path, Path] | None = None,
        *,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=cast(
                Any,
                functools.partial(Connection, turnstile=Turnstile(), connections_max=connections_max),
            ),
            ws="websockets-sansio",
            ws_max_size=WEBSOCKET_BYTES_MAX,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
        )
        try:
            config.load()
        except OSError as error:  # TLS's own errors are among them
            raise PlatformFault(f"the TLS certificate or its key cannot be used: {error}") from error
        self._server = _Server(config)
        self._socket = listening

    async def run(self) -> None:
        """Serve until `stop`."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Take no new connection, end those that are idle, give the rest a few seconds."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the loop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None are captured."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `PlatformFault` that names the address and says why not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise PlatformFault(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    listening.setblocking(False)
    return listening


def claim_descriptors() -> int:
    """Let this process open as many files as it may, and say how many of them clients may take.

    That is half: what idle clients hold cannot be missing when a worker is to be started.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return CONNECTIONS_MAX if hard == resource.RLIM_INFINITY else min(CONNECTIONS_MAX, hard // 2)


def url_of(listening: socket.socket, tls: tuple[Path, Path] | None = None) -> str:
    """The URL under which a client on this machine reaches it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
