"""Streams on a node without processes, in virtual time: credit, wholes, clients that leave, and the bill."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from lambent.core.invocation import OCTETS, Head, Outcome, Status
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.flow import COLLECTED_BYTES_MAX, Flow
from lambent.gateway.presence import Presence
from lambent.gateway.relay import Relay
from lambent.gateway.requests import Message, Request
from lambent.wire.frames import CREDIT_BYTES, Begin, Chunk, Closing, Form, Input, Took, cost_of
from tests.support.node import node
from tests.support.virtual_time import run

PIECE = bytes(8 * 1024)


class Reader:
    """A door that takes a stream, as fast as the test lets it."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.taken: list[tuple[Form, bytes]] = []
        self.flows: list[Flow] = []
        self.pause_s = pause_s
        self.done = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    def started(self, flow: Flow) -> None:
        self.flows.append(flow)

    def begun(self, flow: Flow) -> None:
        assert self._reading is None, "begun twice"
        self._reading = asyncio.get_running_loop().create_task(self._read(flow))

    async def _read(self, flow: Flow) -> None:
        async for piece in flow.pieces():
            await asyncio.sleep(self.pause_s)
            self.taken.append(piece)
        self.done.set()


def pours(count: int, piece: bytes = PIECE, form: Form = Form.BYTES) -> tuple[Program, list[int]]:
    written: list[int] = []

    async def pour(_: bytes, scene: Scene) -> bytes:
        for number in range(count):
            await scene.write(form, piece)
            written.append(number)
        return b""

    return Program(run=pour), written


def test_a_slow_reader_has_no_more_before_it_than_its_credit() -> None:
    async def story() -> None:
        program, written = pours(200)
        async with node(lambda _: program) as n:
            n.deploy()
            reader = Reader(pause_s=0.01)
            invoking = asyncio.create_task(n.dispatcher.invoke(n.invocation(), streams=reader))
            while not invoking.done():
                await asyncio.sleep(0.005)
                waiting = (len(written) - len(reader.taken)) * cost_of(PIECE)
                assert waiting < CREDIT_BYTES + 2 * cost_of(PIECE)
            await reader.done.wait()
            outcome = await invoking
            assert (outcome.status, len(reader.taken)) == (Status.OK, 200)
            assert n.usage[0].response_bytes == 200 * len(PIECE)

    run(story())


@pytest.mark.parametrize(
    ("said", "body", "kind"),
    [
        ([(Form.BYTES, b"a"), (Form.BYTES, b"b")], b"ab", "application/octet-stream"),
        ([(Form.TEXT, b"a"), (Form.TEXT, "ü".encode())], "aü".encode(), "text/plain; charset=utf-8"),
        (
            [(Form.JSON, b"1"), (Form.TEXT, b'x"'), (Form.BYTES, b"\x00")],
            b'[1,"x\\"","AA=="]',
            "application/json",
        ),
        ([], b"", "application/octet-stream"),
    ],
)
def test_a_door_that_cannot_stream_gets_the_whole(
    said: list[tuple[Form, bytes]], body: bytes, kind: str
) -> None:
    async def speak(_: bytes, scene: Scene) -> bytes:
        scene.say(Begin(scene.call.call_id))
        for form, piece in said:
            await scene.write(form, piece)
        return b""

    async def story() -> None:
        async with node(lambda _: Program(run=speak)) as n:
            n.deploy()
            outcome = await n.dispatcher.invoke(n.invocation())
            assert (outcome.status, outcome.body, outcome.content_type) == (Status.OK, body, kind)
            assert n.usage[0].status is Status.OK

    run(story())


def test_a_whole_that_is_too_large_is_ended_and_says_so() -> None:
    async def story() -> None:
        program, written = pours(10_000, bytes(1 << 20))
        async with node(lambda _: program) as n:
            n.deploy()
            outcome = await n.dispatcher.invoke(n.invocation())
            assert outcome.status is Status.FAILED
            assert outcome.error is not None
            assert outcome.error.error_type == "Function.ResponseSizeTooLarge"
            assert len(written) <= COLLECTED_BYTES_MAX // (1 << 20) + 2
            assert n.usage[0].status is Status.FAILED

    run(story())


def test_an_error_after_a_beginning_is_the_outcome() -> None:
    async def speak(_: bytes, scene: Scene) -> bytes:
        await scene.write(Form.TEXT, b"one")
        raise ValueError("no more")

    async def story() -> None:
        async with node(lambda _: Program(run=speak)) as n:
            n.deploy()
            for reader in (Reader(), None):
                outcome = await n.dispatcher.invoke(n.invocation(), streams=reader)
                assert outcome.status is Status.FAILED
                assert outcome.error is not None
                assert outcome.error.error_message == "no more"

    run(story())


