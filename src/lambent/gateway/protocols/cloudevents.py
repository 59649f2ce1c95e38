"""CloudEvents at our own door: user code is given the data, its context the attributes, and may answer so.

An event in headers is answered in headers, one in JSON in JSON. A batch is one invocation for each event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, LambentError
from lambent.core.invocation import JSON, Invocation, Outcome, Status
from lambent.gateway.presence import ClientLeft, Presence
from lambent.gateway.protocols import Invoker
from lambent.gateway.responses import Header, Reply, headers_of, problem_reply
from lambent.wire import cloudevents, problem
from lambent.wire.api import Problem
from lambent.wire.cloudevents import BadEvent, Event, Mode

ANSWERED: Final = "dev.lambent.invocation.answered"
ACCEPT: Final = b"accept"
TYPE: Final = b"content-type"

Headers = Mapping[bytes, bytes]


def mode_of(headers: Headers) -> Mode | None:
    """How the events of a request lie in it. Raises `CallerFault` for a format that is not read."""
    try:
        return cloudevents.mode_of(headers)
    except BadEvent as error:
        raise CallerFault(str(error)) from error


def received(mode: Mode, headers: Headers, body: bytes) -> Sequence[Event]:
    """The events of a request. Raises `CallerFault`."""
    try:
        if mode is Mode.BATCHED:
            return cloudevents.from_batch(body)
        is_binary = mode is Mode.BINARY
        return (cloudevents.from_binary(headers, body) if is_binary else cloudevents.from_structured(body),)
    except BadEvent as error:
        raise CallerFault(str(error)) from error


def beside(event: Event) -> str:
    """The attributes as a client context, by the names that they have as headers."""
    told = {f"ce-{name}": value for name, value in event.attributes.items()}
    return msgspec.json.encode({"custom": told}).decode()


def told(mode: Mode | None, headers: Headers, reply: Reply) -> Reply:
    """The reply as an event, where user code returned one and whoever asked knows them."""
    if mode is None:
        if b"application/cloudevents" not in headers.get(ACCEPT, b""):
            return reply
        mode = Mode.STRUCTURED
    event = cloudevents.answered(reply.body) if reply.status == 200 else None
    if event is None:
        return reply
    others = [header for header in reply.headers if header[0] != TYPE]
    if mode is Mode.BINARY:
        return Reply(reply.status, [*others, *cloudevents.headers_of(event)], event.data)
    return Reply(reply.status, [*others, _type(cloudevents.STRUCTURED)], cloudevents.as_structured(event))


async def run_all(
    invoker: Invoker, invocations: Sequence[Invocation], events: Sequence[Event], *, client: Presence | None
) -> Reply:
    """One invocation for each event, side by side: 200 and as many events, or what the first failure says.

    Whoever sends it again is at least once served, as the senders of events expect. Raises `ClientLeft`.
    """
    each = [Presence() for _ in invocations]  # only one of them could listen to the client itself
    if client is not None:

        def leave() -> None:
            for one in each:
                one.leave()

        client.when_left(leave)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_ended(invoker, one, presence), name="event")
            for one, presence in zip(invocations, each, strict=True)
        ]
    if client is not None:
        client.forget()
        if client.left:
            raise ClientLeft
    ended = [task.result() for task in tasks]
    for place, (event, end) in enumerate(zip(events, ended, strict=True)):
        if isinstance(end, LambentError) or end.status is not Status.OK:
            return _failure(event, end, place=place, count=len(events))
    answers = [
        _answer(invocation, event, end)
        for invocation, event, end in zip(invocations, events, ended, strict=True)
        if not isinstance(end, LambentError)
    ]
    body = b"[" + b",".join(map(cloudevents.as_structured, answers)) + b"]"
    return Reply(200, [_type(cloudevents.BATCHED)], body)


async def _ended(invoker: Invoker, invocation: Invocation, client: Presence) -> Outcome | LambentError:
    try:
        return await invoker.invoke(invocation, client=client)
    except LambentError as error:
        return error
    except ClientLeft:
        return LambentError("the client has left")


def _answer(invocation: Invocation, event: Event, outcome: Outcome) -> Event:
    """What user code returned as an event, or its answer as one of ours, which says of which."""
    if (own := cloudevents.answered(outcome.body)) is not None:
        return own
    attributes = {
        "specversion": cloudevents.VERSION,
        "id": invocation.id,
        "source": f"/invoke/{invocation.deployment}",
        "type": ANSWERED,
        "causeid": event.attributes["id"],
        "causesource": event.attributes["source"],
    }
    return Event(attributes, outcome.body, outcome.content_type or JSON)


def _failure(event: Event, end: Outcome | LambentError, *, place: int, count: int) -> Reply:
    where = f"event {place + 1} of {count}, {event.attributes['id']!r}: "
    document, headers = _problem(end)
    return problem_reply(msgspec.structs.replace(document, detail=where + document.detail), headers)


def _problem(end: Outcome | LambentError) -> tuple[Problem, list[Header]]:
    if isinstance(end, LambentError):
        return problem.of_error(end), headers_of(end)
    return problem.of_outcome(end), []


def _type(content_type: str) -> Header:
    return TYPE, content_type.encode()
