"""The server's end of a worker's stream, over a real socket pair."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from lambent.core.invocation import Status
from lambent.engines.base import Exit, WorkerGone
from lambent.engines.stream import WorkerStream
from lambent.wire.frames import (
    Answer,
    Call,
    Chunk,
    Credit,
    FrameReader,
    Hello,
    Stop,
    ToWorker,
    cost_of,
    encode,
)
from tests.support.engine_stages import eventually
from tests.support.patience import PATIENT_S

ENDED = Exit(code=0, cpu_us=0, rss_bytes_max=0)


class Peer:
    """The worker's end: each packet is what one system call of the server wrote."""

    def __init__(self, packets: socket.socket) -> None:
        self._socket = packets
        self._reader: FrameReader[ToWorker] = FrameReader(ToWorker)

    async def packet(self) -> list[tuple[ToWorker, bytes]]:
        async with asyncio.timeout(PATIENT_S):
            return self._reader.feed(await asyncio.get_running_loop().sock_recv(self._socket, 1 << 20))

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def answer(self, call_id: int, body: bytes) -> None:
        answer = Answer(call_id, Status.OK, "application/json", 1, 1, 1)
        self._socket.send(encode(answer, body))


@asynccontextmanager
async def streaming() -> AsyncIterator[tuple[WorkerStream, Peer]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    stream = await WorkerStream.over(ours, body_bytes_max=1 << 20)
    with theirs:
        yield stream, Peer(theirs)
        stream.close()


def call(number: int) -> Call:
    return Call(number, f"i{number}", 1000.0)


def test_the_calls_of_one_turn_go_out_together_and_in_order() -> None:
    async def story() -> None:
        async with streaming() as (stream, peer):
            answers = [stream.ask(call(number), b"%d" % number) for number in range(5)]
            sent = await peer.packet()
            assert [body for _, body in sent] == [b"%d" % number for number in range(5)]
            for number in (0, 1, 2, 3, 4):
                peer.answer(number, b"answer %d" % number)
            assert [body for _, body in await asyncio.gather(*answers)] == [
                b"answer %d" % number for number in range(5)
            ]

    asyncio.run(story())


def test_a_stop_goes_out_behind_the_calls_of_its_turn() -> None:
    async def story() -> None:
        async with streaming() as (stream, peer):
            stream.ask(call(1), b"{}")
            stream.tell(Stop())
            frames = await peer.packet()
            while len(frames) < 2:
                frames += await peer.packet()
            assert [type(header) for header, _ in frames] == [Call, Stop]

    asyncio.run(story())


def test_a_call_whose_worker_ends_in_its_turn_hears_of_it() -> None:
    async def story() -> None:
        async with streaming() as (stream, _):
            answer = stream.ask(call(1), b"{}")
            stream.fail(ENDED)
            assert isinstance(stream.hello.exception(), WorkerGone)
            with pytest.raises(WorkerGone):
                await answer
            with pytest.raises(WorkerGone):
                stream.ask(call(2), b"{}")

    asyncio.run(story())


async def ending(stream: WorkerStream) -> None:
    await eventually(lambda: stream.ended)
    stream.fail(ENDED)


def unread(*answers: asyncio.Future[tuple[Answer, bytes]]) -> list[bool]:
    errors = [answer.exception() for answer in answers]
    return [isinstance(error, WorkerGone) and error.unread for error in errors]


LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
NewLoop = Callable[[], asyncio.AbstractEventLoop]


@LOOPS
@pytest.mark.parametrize(
    ("reads_bytes", "expected"),
    [
        pytest.param(0, [False, True], id="what was sent last is not whole, of the rest nothing is known"),
        pytest.param(-1, [False, True], id="all but a byte is no whole call"),
        pytest.param(1 << 20, [False, False], id="all was read"),
    ],
)
def test_a_call_that_its_worker_had_not_read_is_known(
    loop: NewLoop, reads_bytes: int, expected: list[bool]
) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        stream = await WorkerStream.over(ours, body_bytes_max=1 << 20)
        with theirs:
            answers = [stream.ask(call(number), b"a body") for number in range(2)]
            size_bytes = 2 * len(encode(call(0), b"a body"))
            await asyncio.sleep(0.01)
            take_bytes = reads_bytes if reads_bytes >= 0 else size_bytes + reads_bytes
            if take_bytes:
                assert len(theirs.recv(take_bytes)) == min(take_bytes, size_bytes)
        await ending(stream)
        assert unread(*answers) == expected

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


@LOOPS
def test_a_call_that_comes_after_the_end_was_never_read(loop: NewLoop) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        stream = await WorkerStream.over(ours, body_bytes_max=1 << 20)
        theirs.close()
        at_once = stream.ask(call(1), b"{}")  # the end has happened, but nobody here has seen it
        await ending(stream)
        assert unread(at_once) == [True]
        with pytest.raises(WorkerGone) as gone:
            stream.ask(call(2), b"{}")
        assert gone.value.unread

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


@LOOPS
def test_what_was_told_after_a_call_proves_nothing_of_the_call(loop: NewLoop) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        stream = await WorkerStream.over(ours, body_bytes_max=1 << 20)
        with theirs:
            answer = stream.ask(call(1), b"{}")
            stream.tell(Stop())
            await asyncio.sleep(0.01)
            assert theirs.recv(len(encode(call(1), b"{}")))
        await ending(stream)
        assert unread(answer) == [False]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


@pytest.mark.parametrize(
    ("answered_us", "used_us"), [([], 900), ([300, 700], 300), ([1700], 0), ([-5], 900)],
    ids=["the first call", "one of several", "more than there was", "less than nothing"],
)  # fmt: skip
def test_a_call_that_ends_with_its_worker_has_used_what_came_after_the_last_answer(
    answered_us: list[int], used_us: int
) -> None:
    async def story() -> None:
        async with streaming() as (stream, peer):
            peer.send(encode(Hello({}, total_us=100), b""))
            await stream.hello
            for number, total_us in enumerate(answered_us):
                answer = stream.ask(call(number), b"")
                await peer.packet()
                told = Answer(number, Status.OK, "text/plain", 1, 1, 1, total_us=total_us)
                peer.send(encode(told, b""))
                await answer
            last = stream.ask(call(100), b"")
            await peer.packet()
            stream.fail(Exit(code=-9, cpu_us=1000, rss_bytes_max=0))
            with pytest.raises(WorkerGone) as gone:
                await last
            assert gone.value.exit.cpu_us == used_us

    asyncio.run(story())


def test_a_worker_that_sends_more_than_its_credit_is_ended() -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        stream = await WorkerStream.over(ours, body_bytes_max=1 << 20)
        abused: list[str] = []
        stream.watch(on_end=lambda: abused.append("end"), on_abuse=lambda: abused.append("abuse"))
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        heard: list[bytes] = []
        with theirs:
            answer = stream.ask(call(1), b"{}", lambda _, body: heard.append(body))
            piece = encode(Chunk(1), bytes(64 * 1024))
            for _ in range(4):
                await loop.sock_sendall(theirs, piece)
            await eventually(lambda: len(heard) == 4)
            stream.tell(Credit(1, 2 * cost_of(bytes(64 * 1024))))
            assert not abused
            for _ in range(2):
                await loop.sock_sendall(theirs, piece)
            await eventually(lambda: len(heard) == 6)
            assert not abused  # the piece that went over it is the last one
            with contextlib.suppress(OSError):
                await loop.sock_sendall(theirs, piece)
            await eventually(lambda: abused == ["abuse", "end"])
            assert len(heard) == 6
        stream.fail(ENDED)
        assert isinstance(answer.exception(), WorkerGone)

    asyncio.run(story())


def test_an_answer_that_nobody_waits_for_ends_its_worker() -> None:
    async def story() -> None:
        async with streaming() as (stream, peer):
            said: list[str] = []
            stream.watch(on_end=lambda: said.append("end"), on_abuse=lambda: said.append("abuse"))
            peer.answer(7, b"{}")
            await eventually(lambda: said == ["abuse", "end"])

    asyncio.run(story())


def test_a_fault_of_who_hears_is_not_blamed_on_the_worker() -> None:
    async def story() -> None:
        async with streaming() as (stream, peer):
            told: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
            said: list[str] = []
            stream.watch(on_end=lambda: said.append("end"), on_abuse=lambda: said.append("abuse"))

            def hears(header: object, body: bytes) -> None:
                raise KeyError("ours")

            stream.ask(call(1), b"{}", hears)
            await peer.packet()
            peer.send(encode(Chunk(1), b"piece"))
            await eventually(lambda: said == ["end"])
            assert isinstance(told[0]["exception"], KeyError)

    asyncio.run(story())


def test_a_stream_that_nobody_hears_is_granted_as_it_comes() -> None:
    async def story() -> None:
        async with streaming() as (stream, peer):
            answer = stream.ask(call(1), b"{}")
            await peer.packet()
            for _ in range(40):
                peer.send(encode(Chunk(1), bytes(16 * 1024)))
                ((header, _),) = await peer.packet()
                assert header == Credit(1, cost_of(bytes(16 * 1024)))
            peer.answer(1, b"")
            assert (await answer)[0].status is Status.OK

    asyncio.run(story())
