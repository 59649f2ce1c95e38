"""Our own door."""

import asyncio
from typing import Any

import msgspec
import pytest

from lambent.core.errors import (
    CallerFault,
    Draining,
    HoldExpired,
    LambentError,
    LoadFailed,
    NotFound,
    QueueFull,
    TrainingFailed,
)
from lambent.core.invocation import FunctionError, Invocation, Outcome, Role, Status
from lambent.core.spec import Kind, Temperature
from lambent.storage.tickets import TicketState
from tests.unit.gateway.asgi import House, outcome


def test_a_body_goes_in_and_a_result_comes_out(house: House) -> None:
    answer = asyncio.run(house.call("POST", "/invoke/hello", b'{"x": 1}'))
    asked = house.invoker.asked[0]
    assert (asked.project, asked.deployment, asked.body) == ("default", "hello", b'{"x": 1}')
    assert (answer.status, answer.body, answer.headers["content-type"]) == (
        200,
        b'"done"',
        "application/json",
    )
    assert house.invoker.watched == 1


def test_every_invocation_says_what_it_was_made_of(house: House) -> None:
    plain = outcome()
    timing = msgspec.structs.replace(plain.timing, wake_ms={"fork": 2.0, "load": 30.25})
    house.invoker.next = outcome(temperature=Temperature.PRIMED, timing=timing)
    answer = asyncio.run(house.call("POST", "/invoke/hello"))
    told = {name: value for name, value in answer.headers.items() if name.startswith(("lambent-", "server-"))}
    assert told == {
        "lambent-invocation-id": house.invoker.asked[0].id,
        "lambent-revision": "rev1",
        "lambent-temperature": "primed",
        "lambent-billed-ms": "2",
        "server-timing": "queue;dur=0.25, fork;dur=2.00, load;dur=30.25, run;dur=1.50, total;dur=2.00",
    }


@pytest.mark.parametrize(
    ("sent", "body", "taken"),
    [
        (None, b"{}", "application/json"),
        ("application/json", b"[1]", "application/json"),
        ("application/json; charset=utf-8", b"1", "application/json"),
        ("application/x-www-form-urlencoded", b'{"x": 1}', "application/json"),
        ("application/x-www-form-urlencoded", b"x=1", "application/x-www-form-urlencoded"),
        ("application/x-www-form-urlencoded", b"", "application/json"),
        ("text/plain", b"{", "text/plain"),
        ("image/png", b"\x00", "image/png"),
    ],
)
def test_the_worker_hears_what_the_body_is(house: House, sent: str | None, body: bytes, taken: str) -> None:
    headers = {} if sent is None else {"content_type": sent}
    assert asyncio.run(house.call("POST", "/invoke/hello", body, **headers)).status == 200
    assert house.invoker.asked[0].content_type == taken


def test_json_that_is_nested_too_deeply_is_told_so(house: House) -> None:
    answer = asyncio.run(house.call("POST", "/invoke/hello", b"[" * 1000))
    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
    assert "nested too deeply" in answer.json()["detail"]


def test_a_body_that_is_not_json_is_told_so_before_anything_runs(house: House) -> None:
    answer = asyncio.run(house.call("POST", "/invoke/hello", b'{"x": '))
    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
    assert "not JSON" in answer.json()["detail"]
    assert house.invoker.asked == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("text/html; charset=utf-8", "text/html; charset=utf-8"),
        ("", "application/octet-stream"),
        ("text/plain\r\nset-cookie: a=b", "application/octet-stream"),
    ],
)
def test_a_worker_cannot_write_headers_with_its_content_type(house: House, said: str, told: str) -> None:
    house.invoker.next = outcome(content_type=said)
    assert asyncio.run(house.call("POST", "/invoke/hello")).headers["content-type"] == told


@pytest.mark.parametrize(
    "path", ["/invoke/hello/a/b", "/invoke/hello/", "/invoke/h%65llo", "/invoke/hello?x=1"]
)
def test_the_name_is_the_first_part_of_the_path(house: House, path: str) -> None:
    assert asyncio.run(house.call("PUT", path)).status == 200
    assert house.invoker.asked[0].deployment == "hello"


