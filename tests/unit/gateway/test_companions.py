"""Tasks beside a request end with it, whatever door it came by, and their errors are heard."""

import asyncio
from pathlib import Path

import pytest
from uvicorn.protocols.utils import ClientDisconnected

from lambent.core.invocation import Head, Principal, Role
from lambent.engines.memory_worker import Program, Scene
from lambent.gateway.companions import Companions
from lambent.gateway.protocols.open_inference.generating import Generating
from lambent.gateway.protocols.open_inference.inferring import Asked
from lambent.gateway.protocols.open_inference.models import Found
from lambent.gateway.requests import Message, Request
from lambent.pool.function_urls import FunctionUrl
from lambent.wire.frames import Begin, Form
from lambent.wire.process import Runtime
from tests.support.node import node
from tests.support.patience import PATIENT_S
from tests.support.virtual_time import run
from tests.unit.gateway.asgi import PROJECT, House, Response, outcome, scope_of

PIECE = bytes(1024)


async def pour(_: bytes, scene: Scene) -> bytes:
    while True:
        await scene.write(Form.BYTES, PIECE)


async def speak_badly(_: bytes, scene: Scene) -> bytes:
    scene.say(Begin(scene.call.call_id, Head(200, (("x-snow", "\u2603"),))))
    await scene.write(Form.BYTES, PIECE)
    return b""


def names() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks()]


@pytest.mark.parametrize(
    ("target", "runtime", "task"),
    [
        ("/invoke/f", Runtime.HANDLER, "relay"),
        ("/invoke/f/page", Runtime.ASGI, "relay"),
        ("/2021-11-15/functions/f/response-streaming-invocations", Runtime.HANDLER, "frames"),
        ("/lambda-url/abc/", Runtime.HANDLER, "url stream"),
    ],
)
def test_a_stream_ends_with_its_request(tmp_path: Path, target: str, runtime: Runtime, task: str) -> None:
    async def story() -> None:
        async with node(lambda _: Program(run=pour)) as n:
            house = House(tmp_path)
            house.invoker.behind = n.dispatcher
            house.deploy("f", runtime=runtime)
            n.deploy()
            url = FunctionUrl(
                url_id="abc", project=PROJECT, name="f", auth_type="NONE", invoke_mode="RESPONSE_STREAM"
            )
            house.function_urls.put(url)
            key = (await house.key()).api_key
            streaming = asyncio.Event()

            async def receive() -> dict[str, object]:
                return {"type": "http.request", "body": b"{}", "more_body": False}

            async def send(message: dict[str, object]) -> None:
                streaming.set()
                await asyncio.Event().wait()  # it takes nothing more

            scope = scope_of("POST", target, {"authorization": f"Bearer {key}"})
            asking = asyncio.create_task(_answered(house, scope, receive, send))
            async with asyncio.timeout(PATIENT_S):
                await streaming.wait()
                assert task in names()
                asking.cancel()
                await asyncio.wait((asking,))
            assert task not in names()
            house.store.close()

    asyncio.run(story())


def test_a_generated_stream_ends_with_its_request() -> None:
    async def story() -> None:
        async with node(lambda _: Program(run=pour)) as n:
            found = Found(n.deploy(), "")
            streaming = asyncio.Event()

            async def receive() -> Message:
                return {"type": "http.disconnect"}

            async def send(_: Message) -> None:
                streaming.set()
                await asyncio.Event().wait()

            request = Request(scope_of("POST", "/v2/models/f/generate_stream", {}), receive, send)
            asked = Asked(principal=Principal(PROJECT, "k", Role.INVOKE), invocation_id="i")
            generating = Generating(n.dispatcher, n.routes)
            asking = asyncio.create_task(generating.run(request, found, b"{}", asked, streams=True))
            await streaming.wait()
            asking.cancel()
            await asyncio.wait((asking,))
            assert "generate" not in names()

    run(story())


async def _answered(house: House, scope: object, receive: object, send: object) -> None:
    await house.gateway(scope, receive, send)  # type: ignore[arg-type]  # narrower than those of ASGI


@pytest.mark.parametrize("target", ["/invoke/f/page", "/invoke/f"])
@pytest.mark.parametrize(
    ("head", "said"),
    [
        (Head(200, (("x-snow", "\u2603"),)), "'x-snow: \u2603'"),
        (Head(200, (("x-two", "a\r\nset-cookie: b"),)), "x-two"),
        (Head(200, (("x snow", "a"),)), "x snow"),
        (Head(1000), "1000"),
    ],
)
def test_a_head_that_http_cannot_carry_is_the_fault_of_who_gave_it(
    house: House, target: str, head: Head, said: str
) -> None:
    house.deploy("f", runtime=Runtime.ASGI if target.endswith("page") else Runtime.HANDLER)
    house.invoker.next = outcome(b"1", head=head)
    answer = asyncio.run(house.call("POST", target, b"{}"))
    assert (answer.status, answer.json()["code"]) == (502, "bad_head")
    assert said in answer.json()["detail"]


def test_a_stream_with_such_a_head_is_refused_before_it_begins(tmp_path: Path) -> None:
    async def story() -> Response:
        async with node(lambda _: Program(run=speak_badly)) as n:
            house = House(tmp_path)
            house.invoker.behind = n.dispatcher
            house.deploy("f", runtime=Runtime.ASGI)
            n.deploy()
            answer = await house.call("POST", "/invoke/f", b"{}")
            house.store.close()
            return answer

    answer = asyncio.run(story())
    assert (answer.status, answer.json()["code"]) == (502, "bad_head")


def test_a_handshake_answered_with_such_a_header_is_refused(tmp_path: Path) -> None:
    async def story() -> list[dict[str, object]]:
        async with node(lambda _: Program(run=speak_badly)) as n:
            house = House(tmp_path)
            house.invoker.behind = n.dispatcher
            house.deploy("f", runtime=Runtime.ASGI)
            n.deploy()
            key = (await house.key()).api_key
            heard: list[dict[str, object]] = [{"type": "websocket.connect"}]
            said: list[dict[str, object]] = []

            async def receive() -> dict[str, object]:
                if not heard:
                    await asyncio.Event().wait()
                return heard.pop()

            async def send(message: dict[str, object]) -> None:
                said.append(message)

            scope = {**scope_of("GET", "/invoke/f", {"authorization": f"Bearer {key}"}), "type": "websocket"}
            with pytest.raises(ClientDisconnected):
                await _answered(house, scope, receive, send)
            house.store.close()
            return said

    assert [message.get("status") for message in asyncio.run(story())] == [502, None]


@pytest.mark.parametrize(("own", "raised"), [(None, OSError), (KeyError("its own"), KeyError)])
def test_what_ends_a_companion_is_raised_unless_the_request_fails_by_itself(
    own: Exception | None, raised: type[Exception]
) -> None:
    async def fail() -> None:
        raise OSError("of a companion")

    async def story() -> None:
        async with Companions() as companions:
            await asyncio.wait((companions.start(fail(), name="fails"),))
            if own is not None:
                raise own

    with pytest.raises(raised):
        run(story())
