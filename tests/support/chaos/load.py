"""Well-behaved clients: they ask, check what comes back, and write down what they saw."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.support.chaos.program import CHURN
from tests.support.chaos.seen import Acknowledged, End, Seen, Witness
from tests.support.chaos.wire import Answer, Broken, Connection, Nonsense, head_of
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer

AWAY_S: Final = 0.1  # until somebody tries again who found no server
BROKEN_SHARE: Final = 0.1
CANCELLED_SHARE: Final = 0.15
Dice = random.Random
Event = Mapping[str, Any]

EVENTS: Final[Mapping[str, Callable[[int, Dice], Event]]] = MappingProxyType(
    {
        "fast": lambda n, dice: {"n": n},
        CHURN: lambda n, dice: {"n": n},
        "slow": lambda n, dice: {"n": n, "s": dice.choice((0.02, 0.1, 0.4))},
        "stream": lambda n, dice: {"n": n, "pieces": dice.randrange(1, 9), "s": 0.02},
        "many": lambda n, dice: {"n": n, "s": dice.choice((0.01, 0.1))},
        "front": lambda n, dice: {"n": n},
        "batch": lambda n, dice: {"n": [n]},
        "web": lambda n, dice: {"n": n},
    }
)
CLIENTS: Final[Mapping[str, int]] = MappingProxyType(
    {"fast": 3, CHURN: 1, "slow": 3, "stream": 2, "many": 6, "front": 2, "batch": 6, "web": 2}
)


class Stage:
    """The server, wherever it listens now, and what is seen of it."""

    def __init__(self, server: RunningServer, *, seed: int) -> None:
        self.server: Final = server
        self.seen: Final = Witness()
        self.seed: Final = seed
        self.over: Final = asyncio.Event()
        self._numbers: Final = itertools.count(1)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, or did last."""
        host, _, port = self.server.url.rpartition("/")[2].partition(":")
        return host, int(port)

    @property
    def key(self) -> str:
        """What opens it."""
        return str(self.server.about["api_key"])

    def number(self) -> int:
        """One that nothing else has."""
        return next(self._numbers)

    def dice(self, who: str) -> Dice:
        """A client's own, so that it does the same whatever the others do."""
        return Dice(f"{self.seed}/{who}")

    async def rest(self, seconds: float) -> None:
        """Wait, but not beyond the end of the load."""
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            return


def begin(stage: Stage, tasks: asyncio.TaskGroup) -> None:
    """All well-behaved clients, until the load is over."""
    for deployment, count in CLIENTS.items():
        for place in range(count):
            tasks.create_task(_keep_calling(stage, deployment, stage.dice(f"{deployment}/{place}")))
    for place in range(2):
        tasks.create_task(_keep_submitting(stage, stage.dice(f"later/{place}")))
        tasks.create_task(_keep_chatting(stage, stage.dice(f"chat/{place}")))


async def call(stage: Stage, connection: Connection, deployment: str, event: Event) -> Seen:
    """One call on this connection, written down."""
    sent_s, number = time.monotonic(), _number_of(event)
    end, answer, wrong = End.ANSWERED, None, ""
    body = json.dumps(event).encode()
    head = head_of(
        "POST", f"/invoke/{deployment}", stage.key,
        Content_Length=str(len(body)), Content_Type="application/json",
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENT_S):
            connection.check_silent()
            await connection.send(head, body)
            answer = await connection.answer()
    except Broken:
        end = End.CLOSED
    except TimeoutError:
        end = End.HUNG
    except Nonsense as error:
        wrong = str(error)
    return note(
        stage, answer, number=number, deployment=deployment, sent_s=sent_s, end=end,
        wrong=wrong or (_wrong(answer, event) if answer else ""),
    )  # fmt: skip


def note(
    stage: Stage,
    answer: Answer | None,
    *,
    number: int,
    deployment: str,
    sent_s: float,
    end: End,
    wrong: str = "",
) -> Seen:
    """Write down how a call ended."""
    headers = answer.headers if answer else {}
    billed = headers.get("lambent-billed-ms")
    if answer and answer.status in (429, 503) and "retry-after" not in headers:
        wrong = wrong or f"{answer.status} without Retry-After"
    code = ""
    if answer and "problem" in headers.get("content-type", ""):
        code = str(json.loads(answer.body).get("code", ""))
    seen = Seen(
        number=number,
        deployment=deployment,
        sent_s=sent_s,
        over_s=time.monotonic(),
        end=end,
        status=answer.status if answer else 0,
        invocation=headers.get("lambent-invocation-id", ""),
        billed_ms=None if billed is None else int(billed),
        code=code,
        wrong=wrong,
    )
    stage.seen.calls.append(seen)
    return seen


def _number_of(event: Event) -> int:
    number = event["n"]
    return int(number[0] if isinstance(number, list) else number)


def _wrong(answer: Answer, event: Event) -> str:
    """What is wrong with an answer that says all is well."""
    if answer.status != 200:
        return ""
    values = [json.loads(line) for line in answer.body.splitlines()]
    if "pieces" in event:
        told = [value.get("piece") for value in values]
        if told != list(range(event["pieces"])):
            return f"a stream of {event['pieces']} pieces has {told}"
    if not values or any(value.get("n") != event["n"] for value in values):
        return f"the answer to {dict(event)} is {answer.body[:120]!r}"
    return ""


