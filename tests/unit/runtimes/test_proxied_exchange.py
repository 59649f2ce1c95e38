"""Requests to a program over real connections, where it behaves as programs do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from lambent.core.invocation import Asked, Head
from lambent.runtimes.base import STREAMED, Body, More, Reply, Request
from lambent.runtimes.proxying.exchange import SMALL_BYTES, pass_through
from lambent.runtimes.proxying.upstream import AHEAD_BYTES, Broken, Upstream
from lambent.wire.frames import Call, Form
from tests.support.patience import PATIENT_S
from tests.support.stopped_clock import StoppedClock

HOST = "127.0.0.1"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class KeptLine:
    """Takes what is said of a call; what the client says comes from `inputs`."""

    def __init__(self, inputs: list[bytes] | None = None) -> None:
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.whole = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self._inputs = inputs or []

    async def begin(self, head: Head | None = None) -> None:
        self.head = head

    async def write(self, form: Form, piece: Body, *, more: More = More.COMES) -> None:
        self.pieces.append(bytes(piece))
        self.whole = more is More.NONE
        await self.may_go_on.wait()

    async def read(self) -> tuple[Form, Body] | None:
        return (Form.BYTES, self._inputs.pop(0)) if self._inputs else None


def asked(method: str = "GET", *headers: tuple[str, str]) -> Asked:
    return Asked(method, "/", "", "", (("host", "here"), *headers))


def request(body: bytes = b"", *, more: bool = False) -> Request:
    return Request(Call(1, "11111111-2222-3333-4444-555555555555", 1000.0, more=more), body)


def served(serve: Serve, story: Callable[[Upstream], Awaitable[None]]) -> None:
    """Run a story with the connections to a server."""

    served_now: list[asyncio.Task[None] | None] = []

    async def served_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served_now.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def told() -> None:
        server = await asyncio.start_server(served_one, HOST, 0)
        async with server:
            upstream = Upstream(HOST, server.sockets[0].getsockname()[1], StoppedClock())
            await story(upstream)
            upstream.close()
            await asyncio.gather(*(task for task in served_now if task is not None))

    asyncio.run(told())


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def test_a_request_that_meets_the_end_of_an_idle_connection_is_sent_once_more_if_it_may_be() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await head_of(reader))
        writer.write(WHOLE)
        heard.append(await head_of(reader))  # and no answer, as of one that was leaving just then

    async def story(upstream: Upstream) -> None:
        for method, comes in (("GET", True), ("POST", False)):
            assert (await pass_through(asked(), request(), KeptLine(), upstream)).body == b"ok"
            if comes:
                assert (await pass_through(asked(method), request(), KeptLine(), upstream)).body == b"ok"
                upstream.close()
            else:
                with pytest.raises(Broken):
                    await pass_through(asked(method), request(), KeptLine(), upstream)

    served(serve, story)
    assert [head.split()[0] for head in heard] == [b"GET", b"GET", b"GET", b"GET", b"POST"]


@pytest.mark.parametrize(
    ("method", "answer", "body"),
    [
        ("GET", WHOLE + b"and more", b"ok"),
        ("GET", WHOLE + WHOLE, b"ok"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", b""),
        ("HEAD", WHOLE, b""),
    ],
    ids=["garbage", "another", "204", "304", "head"],
)
def test_what_stands_behind_an_answer_is_left_with_its_connection(
    method: str, answer: bytes, body: bytes
) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await head_of(reader)
            writer.write(answer)

    async def twice(upstream: Upstream) -> None:
        for _ in range(2):
            reply = await pass_through(asked(method), request(), KeptLine(), upstream)
            assert reply.body == body

    async def story(upstream: Upstream) -> None:
        await asyncio.wait_for(twice(upstream), PATIENT_S)

    served(serve, story)
    assert connections == 2


def test_a_small_answer_that_says_its_length_comes_in_one_piece() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(WHOLE[:-1])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(WHOLE[-1:])

    async def story(upstream: Upstream) -> None:
        line = KeptLine()
        reply = await pass_through(asked(), request(), line, upstream)
        got = reply.body if reply is not STREAMED else b"".join(line.pieces)
        assert got == b"ok"

    served(serve, story)


def test_an_answer_waits_for_its_reader() -> None:
    size = 1000 * SMALL_BYTES
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // SMALL_BYTES):
            writer.write(bytes(SMALL_BYTES))
            await writer.drain()
            written += SMALL_BYTES

    async def story(upstream: Upstream) -> None:
        line = KeptLine()
        line.may_go_on.clear()
        passing = asyncio.ensure_future(pass_through(asked(), request(), line, upstream))
        before = -1
        while not line.pieces or before != written:
            before = written
            for _ in range(100):
                await asyncio.sleep(0)
        assert len(line.pieces) == 1
        assert len(line.pieces[0]) <= 2 * AHEAD_BYTES + SMALL_BYTES
        assert written < size
        line.may_go_on.set()
        assert await passing is STREAMED
        assert (sum(map(len, line.pieces)), line.whole) == (size, True)

    served(serve, story)


def test_a_request_is_sent_as_it_comes_with_its_length_or_in_chunks() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await head_of(reader)
            is_chunked = b"transfer-encoding: chunked" in head
            body = await (reader.readuntil(b"0\r\n\r\n") if is_chunked else reader.readexactly(6))
            heard.append(body)
            writer.write(WHOLE)

    async def story(upstream: Upstream) -> None:
        for headers in ((), (("content-length", "6"),)):
            line = KeptLine([b"cd", b"", b"ef"])
            reply: Reply = await pass_through(
                asked("POST", *headers), request(b"ab", more=True), line, upstream
            )
            assert reply.body == b"ok"

    served(serve, story)
    assert heard == [b"2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n0\r\n\r\n", b"abcdef"]


def test_a_request_that_is_cancelled_ends_its_connection() -> None:
    async def story_of(ended: asyncio.Event, begun: asyncio.Event, upstream: Upstream) -> None:
        passing = asyncio.ensure_future(pass_through(asked(), request(), KeptLine(), upstream))
        await begun.wait()
        passing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await passing
        await ended.wait()

    ended, begun = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        begun.set()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        ended.set()

    async def story(upstream: Upstream) -> None:
        await asyncio.wait_for(story_of(ended, begun, upstream), PATIENT_S)

    served(serve, story)
