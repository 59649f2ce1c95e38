"""A program and the API that it polls for its work: its worker serves the one and is parent of the other."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Callable
from typing import Final, Protocol

from lambent.runtimes.faults import ProgramEnded, as_text, function_error
from lambent.runtimes.lambda_api.http import Begin, Connection, Connections, Error
from lambent.runtimes.outputs import say
from lambent.runtimes.program import Program

HOST: Final = "127.0.0.1"
CONNECTIONS_MAX: Final = 32  # beside one for each call that may run at once
LAST_WORDS_S: Final = 0.5  # from the program's end until all that it had sent must have been read


class Api(Protocol):
    """What the program polls."""

    @property
    def ready(self) -> asyncio.Future[None]:
        """Done when it polls for the first time, or has ended before."""

    @property
    def busy(self) -> bool:
        """Whether work waits for the program, or for its result."""

    @property
    def begin(self) -> Begin:
        """Takes a request."""

    def close(self, why: BaseException) -> None:
        """The program has gone: nothing that it has not answered will be."""


class Polled:
    """Both, from the first connection to the last. The worker ends with a program that nothing waits for."""

    def __init__(self, *, concurrency: int) -> None:
        self._connections: Final = Connections(concurrency + CONNECTIONS_MAX)
        self._api: Api
        self._server: asyncio.Server
        self._program: Program | None = None
        self._burying: asyncio.Task[None] | None = None

    async def listen(self, api: Api, error: Error) -> str:
        """Serve `api`, whose refusals `error` words, and say where: `host:port`."""
        self._api = api
        connect = functools.partial(Connection, api.begin, error, self._connections)
        self._server = await asyncio.get_running_loop().create_server(connect, HOST, 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    def watch(self, program: Program, on_end: Callable[[], None] | None = None) -> None:
        """This is the program. When it ends by itself, `on_end` is called and what waits for it ends."""
        self._program = program

        def ended(how: ProgramEnded) -> None:
            if on_end is not None:
                on_end()
            self._burying = asyncio.get_running_loop().create_task(self._bury(how))

        program.watch(ended)

    def listen_no_more(self) -> None:
        """Take no more connections; those that there are go on."""
        self._server.close()

    async def leave(self, leaving: Callable[[], None] | None = None) -> None:
        """See the program off, if there is one. `leaving` is called before it is told."""
        if self._program is None:
            return
        self._program.watch(lambda _: None)
        if leaving is not None:
            leaving()
        await self._program.leave()

    def close(self) -> None:
        """End whatever is left."""
        self._server.close()
        if self._burying is not None:
            self._burying.cancel()
        self._api.close(ProgramEnded(-signal.SIGTERM))
        self._connections.close()

    def cpu_ns(self) -> int:
        """See `base.Accounting`."""
        return self._program.cpu_ns() if self._program is not None else 0

    def rss_bytes_max(self) -> int:
        """See `base.Accounting`."""
        return self._program.rss_bytes_max() if self._program is not None else 0

    async def _bury(self, how: ProgramEnded) -> None:
        """End what it has not answered, once all that it sent was read; the worker then ends as well."""
        await self._connections.ended(LAST_WORDS_S)
        idle = self._api.ready.done() and not self._api.busy
        self._api.close(how)
        if idle:
            say(as_text(function_error(how)))
            signal.raise_signal(signal.SIGTERM)