async def _keep_calling(stage: Stage, deployment: str, dice: Dice) -> None:
    connection: Connection | None = None
    while not stage.over.is_set():
        try:
            connection = connection or await Connection.open(stage.address)
        except OSError:
            await stage.rest(AWAY_S)
            continue
        seen = await call(stage, connection, deployment, EVENTS[deployment](stage.number(), dice))
        if seen.end is not End.ANSWERED or dice.random() < 0.1:
            connection.close()
            connection = None
        # Now and then for so long that the last worker has gone.
        await stage.rest(dice.choice((0.0, 0.02, 0.05, 0.2)) if dice.random() < 0.98 else 1.2)
    if connection is not None:
        connection.close()


async def _keep_submitting(stage: Stage, dice: Dice) -> None:
    while not stage.over.is_set():
        number, broken = stage.number(), dice.random() < BROKEN_SHARE
        event = {"n": number, "s": dice.choice((0.0, 0.05)), "broken": broken}
        while not stage.over.is_set():
            ticket = await _submitted(stage, event)
            if ticket:
                stage.seen.acknowledged[number] = Acknowledged(
                    number=number, invocation=ticket, broken=broken
                )
                break
            await stage.rest(AWAY_S)
        if dice.random() < 0.1:
            await _again(stage, event)
        if number in stage.seen.acknowledged and dice.random() < CANCELLED_SHARE:
            await stage.rest(dice.choice((0.0, 0.01, 0.05)))
            await _cancel(stage, stage.seen.acknowledged[number])
        await stage.rest(dice.choice((0.02, 0.1)))


async def _again(stage: Stage, event: Event) -> None:
    """The same key stands for the same invocation, also after a kill."""
    known = stage.seen.acknowledged.get(event["n"])
    if known and (found := await _submitted(stage, event)) and found != known.invocation:
        stage.seen.accuse(f"one idempotency key stands for {known.invocation} and {found}")


async def _cancel(stage: Stage, one: Acknowledged) -> None:
    """It may have ended; where nothing is answered it may be cancelled, or not."""
    try:
        connection = await Connection.open(stage.address)
    except OSError:
        return
    stage.seen.cancelled[one.number] = False
    try:
        async with asyncio.timeout(PATIENT_S):
            await connection.send(head_of("DELETE", f"/invocations/{one.invocation}", stage.key))
            answer = await connection.answer()
    except Broken:
        return
    except TimeoutError:
        stage.seen.accuse(f"no answer to a cancellation within {PATIENT_S:g} s")
        return
    finally:
        connection.close()
    stage.seen.counts[f"cancel {answer.status}"] += 1
    if answer.status == 200:
        stage.seen.cancelled[one.number] = True
    elif answer.status == 409:
        del stage.seen.cancelled[one.number]
    elif answer.status != 507:
        stage.seen.accuse(f"a cancellation was answered {answer.status}: {answer.body[:200]!r}")


async def _submitted(stage: Stage, event: Event) -> str:
    """Its ticket, or nothing where the server did not say yes."""
    body = json.dumps(event).encode()
    head = head_of(
        "POST", "/invoke/later", stage.key,
        Content_Length=str(len(body)), Content_Type="application/json",
        Prefer="respond-async", Idempotency_Key=f"chaos-{event['n']}",
    )  # fmt: skip
    try:
        connection = await Connection.open(stage.address)
    except OSError:
        return ""
    try:
        async with asyncio.timeout(PATIENT_S):
            await connection.send(head, body)
            answer = await connection.answer()
    except Broken:
        return ""
    except TimeoutError:
        stage.seen.accuse(f"no answer to an asynchronous call within {PATIENT_S:g} s")
        return ""
    finally:
        connection.close()
    stage.seen.counts[f"async {answer.status}"] += 1
    if answer.status == 202:
        return answer.headers["location"].rpartition("/")[2]
    if answer.status not in (429, 503, 507):
        stage.seen.accuse(f"an asynchronous call was answered {answer.status}: {answer.body[:200]!r}")
    return ""


async def _keep_chatting(stage: Stage, dice: Dice) -> None:
    while not stage.over.is_set():
        host, port = stage.address
        sent = ""
        try:
            async with (
                asyncio.timeout(PATIENT_S),
                connect(
                    f"ws://{host}:{port}/invoke/chat",
                    additional_headers={"Authorization": f"Bearer {stage.key}"},
                    proxy=None,
                ) as socket,
            ):
                for turn in range(dice.randrange(1, 30)):
                    sent = f"{stage.number()} {turn}"
                    await socket.send(sent)
                    if (said := await socket.recv()) != sent:
                        stage.seen.accuse(f"a WebSocket said {said!r} to {sent!r}")
                    await stage.rest(0.02)
            stage.seen.counts["websockets whole"] += 1
        except TimeoutError:
            stage.seen.accuse(f"a WebSocket said nothing to {sent!r} for {PATIENT_S:g} s")
        except (OSError, WebSocketException):
            stage.seen.counts["websockets broken"] += 1
            await stage.rest(AWAY_S)
