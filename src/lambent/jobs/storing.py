"""Putting a record into a store that may have no room for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from lambent.core.errors import LambentError

R = TypeVar("R")

PAUSE_S: Final = 1.0

log = logging.getLogger(__name__)


async def stored(put: Callable[[R], None], record: R, *, name: str) -> bool:
    """Whether the store took it. If not, `PAUSE_S` have passed, and the log says of which `name`, and why."""
    try:
        await asyncio.to_thread(put, record)
    except LambentError as error:
        log.warning("not_stored", extra={"record": name, "reason": error.message})
        await asyncio.sleep(PAUSE_S)
        return False
    return True