def test_an_alias_that_is_not_there_is_not_found(house: House) -> None:
    answer = asyncio.run(house.call("POST", "/invoke/hello?alias=live"))
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("status", "http_status", "code"),
    [
        (Status.FAILED, 500, "user_code_failed"),
        (Status.TIMED_OUT, 504, "timed_out"),
        (Status.EXITED, 502, "worker_exited"),
    ],
)
def test_the_users_error_comes_with_its_stack(
    house: House, status: Status, http_status: int, code: str
) -> None:
    error = FunctionError("no such key", "KeyError", "id", ("line 1", "line 2"))
    house.invoker.next = outcome(b"{}", status=status, error=error)
    answer = asyncio.run(house.call("POST", "/invoke/hello"))
    assert answer.status == http_status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["lambent-billed-ms"] == "2"
    assert answer.json() == {
        "title": code.replace("_", " ").capitalize(),
        "status": http_status,
        "code": code,
        "detail": "no such key",
        "error_type": "KeyError",
        "stack_trace": ["line 1", "line 2"],
    }


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (NotFound("no"), 404, None),
        (CallerFault("a job"), 400, None),
        (QueueFull("full", retry_after_s=0.2), 429, "1"),
        (HoldExpired("held", retry_after_s=2.5), 504, "3"),
        (Draining("bye", retry_after_s=1.0), 503, "1"),
        (TrainingFailed("weak"), 502, None),
    ],
)
def test_a_refusal_says_whether_trying_again_helps(
    house: House, error: LambentError, status: int, retry_after: str | None
) -> None:
    house.invoker.next = error
    answer = asyncio.run(house.call("POST", "/invoke/hello"))
    assert (answer.status, answer.headers.get("retry-after")) == (status, retry_after)
    assert answer.json().get("retryable", False) == error.retryable
    assert answer.headers["lambent-invocation-id"] == house.invoker.asked[0].id


def test_a_body_that_nobody_could_take_is_not_read(house: House) -> None:
    house.invoker.full = QueueFull("full", retry_after_s=3.0)
    answer = asyncio.run(house.call("POST", "/invoke/hello", b"{ this is no JSON"))
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert house.invoker.asked == []


@pytest.mark.parametrize("header", ["idempotency-key", "prefer"])
def test_what_may_need_no_slot_is_not_refused_for_want_of_one(house: House, header: str) -> None:
    house.invoker.full = QueueFull("full", retry_after_s=3.0)
    said = {"prefer": "respond-async", "idempotency-key": "k"}[header]
    assert asyncio.run(house.call("POST", "/invoke/hello", b"{}", **{header: said})).status in (200, 202)


def test_code_that_does_not_load_shows_the_users_own_error(house: House) -> None:
    house.invoker.next = LoadFailed(
        "No module named 'x'", kind="Runtime.ImportModuleError", trace=("line 1",)
    )
    answer = asyncio.run(house.call("POST", "/invoke/hello"))
    assert (answer.status, answer.json()["error_type"]) == (502, "Runtime.ImportModuleError")
    assert answer.json()["stack_trace"] == ["line 1"]


def test_an_invocation_for_later_is_accepted_and_told_of(house: House) -> None:
    async def story() -> None:
        accepted = await house.call("POST", "/invoke/hello", b"{}", prefer="respond-async")
        ticket = next(iter(house.queue.tickets.values()))
        assert (accepted.status, accepted.headers["location"]) == (202, f"/invocations/{ticket.id}")
        assert accepted.headers["preference-applied"] == "respond-async"
        assert accepted.json()["state"] == "queued"
        assert house.invoker.asked == []

        waiting = await house.call("GET", accepted.headers["location"])
        assert (waiting.status, waiting.json()["state"]) == (202, "queued")

        house.queue.end(ticket, TicketState.SUCCEEDED, result=b"[1]", result_type="application/json")
        done = await house.call("GET", accepted.headers["location"])
        assert (done.status, done.body, done.headers["lambent-status"]) == (200, b"[1]", "succeeded")
        assert done.headers["content-type"] == "application/json"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        ("Respond-Async", 202),
        ("wait=5, respond-async; x=1", 202),
        ("respond-asynchronously", 200),
        ("handling=lenient", 200),
    ],
)
def test_a_preference_is_a_token_without_regard_to_case(house: House, prefer: str, status: int) -> None:
    assert asyncio.run(house.call("POST", "/invoke/hello", b"{}", prefer=prefer)).status == status


