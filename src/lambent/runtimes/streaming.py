"""User code that yields: each piece goes out when it comes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing, asynccontextmanager, closing
from typing import Any, TypeGuard

from lambent.runtimes import payload
from lambent.runtimes.base import STREAMED, AsyncLine, Line, Reply

Pieces = Generator[object, Any, Any]
AsyncPieces = AsyncGenerator[object, Any]


def yields(result: object) -> TypeGuard[Pieces]:
    """Whether it is what a function that yields returns."""
    return inspect.isgenerator(result)


def yields_async(result: object) -> TypeGuard[AsyncPieces]:
    """Whether it is what an async function that yields returns."""
    return inspect.isasyncgen(result)


def stream(pieces: Pieces, line: Line) -> Reply:
    """Send each piece as it comes. Raises what user code raises; the generator is closed in any case."""
    with closing(pieces):
        first = True
        for value in pieces:
            line.write(*payload.piece(value))
            first = False
        if first:
            line.begin()
    return STREAMED


def one_by_one(pieces: AsyncPieces, settled: Callable[[object], object]) -> Pieces:
    """The same from code that is not async; `settled` waits for what it is given."""
    try:
        while True:
            try:
                value = settled(anext(pieces))
            except StopAsyncIteration:
                return
            yield value
    finally:
        settled(pieces.aclose())


async def stream_async(pieces: AsyncPieces | Pieces, line: AsyncLine) -> Reply:
    """As `stream`, on an event loop."""
    first = True
    async with _one_by_one(pieces) as values:
        async for value in values:
            await line.write(*payload.piece(value))
            first = False
    if first:
        await line.begin()
    return STREAMED


@asynccontextmanager
async def _one_by_one(pieces: AsyncPieces | Pieces) -> AsyncIterator[AsyncIterator[object]]:
    if yields(pieces):
        with closing(pieces):
            yield _lifted(pieces)
    elif yields_async(pieces):
        async with aclosing(pieces):
            yield pieces


async def _lifted(pieces: Pieces) -> AsyncIterator[object]:
    for value in pieces:
        yield value
