"""Logs as they go over HTTP: UTF-8, each line with its newline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from lambent.storage.logs import DeploymentLogs


class LogBytes:
    """The logs of `DeploymentLogs`, for a response's body."""

    def __init__(self, logs: DeploymentLogs) -> None:
        self._logs = logs

    async def tail(self, project: str, name: str, lines: int) -> bytes:
        """The last lines, oldest first."""
        found = await asyncio.to_thread(self._logs.tail, project, name, lines)
        return b"".join(map(_encoded, found))

    async def follow(self, project: str, name: str, lines: int) -> AsyncGenerator[bytes, None]:
        """The last lines, then each line when it is printed, until the reader stops or the log is removed."""
        async with aclosing(self._logs.follow(project, name, lines)) as following:
            async for line in following:
                yield _encoded(line)


def _encoded(line: str) -> bytes:
    return f"{line}\n".encode()
