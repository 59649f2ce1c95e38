"""The Runtime API over real connections: whatever is sent, limits hold and the next request is answered."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambent.runtimes.faults import Fault, ProgramEnded, Reported
from lambent.runtimes.lambda_api import http
from lambent.runtimes.lambda_api.answers import said
from lambent.runtimes.lambda_api.endpoints import ROOT, InvocationApi
from lambent.runtimes.lambda_api.http import Connection, Connections
from lambent.runtimes.lambda_api.peers import is_stranger, owner_of
from lambent.runtimes.lambda_api.work import BUFFER_BYTES, Begun, Ended, Event, Work
from tests.support.patience import PATIENT_S

ID = "00000000-0000-4000-a000-000000000000"


class Served:
    """An API that listens."""

    def __init__(self, *, concurrency: int = 1, restores: bool = False, count_max: int = 8) -> None:
        self.settled = 0
        self.api = InvocationApi(concurrency=concurrency, restores=restores, settle=self._settle)
        self.connections = Connections(count_max)
        self.port = 0

    def _settle(self) -> None:
        self.settled += 1

    async def ask(self, method: str, path: str, body: bytes = b"", *headers: str) -> tuple[int, bytes]:
        lines = [f"{method} {ROOT}{path} HTTP/1.1", f"Content-Length: {len(body)}", *headers]
        return await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)

    async def send(self, data: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            return int(head.split()[1]), await reader.readexactly(length)
        finally:
            writer.close()


@asynccontextmanager
async def served(**more: int) -> AsyncIterator[Served]:
    one = Served(**more)  # type: ignore[arg-type]  # of the keywords that it takes
    connect = functools.partial(
        Connection, one.api.begin, lambda status, why: said(f"Own{status}", why), one.connections
    )
    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        one.connections.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENT_S):
            await test()

    asyncio.run(bounded())


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - what it waits for is in the same loop and tells nobody
        await asyncio.sleep(0)


def work(request_id: str = ID, body: bytes = b"{}") -> Work:
    return Work(Event(request_id, f"Lambda-Runtime-Aws-Request-Id: {request_id}\r\n".encode(), body))


async def end_of(one: Work) -> Ended:
    while not isinstance(news := await one.next(), Ended):
        pass
    return news


def test_an_invocation_goes_to_who_polls_and_comes_back() -> None:
    async def test() -> None:
        async with served() as api:
            for number in range(3):
                one = work(f"id-{number}", b"x" * number * 100_000)
                polling = asyncio.create_task(api.ask("GET", "invocation/next"))
                if number:
                    await asyncio.sleep(0)
                api.api.offer(one)
                assert await polling == (200, b"x" * number * 100_000)
                assert api.api.ready.done()
                status, body = await api.ask("POST", f"invocation/id-{number}/response", b'"y"')
                assert (status, json.loads(body)) == (202, {"status": "OK"})
                assert await end_of(one) == Ended(b'"y"', "application/json")
                assert api.settled == number + 1

    run(test)


def test_only_so_many_may_be_in_its_hands() -> None:
    async def test() -> None:
        async with served(concurrency=2) as api:
            for name in ("a", "b"):
                api.api.offer(work(name))
                assert (await api.ask("GET", "invocation/next"))[0] == 200
            api.api.offer(waiting := work("c"))
            assert (await api.ask("GET", "invocation/next"))[0] == 403
            assert (await api.ask("POST", "invocation/c/response", b"1"))[0] == 400
            assert (await api.ask("POST", "invocation/b/response", b"1"))[0] == 202
            assert (await api.ask("GET", "invocation/next"))[0] == 200
            assert not api.api.withdraw(waiting)

    run(test)


def test_a_later_poll_takes_the_place_of_one_that_may_be_gone() -> None:
    async def test() -> None:
        async with served() as api:
            first = asyncio.create_task(api.ask("GET", "invocation/next"))
            await until(api.api.ready.done)
            second = asyncio.create_task(api.ask("GET", "invocation/next"))
            assert (await first)[0] == 403
            api.api.offer(work())
            assert await second == (200, b"{}")

    run(test)


def test_a_poll_that_has_left_gets_nothing() -> None:
    async def test() -> None:
        async with served() as api:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
            writer.write(f"GET {ROOT}invocation/next HTTP/1.1\r\n\r\n".encode())
            await until(api.api.ready.done)
            writer.close()
            await reader.read()
            await api.connections.ended(PATIENT_S)
            api.api.offer(one := work())
            assert await api.ask("GET", "invocation/next") == (200, b"{}")
            assert not api.api.withdraw(one)

    run(test)


def test_one_that_was_not_handed_out_can_be_taken_back() -> None:
    async def test() -> None:
        async with served() as api:
            api.api.offer(one := work())
            assert api.api.withdraw(one)
            assert not api.api.busy

    run(test)


def test_what_its_program_does_not_answer_ends_with_it() -> None:
    async def test() -> None:
        async with served(concurrency=2) as api:
            api.api.offer(taken := work("a"))
            await api.ask("GET", "invocation/next")
            api.api.offer(waiting := work("b"))
            why = ProgramEnded(-9)
            api.api.close(why)
            api.api.offer(late := work("c"))
            for one in (taken, waiting, late):
                assert await end_of(one) == Ended(error=why)
            assert (await api.ask("POST", "invocation/a/response", b"1"))[0] == 400

    run(test)


@pytest.mark.parametrize("path", ["invocation/id/response", "invocation/id/error"])
def test_an_answer_over_its_bound_is_read_to_its_end_and_refused(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambent.runtimes.lambda_api.endpoints.BODY_BYTES_MAX", 1000)
    monkeypatch.setattr("lambent.runtimes.lambda_api.endpoints.REPORT_BYTES_MAX", 1000)

    async def test() -> None:
        async with served() as api:
            api.api.offer(one := work("id"))
            await api.ask("GET", "invocation/next")
            status, body = await api.ask("POST", path, b"x" * 3_000_000)
            assert (status, json.loads(body)["errorType"]) == (413, "RequestEntityTooLarge")
            error = (await end_of(one)).error
            assert isinstance(error, Fault)
            assert error.error_type == "Function.ResponseSizeTooLarge"
            api.api.offer(work("next"))
            assert (await api.ask("GET", "invocation/next"))[0] == 200

    run(test)


def test_a_stream_stops_being_read_where_nobody_takes_it() -> None:
    async def test() -> None:
        async with served() as api:
            api.api.offer(one := work("id"))
            await api.ask("GET", "invocation/next")
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
            writer.write(
                f"POST {ROOT}invocation/id/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
                "Content-Type: text/plain\r\n"
                "Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n".encode()
            )
            assert await one.next() == Begun("text/plain")
            piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
            total = 64 * BUFFER_BYTES
            writer.write(piece * (total // 0x10000) + b"0\r\n\r\n")
            held = 0
            while not isinstance(news := await one.next(), Ended):
                assert isinstance(news, bytes)
                held += len(news)
                one.took(news)
            assert (held, news) == (total, Ended())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
            writer.close()

    run(test)


def test_an_error_of_a_stream_is_in_its_trailers() -> None:
    async def test() -> None:
        async with served() as api:
            for trailer, payload in (
                (
                    "eyJlcnJvck1lc3NhZ2UiOiJubyIsImVycm9yVHlwZSI6IkEifQ==",
                    b'{"errorMessage":"no","errorType":"A"}',
                ),
                ("not base64", b'{"errorMessage":"not base64","errorType":"Own.Late","requestId":"id"}'),
            ):
                api.api.offer(one := work("id"))
                await api.ask("GET", "invocation/next")
                status, _ = await api.send(
                    f"POST {ROOT}invocation/id/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
                    "Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n1\r\nx\r\n0\r\n"
                    "Lambda-Runtime-Function-Error-Type: Own.Late\r\n"
                    f"Lambda-Runtime-Function-Error-Body: {trailer}\r\n\r\n".encode()
                )
                error = (await end_of(one)).error
                assert isinstance(error, Reported)
                assert (status, error.body) == (202, payload)

    run(test)


def test_a_start_that_fails_is_told_once() -> None:
    async def test() -> None:
        async with served() as api:
            body = b'{"errorMessage": "no", "errorType": "A", "stackTrace": ["x", [1]]}'
            assert (await api.ask("POST", "init/error", body))[0] == 202
            with pytest.raises(Fault, match="no") as caught:
                await api.api.ready
            assert (caught.value.error_type, caught.value.trace) == ("A", ("x", "[1]"))
            assert (await api.ask("POST", "init/error", body))[0] == 403

    run(test)


@pytest.mark.parametrize(("restores", "status"), [(1, 200), (0, 403)])
def test_restoring_is_asked_for_where_there_are_snapshots(restores: int, status: int) -> None:
    async def test() -> None:
        async with served(restores=restores) as api:
            assert (await api.ask("GET", "restore/next"))[0] == status
            assert (await api.ask("POST", "restore/error", b"{}"))[0] == (202 if restores else 403)
            assert not restores or api.api.ready.exception()

    run(test)


def test_one_connection_too_many_takes_the_place_of_an_idle_one() -> None:
    async def test() -> None:
        async with served(concurrency=8, count_max=2) as api:
            open_ones = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(5)]
            polls = [asyncio.create_task(api.ask("GET", "invocation/next")) for _ in range(2)]
            await until(lambda: api.api.polled == 2)
            assert (await api.ask("POST", "init/error"))[0] == 503
            for poll in polls:
                api.api.offer(work(str(id(poll))))
            assert [status for status, _ in await asyncio.gather(*polls)] == [200, 200]
            for _, writer in open_ones:
                writer.close()

    run(test)


def test_an_offer_of_another_protocol_is_not_taken() -> None:
    async def test() -> None:
        async with served() as api:
            api.api.offer(work("id"))
            upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
            assert await api.ask("GET", "invocation/next", b"", *upgrade) == (200, b"{}")
            assert (await api.ask("POST", "invocation/id/response", b"1", *upgrade))[0] == 202

    run(test)


def test_who_asks_is_told_to_go_on() -> None:
    async def test() -> None:
        async with served() as api:
            api.api.offer(one := work("id"))
            await api.ask("GET", "invocation/next")
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
            writer.write(
                f"POST {ROOT}invocation/id/response HTTP/1.1\r\nExpect: 100-continue\r\n"
                "Content-Length: 3\r\n\r\n".encode()
            )
            assert await reader.readuntil(b"\r\n\r\n") == http.GO_ON
            writer.write(b'"y"')
            assert (await end_of(one)).body == b'"y"'
            writer.close()

    run(test)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(
                [
                    b"GET " + ROOT.encode() + b"invocation/next HTTP/1.1\r\n\r\n",
                    b"POST %binvocation/id/response HTTP/1.1\r\nContent-Length: 5\r\n\r\n" % ROOT.encode(),
                    b"POST " + ROOT.encode() + b"invocation/id/error HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
                    b"POST " + ROOT.encode() + b"init/error HTTP/1.0\r\nContent-Length: -1\r\n\r\n",
                    b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"\r\n\r\n",
                    b"Content-Length: 99999999999999999999\r\n\r\n", b"X: " + b"y" * 70_000 + b"\r\n",
                ]
            ),
        ),
        max_size=8,
    )
)  # fmt: skip
def test_whatever_comes_the_next_request_is_answered(pieces: list[bytes]) -> None:
    async def test() -> None:
        async with served() as api:
            _, writer = await asyncio.open_connection("127.0.0.1", api.port)
            writer.writelines(pieces)
            writer.close()
            assert (await api.ask("GET", "no/such/path"))[0] == 404
            await api.connections.ended(PATIENT_S)
            api.api.offer(one := work("id"))
            assert await api.ask("GET", "invocation/next") == (200, b"{}")
            assert (await api.ask("POST", "invocation/id/response", b"1"))[0] == 202
            assert (await end_of(one)).body == b"1"
            assert not api.api.ready.exception() or pieces

    run(test)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_of_the_machine_is_a_stranger() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = listening.getsockname()
        for uid in (0, 65534):
            child = os.fork()
            if child == 0:
                try:
                    os.setuid(uid)
                    with socket.socket() as connection:
                        connection.connect(here)
                        connection.recv(1)
                finally:
                    os._exit(0)
            accepted, there = listening.accept()
            with accepted:
                assert owner_of(there, here) == uid
                assert is_stranger(here, there) == (uid != 0)
            os.waitpid(child, 0)