async def left(begun: asyncio.Event, scene: Scene, *, whole: bool) -> None:
    await scene.write(Form.TEXT, b"one")
    if whole:
        scene.say(Chunk(scene.call.call_id, Form.TEXT, last=True), b"two")
        scene.say(Chunk(scene.call.call_id, Form.TEXT), b"three: nobody hears it")
    begun.set()


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_client_that_leaves_cancels_its_call_and_is_billed(pieces: int) -> None:
    async def story() -> None:
        begun = asyncio.Event()

        async def wait(_: bytes, scene: Scene) -> bytes:
            for _ in range(pieces):
                await scene.write(Form.TEXT, b"one")
            begun.set()
            await asyncio.Event().wait()
            return b""

        async with node(lambda _: Program(run=wait)) as n:
            n.deploy()
            client = Presence(lambda: None)
            invoking = asyncio.create_task(
                n.dispatcher.invoke(n.invocation(), client=client, streams=Reader())
            )
            await begun.wait()
            client.leave()
            assert (await invoking).status is Status.CANCELLED
            assert [record.status for record in n.usage] == [Status.CANCELLED]
            assert n.workers() == 1

    run(story())


def test_a_client_that_has_all_of_its_answer_may_leave_and_ask_again() -> None:
    async def story() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def linger(body: bytes, scene: Scene) -> bytes:
            await left(begun, scene, whole=True)
            await go_on.wait()
            return b""

        async with node(lambda _: Program(run=linger)) as n:
            n.deploy()
            client = Presence(lambda: None)
            reader = Reader()
            invoking = asyncio.create_task(n.dispatcher.invoke(n.invocation(), client=client, streams=reader))
            await begun.wait()
            await reader.done.wait()
            assert reader.taken == [(Form.TEXT, b"one"), (Form.TEXT, b"two")]
            next_one: list[str] = []
            client.when_left(lambda: next_one.append("left"))  # its next request listens now
            go_on.set()
            assert (await invoking).status is Status.OK
            client.leave()
            assert next_one == ["left"]
            assert n.usage[0].status is Status.OK
            assert n.usage[0].response_bytes == len(b"onetwo")

    run(story())


def test_a_request_is_added_to_as_fast_as_it_is_taken() -> None:
    async def story() -> None:
        taken: list[bytes] = []

        async def take(_: bytes, scene: Scene) -> bytes:
            while True:
                header, body = await scene.told.get()
                assert isinstance(header, Input)
                if header.last:
                    assert Closing.of(body) == Closing(1001, "away")
                    return b"%d" % len(taken)
                await asyncio.sleep(0.001)
                taken.append(body)
                scene.say(Took(scene.call.call_id, cost_of(body)))

        async with node(lambda _: Program(run=take)) as n:
            n.deploy()
            reader = Reader()
            invocation = msgspec.structs.replace(n.invocation(), more=True)
            invoking = asyncio.create_task(n.dispatcher.invoke(invocation, streams=reader))
            while not reader.flows:  # noqa: ASYNC110 - it is sent in a later turn
                await asyncio.sleep(0.001)
            (flow,) = reader.flows
            for number in range(100):
                assert await flow.write(Form.BYTES, PIECE)
                assert (number + 1 - len(taken)) * cost_of(PIECE) < CREDIT_BYTES + 2 * cost_of(PIECE)
            flow.close(Closing(1001, "away"))
            outcome: Outcome = await invoking
            assert outcome.body == b"100"
            assert not await flow.write(Form.BYTES, b"too late")
            assert n.usage[0].request_bytes == len(b"{}") + 100 * len(PIECE)

    run(story())


def test_what_streams_nothing_is_no_stream() -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy()
            reader = Reader()
            outcome = await n.dispatcher.invoke(n.invocation(body=b"[1]"), streams=reader)
            assert (outcome.body, reader.taken) == (b"[1]", [])
            assert n.usage[0].response_bytes == 3

    run(story())


@pytest.mark.parametrize("said", ["text/\u2028plain", "text/plain\r\nset-cookie: a=b"])
def test_a_type_that_no_header_may_hold_is_not_passed_on(said: str) -> None:
    async def speak(_: bytes, scene: Scene) -> bytes:
        scene.say(Begin(scene.call.call_id, Head(200, (("content-type", said),))))
        await scene.write(Form.BYTES, b"1")
        return b""

    async def story() -> None:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async with node(lambda _: Program(run=speak)) as n:
            n.deploy()
            request = Request({"method": "POST", "path": "/invoke/f", "headers": []}, receive, send)
            relay = Relay(request, invocation := n.invocation())
            await relay.finish(await n.dispatcher.invoke(invocation, streams=relay))
        assert dict(sent[0]["headers"])[b"content-type"] == OCTETS.encode()

    run(story())
