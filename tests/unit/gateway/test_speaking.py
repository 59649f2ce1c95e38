"""Models' answers as events, in virtual time: signs of life while one wakes, and how a stream breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.core.errors import LoadFailed, QueueFull
from lambent.core.invocation import Invocation, Outcome, Principal, Role
from lambent.core.spec import DeploymentSpec, Kind
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.protocols import Invoker
from lambent.gateway.protocols.openai.door import OpenAIDoor
from lambent.gateway.protocols.openai.models import Models
from lambent.gateway.protocols.openai.operations import Operations
from lambent.gateway.protocols.speaking import Speaking
from lambent.gateway.requests import Message, Request
from lambent.pool.routes import Route, Routes
from lambent.wire.frames import Form
from lambent.wire.process import RevisionPlan, Runtime
from lambent.wire.speech import Broken
from tests.support.node import node
from tests.support.virtual_time import VirtualClock, run
from tests.unit.gateway.asgi import House, outcome, scope_of
from tests.unit.gateway.asgi import Invoker as Scripted

BODY = b'{"model": "f", "messages": [{"role": "user", "content": "hi"}], "stream": true}'
WHO = Principal("default", "key", Role.INVOKE)
SAID = b'{"choices": [{"text": "all at once", "finish_reason": "stop"}]}'


def talking(name: str = "f", skills: tuple[str, ...] = ("chat",)) -> Routes:
    routes = Routes()
    spec = DeploymentSpec(name=name, kind=Kind.MODEL, skills=skills)
    plan = RevisionPlan(
        revision=f"{name}-rev", deployment=name, project="default", number=1, runtime=Runtime.MODEL
    )
    routes.put(Route(project="default", name=name, spec=spec, plan=plan))
    return routes


class Wire:
    """What a client has been sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def receive(self) -> Message:
        raise AssertionError("the body was read")

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    @property
    def is_over(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


async def chat(wire: Wire, invoker: Invoker, body: bytes = BODY, routes: Routes | None = None) -> Any:
    clock = VirtualClock()
    speaking = Speaking(invoker=invoker, routes=routes or talking(), clock=clock)
    operations = dict(Operations(speaking, clock).operations())
    request = Request(scope_of("POST", "/v1/chat/completions", {}), wire.receive, wire.send)
    return await operations["/v1/chat/completions"](request, WHO, body)


def after(seconds: float, end: Outcome | Exception) -> Callable[[Invocation], Awaitable[Outcome]]:
    async def work(_: Invocation) -> Outcome:
        await asyncio.sleep(seconds)
        if isinstance(end, Exception):
            raise end
        return end

    return work


def test_who_waits_for_a_cold_model_hears_signs_of_life() -> None:
    async def story() -> None:
        wire, invoker = Wire(), Scripted()
        invoker.next = after(12.0, outcome(SAID))
        assert await chat(wire, invoker) is None
        assert wire.sent[0]["status"] == 200
        assert wire.text.startswith(": keep-alive\n\n: keep-alive\n\ndata: {")
        assert '"content":"all at once"' in wire.text
        assert wire.text.endswith("data: [DONE]\n\n")
        assert wire.is_over

    run(story())


def test_what_fails_at_once_has_a_status_and_what_fails_late_an_event() -> None:
    async def story() -> None:
        wire, invoker = Wire(), Scripted()
        invoker.next = after(1.0, QueueFull("full", retry_after_s=2))
        with pytest.raises(QueueFull):
            await chat(wire, invoker)
        assert wire.sent == []
        invoker.next = after(6.0, LoadFailed("no weights"))
        assert await chat(wire, invoker) is None
        assert wire.text.startswith(': keep-alive\n\ndata: {"error":{"message":"no weights"')
        assert "[DONE]" not in wire.text
        assert wire.is_over

    run(story())


def test_a_worker_that_says_what_is_no_part_breaks_its_stream_off() -> None:
    async def talk(_: bytes, scene: Scene) -> bytes:
        await scene.write(Form.TEXT, b"well ")
        await scene.write(Form.JSON, b'{"text": 5}')
        return b""

    async def story() -> None:
        async with node(lambda _: Program(run=talk)) as n:
            n.deploy()
            wire = Wire()
            assert await chat(wire, n.dispatcher) is None
            assert '"content":"well "' in wire.text
            assert '"code":"bad_answer"' in wire.text
            assert wire.is_over

    run(story())


def test_an_answer_that_is_no_json_is_a_bad_gateway() -> None:
    async def story() -> None:
        wire, invoker = Wire(), Scripted()
        invoker.next = outcome(b"gibberish")
        with pytest.raises(Broken) as caught:
            await chat(wire, invoker, BODY.replace(b"true", b"false"))
        assert caught.value.trouble.status == 502

    run(story())


def test_nothing_is_left_behind_by_who_goes_away(tmp_path: Path) -> None:
    async def story() -> None:
        wire, invoker = Wire(), Scripted()
        invoker.next = after(3600.0, outcome(SAID))
        asking = asyncio.create_task(chat(wire, invoker))
        await asyncio.sleep(7)
        asking.cancel()
        await asyncio.wait([asking])
        assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"keep-alive", "events"})

    run(story())


def test_an_alias_is_asked_for_by_its_name() -> None:
    async def story() -> None:
        wire, invoker = Wire(), Scripted()
        invoker.next = outcome(SAID)
        body = msgspec.json.encode({"model": "f:next", "messages": [{"role": "user", "content": "hi"}]})
        await chat(wire, invoker, body)
        (asked,) = invoker.asked
        assert (asked.deployment, asked.alias) == ("f", "next")
        assert asked.content_type == "application/vnd.lambent.chat+json"
        assert asked.body == body

    run(story())


def test_who_is_refused_for_a_full_queue_is_told_when_to_come_again(tmp_path: Path) -> None:
    async def story() -> None:
        house, routes = House(tmp_path), talking()
        speaking = Speaking(invoker=Scripted(), routes=routes, clock=house.clock)
        operations = Operations(speaking, house.clock).operations()
        door = OpenAIDoor(house.behind, operations=operations, models=Models(routes))
        request = Request(scope_of("POST", "/v1/chat/completions", {}), Wire().receive, Wire().send)
        reply = door.refuse(request, QueueFull("full", retry_after_s=1.25))
        headers = dict(reply.headers)
        assert reply.status == 429
        assert (headers[b"retry-after"], headers[b"retry-after-ms"]) == (b"2", b"1250")
        error = msgspec.json.decode(reply.body)["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        house.store.close()

    run(story())
