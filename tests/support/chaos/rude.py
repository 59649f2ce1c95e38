"""Ill-behaved clients: slow, silent, gone in the middle, and such as write what is no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tests.support.chaos.load import AWAY_S, Dice, Stage, note
from tests.support.chaos.plan import TICK_S
from tests.support.chaos.seen import End
from tests.support.chaos.wire import Answer, Broken, Connection, Nonsense, head_of
from tests.support.patience import PATIENT_S

RUDE_CLIENTS: Final = 4
FLOOD_PIECES: Final = 200
FLOOD_PAD: Final = 64 * 1024
Rude = Callable[[Stage, Connection, Dice], Awaitable[None]]


def begin(stage: Stage, tasks: asyncio.TaskGroup) -> None:
    """All of them, until the load is over."""
    for place in range(RUDE_CLIENTS):
        tasks.create_task(_keep_on(stage, stage.dice(f"rude/{place}")))


async def _keep_on(stage: Stage, dice: Dice) -> None:
    while not stage.over.is_set():
        rude = dice.choice(RUDE)
        try:
            connection = await Connection.open(stage.address)
        except OSError:
            await stage.rest(AWAY_S)
            continue
        try:
            await rude(stage, connection, dice)
        except Broken:
            stage.seen.counts["rude clients cut off"] += 1
        finally:
            connection.reset() if dice.random() < 0.5 else connection.close()
        stage.seen.counts[rude.__name__.strip("_").replace("_", " ")] += 1
        await stage.rest(dice.random() * TICK_S)


def _post(stage: Stage, deployment: str, event: object, *, length: int | None = None) -> tuple[str, bytes]:
    body = json.dumps(event).encode()
    told = str(len(body) if length is None else length)
    head = head_of(
        "POST", f"/invoke/{deployment}", stage.key, Content_Length=told, Content_Type="application/json"
    )
    return head, body


# Slow and half-open.


async def _half_a_head_and_silence(stage: Stage, connection: Connection, dice: Dice) -> None:
    head, _ = _post(stage, "fast", {"n": 0})
    await connection.send(head[: dice.randrange(1, len(head) - 4)])
    await stage.rest(dice.randrange(1, 20) * TICK_S)


async def _nothing_at_all(stage: Stage, connection: Connection, dice: Dice) -> None:
    await stage.rest(dice.randrange(1, 20) * TICK_S)


async def _slow_body(stage: Stage, connection: Connection, dice: Dice) -> None:
    """A byte a tick, but all of it: it is answered as any other."""
    sent_s, number = time.monotonic(), stage.number()
    head, body = _post(stage, dice.choice(("fast", "web")), {"n": number})
    deployment = head.split()[1].rpartition("/")[2]
    end, answer = End.ANSWERED, None
    try:
        await connection.send(head)
        for place in range(len(body)):
            await connection.send("", body[place : place + 1])
            await asyncio.sleep(TICK_S)
        async with asyncio.timeout(PATIENT_S):
            answer = await connection.answer()
    except Broken:
        end = End.CLOSED
    except TimeoutError:
        end = End.HUNG
    note(stage, answer, number=number, deployment=deployment, sent_s=sent_s, end=end)


async def _slow_reader(stage: Stage, connection: Connection, dice: Dice) -> None:
    """Reads a byte a tick of a stream of megabytes, then no more."""
    sent_s, number = time.monotonic(), stage.number()
    head, body = _post(stage, "stream", {"n": number, "pieces": FLOOD_PIECES, "pad": FLOOD_PAD})
    await connection.send(head, body)
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # typeshed: a plain transport
    await stage.rest(dice.randrange(1, 16) * TICK_S)
    note(stage, None, number=number, deployment="stream", sent_s=sent_s, end=End.LEFT)


# Gone.


async def _gone_in_the_body(stage: Stage, connection: Connection, dice: Dice) -> None:
    head, body = _post(stage, dice.choice(("fast", "web", "later")), {"n": 0})
    await connection.send(head, body[: dice.randrange(len(body))])


async def _gone_while_it_waits(stage: Stage, connection: Connection, dice: Dice) -> None:
    sent_s, number = time.monotonic(), stage.number()
    deployment = dice.choice(("slow", "many"))
    head, body = _post(stage, deployment, {"n": number, "s": 0.4})
    await connection.send(head, body)
    await asyncio.sleep(dice.randrange(0, 4) * TICK_S / 2)
    note(stage, None, number=number, deployment=deployment, sent_s=sent_s, end=End.LEFT)


async def _gone_in_the_stream(stage: Stage, connection: Connection, dice: Dice) -> None:
    sent_s, number = time.monotonic(), stage.number()
    head, body = _post(stage, "stream", {"n": number, "pieces": 30, "s": 0.05})
    await connection.send(head, body)
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(dice.randrange(1, 4)):
            await connection.reader.read(1)
    note(stage, None, number=number, deployment="stream", sent_s=sent_s, end=End.LEFT)


# What is no HTTP. Each is answered with the client's fault, or cut off.

CHUNKED: Final = "Transfer-Encoding: chunked\r\n"
POST: Final = "POST /invoke/fast HTTP/1.1\r\nHost: chaos\r\nAuthorization: Bearer KEY\r\n"
GET_CHAT: Final = POST.replace("POST /invoke/fast", "GET /invoke/chat") + "Connection: Upgrade\r\n"
LIES: Final[tuple[bytes, ...]] = tuple(
    text.encode("latin-1")
    for text in (
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "HELLO\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: chaos\r\n\r\n",
        "GET /invoke/fast\r\n\r\n",
        POST + "Content-Length: -5\r\n\r\n{}",
        POST + "Content-Length: 1e3\r\n\r\n{}",
        POST + "Content-Length: 99999999999999999999\r\n\r\n{}",
        POST + "Content-Length: 99999999999\r\n\r\n{}",
        POST + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        POST + "Content-Length: 2\r\n" + CHUNKED + "\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + CHUNKED + "\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST + CHUNKED + "\r\n-2\r\n{}\r\n0\r\n\r\n",
        POST + CHUNKED + "\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        POST + CHUNKED + "\r\n1\r\n{}\r\n0\r\n\r\n",
        POST + "X-Long: " + "x" * 300_000 + "\r\n\r\n",
        POST + "".join(f"X-{place}: {'y' * 100}\r\n" for place in range(3000)) + "\r\n",
        POST + "Bad Header : x\r\n\r\n",
        POST + "X-Zero: a\0b\r\n\r\n",
        POST + "Content-Length: 4\r\n\r\n{{{{",
        "POST /invoke/" + "a" * 200_000 + " HTTP/1.1\r\nHost: chaos\r\n\r\n",
        GET_CHAT + "Upgrade: websocket\r\nSec-WebSocket-Version: 99\r\nSec-WebSocket-Key: no\r\n\r\n",
    )
)


async def _lie(stage: Stage, connection: Connection, dice: Dice) -> None:
    lie = dice.choice(LIES).replace(b"Bearer KEY", b"Bearer " + stage.key.encode())
    await _refused(stage, connection, lie)


async def _body_shorter_than_told(stage: Stage, connection: Connection, dice: Dice) -> None:
    """The client ends its side in the middle: what came is no request, and runs nothing."""
    head, body = _post(stage, "fast", {"n": 0}, length=100)
    await connection.send(head, body)
    if connection.writer.can_write_eof():
        connection.writer.write_eof()
    await _refused(stage, connection, b"")


async def _body_longer_than_told(stage: Stage, connection: Connection, dice: Dice) -> None:
    """What is over is the next request, and none."""
    sent_s, number = time.monotonic(), stage.number()
    head, body = _post(stage, "fast", {"n": number})
    await connection.send(head, body + b"and more of it\r\n\r\n")
    end, answer = End.ANSWERED, None
    try:
        async with asyncio.timeout(PATIENT_S):
            answer = await connection.answer()
    except Broken:
        end = End.CLOSED  # the connection may end before the first is answered: the second ended it
    except TimeoutError:
        end = End.HUNG
    note(stage, answer, number=number, deployment="fast", sent_s=sent_s, end=End.LEFT if not answer else end)


async def _refused(stage: Stage, connection: Connection, lie: bytes) -> None:
    answer: Answer | None = None
    try:
        async with asyncio.timeout(PATIENT_S):
            if lie:
                await connection.send("", lie)
            answer = await connection.answer()
    except Broken:
        return
    except Nonsense as error:
        stage.seen.accuse(f"{error} was said to {lie[:80]!r}")
    except TimeoutError:
        stage.seen.accuse(f"nothing was said to {lie[:80]!r} for {PATIENT_S:g} s")
    if answer is not None and not 400 <= answer.status < 500:
        stage.seen.accuse(f"{answer.status} was said to {lie[:80]!r}: {answer.body[:200]!r}")


RUDE: Final[tuple[Rude, ...]] = (
    _half_a_head_and_silence,
    _nothing_at_all,
    _slow_body,
    _slow_reader,
    _gone_in_the_body,
    _gone_while_it_waits,
    _gone_while_it_waits,
    _gone_in_the_stream,
    _lie,
    _lie,
    _lie,
    _body_shorter_than_told,
    _body_longer_than_told,
)
