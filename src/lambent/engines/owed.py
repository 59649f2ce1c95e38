"""What a process owes the server: waited for, and looked after where it is stopped and so cannot pay."""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

from lambent.engines.processes import Process

T = TypeVar("T")

# From one look at a process that owes an answer to the next. Most answer in milliseconds.
LOOK_S: Final = 1.0


class StaysStopped(TimeoutError):
    """The process is stopped and does not go on when it is told to: a debugger may hold it."""


async def owed(process: Process, answer: asyncio.Future[T]) -> T:
    """The answer that `process` owes, whenever it comes.

    A process that was stopped, as by SIGSTOP, is told once to go on: nobody else would, and all who need it
    would wait. Raises what the answer raises, and `StaysStopped`. Cancelled, it leaves the answer alone.
    """
    told = False
    while not answer.done():
        await asyncio.wait((answer,), timeout=LOOK_S)
        if not answer.done() and process.stopped:
            if told:
                raise StaysStopped
            told = True
            process.resume()
    return answer.result()
