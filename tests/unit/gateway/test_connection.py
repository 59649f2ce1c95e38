"""What a client may send and how long it may be silent, on real sockets."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from pathlib import Path
from typing import Any

import pytest

from lambent.core.errors import PlatformFault
from lambent.gateway import connection, listener
from lambent.gateway.listener import Listener, bind
from lambent.gateway.requests import Receive, Scope, Send
from lambent.gateway.responses import Reply
from lambent.gateway.responses import send as answer_with
from tests.support.patience import PATIENT_S
from tests.unit.gateway.served import CHUNKED, GET, LAST, PIECE, POST, Address, answer, echo, listening


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="nothing at all"),
        pytest.param(GET[:-2], id="half a head"),
        pytest.param(POST + b"Content-Length: 5\r\n\r\n{", id="half a body"),
    ],
)
def test_a_client_that_owes_bytes_is_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(connection, "SILENCE_S_MAX", 0.05)

    async def story() -> bytes:
        async with listening() as address:
            return await answer(address, start)

    assert asyncio.run(story()) == b""


def test_a_client_that_waits_for_its_answer_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SILENCE_S_MAX", 3.0)  # to send the request in

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        monkeypatch.setattr(connection, "SILENCE_S_MAX", 0.02)  # from the next look on
        await asyncio.sleep(3.2)  # ten looks
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def story() -> bytes:
        async with listening(slow) as address:
            return await answer(address, GET)

    assert asyncio.run(story()).startswith(b"HTTP/1.1 204 ")


async def pours(_: Scope, receive: Receive, send: Send) -> None:
    """Answer without an end, until the client has left."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    leaving = asyncio.ensure_future(receive())
    while not leaving.done():
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await asyncio.sleep(0)


