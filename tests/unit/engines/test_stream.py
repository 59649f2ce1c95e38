"""The server's end of a worker's stream, over a real socket pair."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lambent.core.invocation import Status
from lambent.engines.base import Exit, WorkerGone
from lambent.engines.stream import WorkerStream
from lambent.wire.frames import Answer, Call, FrameReader, Stop, ToWorker, encode
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
