"""`python -m lambent.wiring [flags]` is what `lambent up` becomes."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from lambent import settings as settings_of
from lambent.clock import SystemClock
from lambent.core.errors import LambentError
from lambent.gateway.listener import bind
from lambent.kept import Kept, opened
from lambent.observe.log import configure
from lambent.settings import Settings
from lambent.wiring.inference_port import listening_for_grpc
from lambent.wiring.server import Server

# When a thread that computes (the ledger's import) gives way to the event loop. By default it may hold it up
# for 5 ms at each write of the journal, which one request in a thousand felt.
YIELD_S: Final = 0.0002


class Stopped(Exception):
    """Ends the server's tasks in good order."""


async def serve(settings: Settings, kept: Kept, clock: SystemClock) -> None:
    """Run a server until SIGTERM or SIGINT; a second signal does not wait for what runs."""
    listening = bind(settings.host, settings.port)
    for_grpc = listening_for_grpc(settings, listening)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: main.cancel() if stop.is_set() and main else stop.set())
    server = None
    try:
        async with asyncio.TaskGroup() as tasks:
            server = Server(settings, kept, clock, tasks)
            await server.run(listening, for_grpc, stop, tasks)
            raise Stopped
    except ExceptionGroup as group:
        _, others = group.split(Stopped)
        if others is not None:
            reasons, bugs = others.split(LambentError)
            raise bugs or _first(reasons or others) from None
    finally:
        if server is not None:
            await server.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of what failed: a reason that an operator can act on needs no tree around it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _settings(words: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="lambent up", description="Run the Lambent server.")
    parser.add_argument("--state-dir")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--grpc-port")
    parser.add_argument("--memory-budget", dest="memory_budget_bytes")
    parser.add_argument("--keep-policy")
    parser.add_argument("--aws-auth")
    parser.add_argument("--otlp-endpoint")
    parser.add_argument("--ephemeral", action="store_true", default=None)
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    return settings_of.from_environ(os.environ, **vars(parser.parse_args(words)))


def main(words: Sequence[str] | None = None) -> int:
    """Read the flags, open what is kept, serve, close. Returns the exit status."""
    with ExitStack() as closing:
        try:
            settings = _settings(words)
            if settings.ephemeral:
                folder = closing.enter_context(tempfile.TemporaryDirectory(prefix="lambent-"))
                settings = msgspec.structs.replace(settings, state_dir=Path(folder))
            configure(settings.log_level)
            sys.setswitchinterval(YIELD_S)
            clock = SystemClock()
            uvloop.run(serve(settings, opened(settings, clock, closing), clock))
        except LambentError as error:
            sys.stderr.write(f"lambent up: {error.message}\n")
            return 1
        except (KeyboardInterrupt, asyncio.CancelledError):
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