async def at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with more than a kernel keeps for who does not read."""
    await answer_with(Reply(200, [(b"content-type", b"text/plain")], PIECE * 512), scope, send)


@pytest.mark.parametrize("app", [pours, at_once])
def test_who_takes_nothing_of_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch, app: Any) -> None:
    monkeypatch.setattr(connection, "SILENCE_S_MAX", 0.1)

    async def story() -> None:
        over = asyncio.Event()

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)
            over.set()

        async with listening(watched) as address:
            with socket.create_connection(address) as client:
                client.sendall(GET)
                async with asyncio.timeout(PATIENT_S):
                    await over.wait()
                    seen = 0  # without reading of it
                    while seen != errno.ECONNRESET:
                        await asyncio.sleep(0.02)
                        seen = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    asyncio.run(story())


def test_who_takes_its_answer_slowly_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SILENCE_S_MAX", 0.02)
    pieces = 2000

    async def long(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        head = [(b"content-length", b"%d" % (pieces * len(PIECE)))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def story() -> int:
        async with listening(long) as address:
            return len(await everything(address, LAST))

    assert asyncio.run(story()) > pieces * len(PIECE)


def test_a_certificate_that_is_none_is_named_as_the_reason(tmp_path: Path) -> None:
    none = tmp_path / "cert.pem"
    none.write_text("not a certificate")
    with bind("127.0.0.1", 0) as ours, pytest.raises(PlatformFault, match="certificate"):
        Listener(echo, ours, (none, none))


async def everything(address: Address, *requests: bytes) -> bytes:
    """All that comes back on one connection, which the last request closes."""
    reader, writer = await asyncio.open_connection(*address)
    async with asyncio.timeout(PATIENT_S):
        writer.write(b"".join(requests))
        said = await reader.read()
    writer.close()
    return said


def replying(*replies: Reply) -> Any:
    """An app that gives these answers in turn."""
    left = list(replies)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await answer_with(left.pop(0), scope, send)

    return app


def test_a_whole_answer_looks_as_if_it_had_come_in_parts() -> None:
    reply = Reply(200, [(b"content-type", b"text/plain"), (b"x-name", b"a\tvalue")], b"body")

    async def in_parts(scope: Scope, receive: Receive, send: Send) -> None:
        del scope["extensions"]
        await replying(reply)(scope, receive, send)

    async def story(app: Any, request: bytes) -> list[bytes]:
        async with listening(app) as address:
            return (await everything(address, request)).splitlines()

    for request in (LAST, LAST.replace(b"GET", b"HEAD")):
        whole = asyncio.run(story(replying(reply), request))
        parts = asyncio.run(story(in_parts, request))
        assert [line for line in whole if not line.startswith(b"date:")] == [
            line for line in parts if not line.startswith(b"date:")
        ]
        assert len(whole) == len(parts)


def test_whole_answers_to_a_pipeline_come_in_its_order() -> None:
    async def story() -> bytes:
        async with listening(replying(*(Reply(200, [], b"%d;" % n) for n in range(3)))) as address:
            return await everything(address, GET, GET, LAST)

    said = asyncio.run(story())
    assert [part.partition(b"\r\n")[0] for part in said.split(b"\r\n\r\n")[1:]] == [
        b"0;HTTP/1.1 200 OK",
        b"1;HTTP/1.1 200 OK",
        b"2;",
    ]


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", b""])
def test_nonsense_behind_a_request_is_not_refused_in_the_place_of_its_answer(begun: bytes) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if begun:
            head = [(b"content-length", b"9")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        waits.set()
        await receive()

    async def story() -> bytes:
        async with listening(app) as address, asyncio.timeout(PATIENT_S):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(GET)
            await waits.wait()
            writer.write(b"no request\r\n\r\n")
            said = await reader.read()
            writer.close()
            return said

    waits = asyncio.Event()
    said = asyncio.run(story())
    assert b" 400 " not in said
    assert said.endswith(begun[-4:])
    assert said.count(b"HTTP/1.1") == bool(begun)


def test_an_answered_request_is_gone_without_the_help_of_the_collector() -> None:
    requests = 100

    async def story() -> int:
        async with listening(replying(*(Reply(200, [], b"{}") for _ in range(requests)))) as address:
            gc.collect()
            await everything(address, *[GET] * (requests - 1), LAST)
            return gc.collect()

    gc.disable()
    try:
        assert asyncio.run(story()) < requests
    finally:
        gc.enable()


def test_an_answer_without_a_body_says_nothing_of_its_length() -> None:
    async def story() -> bytes:
        async with listening(replying(Reply(204, [(b"allow", b"GET")]))) as address:
            return await everything(address, LAST)

    said = asyncio.run(story())
    assert said.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"content-length" not in said
    assert b"transfer-encoding" not in said


def test_trailers_are_no_headers() -> None:
    heard: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        heard.append(scope["headers"])
        await echo(scope, answered, send)

    async def answered() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def story() -> None:
        trailers = b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
        async with listening(app) as address:
            await answer(address, CHUNKED + trailers)  # before the application has begun
            await answer(address, CHUNKED, trailers)

    asyncio.run(story())
    assert heard == [[(b"host", b"x"), (b"transfer-encoding", b"chunked")]] * 2


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\nx: y", b"a\r", b"\x00", b"\x7f"])
def test_a_header_that_would_end_its_line_is_never_sent(value: bytes) -> None:
    async def story() -> bytes:
        async with listening(replying(Reply(200, [(b"x-name", value)], b"body"))) as address:
            return await everything(address, LAST)

    said = asyncio.run(story())
    assert said.startswith(b"HTTP/1.1 500 ")
    assert b"x-name" not in said


def test_a_connection_that_asks_for_nothing_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SILENCE_S_MAX", 0.05)
    monkeypatch.setattr(listener, "KEEP_ALIVE_S", 0.1)

    async def story() -> bytes:
        async with listening() as address:
            return await everything(address, GET)

    assert asyncio.run(story()).startswith(b"HTTP/1.1 200 ")


def test_who_was_answered_before_it_sent_its_body_is_not_asked_for_more() -> None:
    async def story() -> bytes:
        async with listening(at_once) as address:
            head = b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            return await answer(address, POST + head)

    assert b"\r\nconnection: close\r\n" in asyncio.run(story())


def test_one_connection_too_many_is_told_so_and_the_others_stay() -> None:
    async def story() -> tuple[bytes, bytes]:
        async with listening(connections_max=2) as address:
            first, second = socket.create_connection(address), socket.create_connection(address)
            with first, second:
                refused = await answer(address)
                first.sendall(GET)
                return refused, await asyncio.to_thread(first.recv, 1000)

    refused, served = asyncio.run(story())
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert served.startswith(b"HTTP/1.1 200 ")