def test_an_invocation_that_died_shows_why(house: House) -> None:
    async def story() -> Any:
        accepted = await house.call("POST", "/invoke/hello", prefer="respond-async")
        ticket = next(iter(house.queue.tickets.values()))
        house.queue.end(ticket, TicketState.DEAD, error="not_found: it was removed")
        return await house.call("GET", accepted.headers["location"])

    answer = asyncio.run(story())
    assert (answer.status, answer.headers["lambent-status"]) == (200, "dead")
    assert answer.json()["errorMessage"] == "not_found: it was removed"


def test_another_projects_invocation_is_not_found(house: House) -> None:
    async def story() -> int:
        accepted = await house.call("POST", "/invoke/hello", prefer="respond-async")
        stranger = (await house.key(Role.ADMIN, project="other")).api_key
        return (await house.call("GET", accepted.headers["location"], key=stranger)).status

    assert asyncio.run(story()) == 404


def test_what_cannot_be_invoked_is_not_accepted(house: House) -> None:
    async def story() -> None:
        house.deploy("fit", kind=Kind.JOB)
        for name, status in (("nobody", 404), ("fit", 400)):
            assert (await house.call("POST", f"/invoke/{name}", prefer="respond-async")).status == status
        house.queue.full = True
        full = await house.call("POST", "/invoke/hello", prefer="respond-async")
        assert (full.status, full.headers["retry-after"]) == (429, "3")
        assert house.queue.tickets == {}

    asyncio.run(story())


def test_an_idempotency_key_is_accepted_once(house: House) -> None:
    async def story() -> None:
        key = (await house.key()).api_key
        asked = {"key": key, "prefer": "respond-async", "idempotency_key": "k1"}
        answers = await asyncio.gather(
            *(house.call("POST", "/invoke/hello", b"1", **asked) for _ in range(5))
        )
        assert {answer.headers["location"] for answer in answers} == {answers[0].headers["location"]}
        other = await house.call("POST", "/invoke/hello", b"2", **asked)
        assert (other.status, other.json()["code"]) == (422, "idempotency_key_reused")
        house.deploy("second")
        assert (await house.call("POST", "/invoke/second", b"2", **asked)).status == 202
        assert len(house.queue.tickets) == 2

    asyncio.run(story())


def test_an_idempotency_key_runs_once_and_answers_everybody(house: House) -> None:
    async def story() -> None:
        key = (await house.key()).api_key
        go = asyncio.Event()

        async def slow(_: Invocation) -> Outcome:
            await go.wait()
            return outcome(b"[42]")

        house.invoker.next = slow
        calls = [
            asyncio.create_task(house.call("POST", "/invoke/hello", b"1", key=key, idempotency_key='"k1"'))
            for _ in range(3)
        ]
        await house.invoker.called.wait()
        go.set()
        answers = [await call for call in calls]
        later = await house.call("POST", "/invoke/hello", b"1", key=key, idempotency_key="k1")
        assert {answer.body for answer in [*answers, later]} == {b"[42]"}
        assert {answer.headers["lambent-invocation-id"] for answer in answers} == {house.invoker.asked[0].id}
        assert len(house.invoker.asked) == 1
        other = await house.call("POST", "/invoke/hello", b"2", key=key, idempotency_key="k1")
        assert other.status == 422

    asyncio.run(story())


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_idempotency_key_has_a_length(house: House, key: str) -> None:
    assert asyncio.run(house.call("POST", "/invoke/hello", idempotency_key=key)).status == 400
