"""Putting a record into a store that may have no room for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from lambent.core.errors import LambentError

R = TypeVar("R")

PAUSE_S: Final = 1.0

log = logging.getLogger(__name__)


async def stored(store: Callable[[], Awaitable[object]], *, record: str) -> bool:
    """Whether there was room. If not, `PAUSE_S` have passed, and the log says for which `record`, and why."""
    try:
        await store()
    except LambentError as error:
        await _pause(record, error)
        return False
    return True


async def insist(store: Callable[[], Awaitable[R]], *, record: str) -> R:
    """What `store` returns, as often as it takes: for what has happened and cannot be refused any more."""
    while True:
        try:
            return await store()
        except LambentError as error:
            await _pause(record, error)


async def _pause(record: str, error: LambentError) -> None:
    log.warning("not_stored", extra={"record": record, "reason": error.message})
    await asyncio.sleep(PAUSE_S)
