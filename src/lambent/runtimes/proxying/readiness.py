"""When a program serves: it listens on its port, and answers 2xx on a path where one was declared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from lambent.clock import Clock
from lambent.runtimes.proxying.ports import is_theirs, listener
from lambent.runtimes.proxying.tree import Tree
from lambent.runtimes.proxying.upstream import Broken, Upstream

# How long to wait between two looks, and since its start until when: a look costs 16 µs.
LOOKS_S: Final = ((0.2, 0.001), (2.0, 0.003), (float("inf"), 0.01))
ASKS_S: Final = (0.005, 0.1)  # between two requests for the path: the first wait, and the longest
ANSWER_S: Final = 5.0
OK: Final = range(200, 300)
TEXT_BYTES_MAX: Final = 64 * 1024  # of an answer, in which something is looked for


async def listening(port: int, tree: Tree, clock: Clock, *, check: Callable[[], None]) -> Upstream:
    """Wait until one of the `tree` listens on `port`. Raises what `check` raises, which is asked often."""
    started_s = clock.now_s()
    is_strange = False
    while True:
        check()
        if host := listener(port):
            if is_theirs(port, tree.pids()):
                return Upstream(host, port, clock)
            is_strange = True
        since_s = clock.now_s() - started_s
        wait_s = next(wait_s for until_s, wait_s in LOOKS_S if since_s < until_s)
        await asyncio.sleep(0.1 if is_strange else wait_s)


async def seen_ready(upstream: Upstream, path: str, *, check: Callable[[], None]) -> None:
    """Wait until GET `path` is answered 2xx, by a text that holds what `path` has behind a #.

    Raises what `check` raises.
    """
    path, _, wanted = path.partition("#")
    wait_s, longest_s = ASKS_S
    while True:
        check()
        if await _says(upstream, path, wanted.encode()):
            return
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, longest_s)


async def _says(upstream: Upstream, path: str, wanted: bytes) -> bool:
    try:
        connection = await upstream.open()
    except OSError:
        return False
    try:
        async with asyncio.timeout(ANSWER_S):
            asked = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            incoming = connection.ask("GET", asked.encode())
            head = await incoming.begun()
            while wanted and not incoming.whole and incoming.waiting_bytes < TEXT_BYTES_MAX:
                await incoming.news()
        return head.status in OK and wanted in incoming.take()
    except (Broken, TimeoutError):
        return False
    finally:
        upstream.drop(connection)
