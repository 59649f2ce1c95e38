"""A program that says more than it was asked for: no caller gets what was meant for another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest

from lambent.core.invocation import Asked, Head
from lambent.runtimes.base import AsyncLine, Body, More, Request
from lambent.runtimes.proxying import upstream as upstreams
from lambent.runtimes.proxying.exchange import pass_through
from lambent.runtimes.proxying.upstream import Upstream
from lambent.wire.frames import Call, Form
from tests.support.patience import PATIENT_S
from tests.support.stopped_clock import StoppedClock

HOST = "127.0.0.1"
TOO_MANY = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"


class NoLine(AsyncLine):
    """The answers of these tests are whole."""

    async def begin(self, head: Head | None = None) -> None:
        raise NotImplementedError

    async def write(self, form: Form, piece: Body, *, more: More = More.COMES) -> None:
        raise NotImplementedError

    async def read(self) -> tuple[Form, Body] | None:
        raise NotImplementedError


class Program:
    """Answers each request with how many there were before it, and says more when it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.listener.setblocking(False)
        self.connections: list[socket.socket] = []
        self.extra = b""  # behind each answer
        self.requests = 0

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                made, _ = await loop.sock_accept(self.listener)
                self.connections.append(made)
                tasks.create_task(self._answer(made))

    async def _answer(self, made: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):  # a connection that is thrown away
            while await loop.sock_recv(made, 65536):
                body = b"%d" % self.requests
                self.requests += 1
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                await loop.sock_sendall(made, head + body + self.extra)

    def say(self, late: bytes) -> None:
        """On its last connection, where it is there to be read at once."""
        last = self.connections[-1]
        if late:
            last.send(late)
        else:
            last.shutdown(socket.SHUT_WR)


def told(story: Callable[[Program, Upstream], Awaitable[None]]) -> Program:
    """Run a story with a program and the connections to it."""
    program = Program()

    async def tell() -> None:
        serving = asyncio.ensure_future(program.serve())
        upstream = Upstream(HOST, program.listener.getsockname()[1], StoppedClock())
        await asyncio.wait_for(story(program, upstream), PATIENT_S)
        upstream.close()
        serving.cancel()
        await asyncio.wait((serving,))

    asyncio.run(tell())
    for made in (program.listener, *program.connections):
        made.close()
    return program


async def answer(upstream: Upstream) -> bytes:
    request = Request(Call(1, "11111111-2222-3333-4444-555555555555", 1000.0), b"")
    asked = Asked("POST", "/", "", "", (("host", "here"),))
    return bytes((await pass_through(asked, request, NoLine(), upstream)).body)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(upstreams, "say", said.append)
    return said


@pytest.mark.parametrize(
    ("late", "connections"),
    [
        pytest.param(TOO_MANY, 3, id="an answer too many"),
        pytest.param(b"\r\n", 3, id="an empty line"),
        pytest.param(b"HTTP/1.1 408 Request Timeout\r\n\r\n", 2, id="a farewell to who is idle"),
        pytest.param(b"", 2, id="its end"),
    ],
)
def test_what_comes_late_is_not_the_answer_to_the_next_request(
    late: bytes, connections: int, warned: list[str]
) -> None:
    async def story(program: Program, upstream: Upstream) -> None:
        assert await answer(upstream) == b"0"
        program.say(late)  # and nobody has looked when the next request comes
        assert await answer(upstream) == b"1"
        assert await answer(upstream) == b"2"

    assert len(told(story).connections) == connections
    assert len(warned) == (connections == 3)


def test_what_comes_late_while_nobody_asks_ends_its_connection_and_the_trust_in_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = asyncio.Event()
    monkeypatch.setattr(upstreams, "say", lambda _: heard.set())

    async def story(program: Program, upstream: Upstream) -> None:
        both = await asyncio.gather(answer(upstream), answer(upstream))
        assert sorted(both) == [b"0", b"1"]
        program.say(TOO_MANY)
        await heard.wait()
        assert [await answer(upstream) for _ in range(2)] == [b"2", b"3"]

    assert len(told(story).connections) == 4


def test_a_program_that_answers_twice_is_asked_once_on_each_connection(warned: list[str]) -> None:
    async def story(program: Program, upstream: Upstream) -> None:
        program.extra = TOO_MANY
        assert [await answer(upstream) for _ in range(3)] == [b"0", b"1", b"2"]

    assert len(told(story).connections) == 3
    assert len(warned) == 1


def test_connections_of_a_program_that_answers_once_are_used_again(warned: list[str]) -> None:
    async def story(program: Program, upstream: Upstream) -> None:
        assert [await answer(upstream) for _ in range(3)] == [b"0", b"1", b"2"]

    assert len(told(story).connections) == 1
    assert warned == []
