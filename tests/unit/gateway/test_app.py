"""Which door a request goes to, and what every door has in common."""

import asyncio
from collections.abc import Sequence

import pytest

from lambent.core.invocation import Role
from lambent.gateway.presence import ClientLeft
from lambent.gateway.requests import Message
from tests.unit.gateway.asgi import BODY_BYTES_MAX, House, request, scope_of


def test_health_needs_no_key(house: House) -> None:
    async def story() -> None:
        for path in ("/livez", "/healthz", "/readyz", "/"):
            assert (await house.call("GET", path, key="")).status == 200

    asyncio.run(story())


def test_a_draining_server_is_alive_and_not_ready(house: House) -> None:
    async def story() -> None:
        house.accepting = False
        ready = await house.call("GET", "/readyz", key="")
        assert (ready.status, ready.headers["retry-after"]) == (503, "1")
        assert (await house.call("GET", "/healthz", key="")).status == 200

    asyncio.run(story())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/invoke/hello"),
        ("GET", "/invocations/x"),
        ("GET", "/metrics"),
        ("GET", "/api/v1/deployments"),
        ("GET", "/api/v1/openapi.json"),
    ],
)
def test_everything_else_asks_for_a_key(house: House, method: str, path: str) -> None:
    answer = asyncio.run(house.call(method, path, key=""))
    assert (answer.status, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="lambent"'
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("role", "method", "path", "allowed"),
    [
        (Role.READ, "GET", "/metrics", True),
        (Role.READ, "POST", "/invoke/hello", False),
        (Role.READ, "POST", "/2015-03-31/functions/hello/invocations", False),
        (Role.INVOKE, "POST", "/invoke/hello", True),
        (Role.INVOKE, "POST", "/2015-03-31/functions/hello/invocations", True),
    ],
)
def test_a_role_opens_its_doors_and_no_others(
    house: House,
    role: Role,
    method: str,
    path: str,
    allowed: bool,  # noqa: FBT001 a column of the table
) -> None:
    async def story() -> int:
        key = (await house.key(role)).api_key
        return (await house.call(method, path, key=key)).status

    assert asyncio.run(story()) == (200 if allowed else 403)


def test_the_control_app_hears_who_asks(house: House) -> None:
    async def story() -> None:
        made = await house.key(Role.DEPLOY)
        answer = await house.call("GET", "/api/v1/who", key=made.api_key)
        assert answer.json() == {"project": "default", "key_id": made.key.key_id, "role": "deploy"}

    asyncio.run(story())


def test_a_page_without_secrets_needs_no_key(house: House) -> None:
    assert asyncio.run(house.call("GET", "/api/v1/docs", key="")).json() is None


@pytest.mark.parametrize("path", ["/nowhere", "/invoke", "/v2/models/x", "/2015-03-31", "//", "/api/v2/x"])
def test_an_unknown_path_is_told_so(house: House, path: str) -> None:
    answer = asyncio.run(house.call("GET", path))
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/invoke/hello", "POST, PUT, OPTIONS"),
        ("/invocations/x", "GET, HEAD, DELETE, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_path_does_not_take(house: House, path: str, allowed: str) -> None:
    async def story() -> None:
        refused = await house.call("PATCH", path)
        assert (refused.status, refused.headers["allow"]) == (405, allowed)
        assert refused.json()["code"] == "method_not_allowed"
        asked = await house.call("OPTIONS", path)
        assert (asked.status, asked.headers["allow"], asked.body) == (204, allowed, b"")

    asyncio.run(story())


def test_head_tells_the_length_and_sends_nothing(house: House) -> None:
    async def story() -> None:
        got, head = await house.call("GET", "/healthz"), await house.call("HEAD", "/healthz")
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))
        assert head.body == b""

    asyncio.run(story())


@pytest.mark.parametrize("path", ["/invoke/hello", "/2015-03-31/functions/hello/invocations"])
def test_an_error_that_nobody_foresaw_tells_nothing_of_the_house(
    house: House, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    house.invoker.next = RuntimeError("a secret of the house")
    answer = asyncio.run(house.call("POST", path))
    assert (answer.status, answer.json()["code"]) == (500, "internal")
    assert b"secret" not in answer.body
    assert [record.message for record in caplog.records] == ["request_crashed"]


def test_a_crash_of_the_control_app_is_a_problem_unless_it_began_to_answer(house: House) -> None:
    async def story() -> None:
        early = await house.call("GET", "/api/v1/crash")
        assert (early.status, early.json()["code"]) == (500, "internal")
        late = await house.call("GET", "/api/v1/crash-late")
        assert (late.status, late.body) == (200, b"")

    asyncio.run(story())


def test_the_lifespan_is_acknowledged(house: House) -> None:
    sent: list[str] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Message:
        return dict(next(messages))

    async def send(message: Message) -> None:
        sent.append(message["type"])

    asyncio.run(house.gateway({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    ("pieces", "passes"),
    [
        pytest.param([b"x" * BODY_BYTES_MAX], True, id="one piece"),
        pytest.param([b"x" * 500, b"", b"x" * 500], True, id="in chunks"),
        pytest.param([b"x" * 500, b"x" * 501], False, id="one byte more in chunks"),
        pytest.param([b"x" * (BODY_BYTES_MAX + 1)], False, id="one byte more"),
    ],
)
def test_a_body_is_read_up_to_its_limit(
    house: House,
    pieces: Sequence[bytes],
    passes: bool,  # noqa: FBT001 a column of the table
) -> None:
    async def story() -> None:
        headers = {"x-api-key": (await house.key()).api_key, "content-type": "text/plain"}
        answer = await request(house.gateway, "POST", "/invoke/hello", pieces, headers)
        if passes:
            assert house.invoker.asked[0].body == b"".join(pieces)
        else:
            assert (answer.status, answer.json()["code"]) == (413, "payload_too_large")
            assert str(BODY_BYTES_MAX) in answer.json()["detail"]

    asyncio.run(story())


@pytest.mark.parametrize("length", [str(BODY_BYTES_MAX + 1), "9" * 400])
def test_a_body_that_is_announced_too_long_is_not_read(house: House, length: str) -> None:
    async def never() -> Message:
        raise AssertionError("read")

    async def story() -> None:
        headers = {"x-api-key": (await house.key()).api_key, "content-length": length}
        statuses: list[int] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await house.gateway(scope_of("POST", "/invoke/hello", headers), never, send)
        assert statuses == [413]

    asyncio.run(story())


def test_a_client_that_leaves_before_its_body_is_there_is_not_answered(house: House) -> None:
    async def story() -> None:
        messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
        headers = {"x-api-key": (await house.key()).api_key}

        async def receive() -> Message:
            return dict(messages.pop(0))

        async def send(_: Message) -> None:
            raise AssertionError("nobody is there")

        await house.gateway(scope_of("POST", "/invoke/hello", headers), receive, send)
        assert house.invoker.asked == []

    asyncio.run(story())


def test_who_left_while_waiting_is_not_answered(house: House) -> None:
    async def story() -> None:
        house.invoker.next = ClientLeft()
        headers = {"x-api-key": (await house.key()).api_key}

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(_: Message) -> None:
            raise AssertionError("nobody is there")

        await house.gateway(scope_of("POST", "/invoke/hello", headers), receive, send)
        assert house.invoker.watched == 1

    asyncio.run(story())
