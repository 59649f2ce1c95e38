"""AWS Lambda's door, as its clients see it."""

import asyncio
import base64
from typing import Any

import msgspec
import pytest
from botocore.auth import SigV4Auth

from lambent.core.errors import Draining, HoldExpired, LambentError, LoadFailed, QueueFull, StillLoading
from lambent.core.invocation import FunctionError, Invocation, Outcome, Role, Status
from lambent.core.spec import Kind, Temperature
from lambent.wire import sigv4
from lambent.wire.keys import KeyReply
from tests.unit.gateway.asgi import House, Response, outcome, request
from tests.unit.gateway.test_sigv4 import signed, signed_at_ms

FUNCTIONS = "/2015-03-31/functions"
INVOKE = f"{FUNCTIONS}/hello/invocations"
QUALIFIERS = "The derived qualifier from the function name does not match the specified qualifier."
ARN = "arn%3Aaws%3Alambda%3Aeu-central-1%3A000000000000%3Afunction%3Ahello"


async def send(house: House, made: sigv4.SignedRequest) -> Response:
    """Send a signed request at the time of its signature."""
    house.clock.advance(max(0.0, (signed_at_ms(made) - house.clock.unix_ms()) / 1000))
    target = made.path.decode() + ("?" + made.query.decode() if made.query else "")
    headers = {name.decode(): value.decode() for name, value in made.headers}
    return await request(house.gateway, made.method, target, made.body, headers)


def sign(key: KeyReply, target: str = INVOKE, body: bytes = b"{}", **changes: Any) -> sigv4.SignedRequest:
    pair = {"access_key_id": key.access_key_id, "secret": key.secret_access_key, **changes}
    return signed(SigV4Auth, "POST", target, {}, body, **pair)


def test_a_signed_call_is_an_invocation(house: House) -> None:
    async def story() -> None:
        answer = await send(house, sign(await house.key(Role.INVOKE), body=b'{"x": 1}'))
        assert (answer.status, answer.body) == (200, b'"done"')
        asked = house.invoker.asked[0]
        assert (asked.project, asked.deployment, asked.body) == ("default", "hello", b'{"x": 1}')
        told = {name: answer.headers[name] for name in ("x-amz-executed-version", "x-amzn-requestid")}
        assert told == {"x-amz-executed-version": "$LATEST", "x-amzn-requestid": asked.id}
        assert answer.headers["lambent-temperature"] == "hot"
        assert "x-amz-function-error" not in answer.headers

    asyncio.run(story())


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("hello", "$LATEST"),
        ("hello:$LATEST", "$LATEST"),
        ("hello%3A3", "3"),
        ("hello?Qualifier=3", "3"),
        ("000000000000%3Ahello", "$LATEST"),
        ("000000000000:function:hello", "$LATEST"),
        ("function:hello", "$LATEST"),
        (ARN, "$LATEST"),
        (ARN + "%3A3?Qualifier=3", "3"),
    ],
)
def test_a_function_has_many_names(house: House, name: str, version: str) -> None:
    path, _, query = name.partition("?")
    answer = asyncio.run(house.call("POST", f"{FUNCTIONS}/{path}/invocations?{query}"))
    assert (answer.status, answer.headers["x-amz-executed-version"]) == (200, version)


def error_of(answer: Response) -> tuple[int, str, dict[str, str]]:
    return answer.status, answer.headers["x-amzn-errortype"], answer.json()


def named(name: str) -> str:
    return f"Function not found: arn:aws:lambda:us-east-1:000000000000:function:{name}"


@pytest.mark.parametrize(
    ("target", "status", "kind", "body"),
    [
        pytest.param(
            f"{FUNCTIONS}/nobody/invocations", 404, "ResourceNotFoundException",
            {"Type": "User", "Message": named("nobody:$LATEST")}, id="no such function",
        ),
        pytest.param(
            f"{FUNCTIONS}/hello:7/invocations", 404, "ResourceNotFoundException",
            {"Type": "User", "Message": named("hello:7")}, id="no such version",
        ),
        pytest.param(
            f"{FUNCTIONS}/hello:1/invocations?Qualifier=2", 400, "InvalidParameterValueException",
            {"Type": "User", "message": QUALIFIERS},
            id="two versions at once",
        ),
        pytest.param(
            f"{FUNCTIONS}/fit/invocations", 400, "InvalidParameterValueException",
            {"Type": "User", "message": "'fit' is a job: start it with `lambent run fit`"}, id="a job",
        ),
    ],
)  # fmt: skip
def test_errors_are_in_awss_words(
    house: House, target: str, status: int, kind: str, body: dict[str, str]
) -> None:
    house.deploy("fit", kind=Kind.JOB)
    assert error_of(asyncio.run(house.call("POST", target))) == (status, kind, body)


def test_a_payload_that_is_not_json(house: House) -> None:
    status, kind, body = error_of(asyncio.run(house.call("POST", INVOKE, b'{"x": ')))
    assert (status, kind, body["Type"]) == (400, "InvalidRequestContentException", "User")
    assert body["message"].startswith("Could not parse request body into json: ")
    assert house.invoker.asked == []


def test_a_payload_over_the_limit(house: House) -> None:
    async def story() -> None:
        sync = await house.call("POST", INVOKE, b"1" * (6 * 1024 * 1024 + 1))
        text = "Request must be smaller than 6291456 bytes for the InvokeFunction operation"
        assert error_of(sync) == (413, "RequestTooLargeException", {"Type": "User", "message": text})
        event = await house.call("POST", INVOKE, b"1" * (1024 * 1024 + 1), x_amz_invocation_type="Event")
        assert error_of(event)[:2] == (413, "RequestTooLargeException")

    asyncio.run(story())


@pytest.mark.parametrize(
    "text", [rb'"\ud800"', rb'{"a": "\uD83D"}', rb'["\\\udc00"]', rb'"\ud800\udc00\ud800"']
)
def test_half_a_surrogate_pair_is_json(house: House, text: bytes) -> None:
    assert asyncio.run(house.call("POST", INVOKE, text)).status == 200
    assert house.invoker.asked[0].body == text


@pytest.mark.parametrize("text", [rb'"\ud800', rb"\ud800", rb'"\ud80"', b"\\\\", rb'["\ud800", x]'])
def test_half_a_surrogate_pair_makes_no_json_of_what_is_none(house: House, text: bytes) -> None:
    status, kind, _ = error_of(asyncio.run(house.call("POST", INVOKE, text)))
    assert (status, kind) == (400, "InvalidRequestContentException")


def test_what_is_still_being_loaded_is_the_functions_error(house: House) -> None:
    house.invoker.next = StillLoading("'hello' was not ready within 60 s", retry_after_s=1)
    answer = asyncio.run(house.call("POST", INVOKE))
    assert (answer.status, answer.headers["x-amz-function-error"]) == (200, "Unhandled")
    assert answer.json()["errorType"] == "Sandbox.Timedout"


@pytest.mark.parametrize("name", ["a%20b", "x" * 257, "a:b:c", "%2a"])
def test_what_is_no_name(house: House, name: str) -> None:
    status, kind, body = error_of(asyncio.run(house.call("POST", f"{FUNCTIONS}/{name}/invocations")))
    assert (status, kind) == (400, "ValidationException")
    assert "at 'functionName' failed to satisfy constraint" in body["message"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(
            {"access_key_id": "LAMBAAAAAAAAAAAAAAAA"}, "UnrecognizedClientException", id="unknown key"
        ),
        pytest.param({"secret": "wrong"}, "InvalidSignatureException", id="wrong secret"),
        pytest.param({"service": "s3"}, "InvalidSignatureException", id="for another service"),
    ],
)
def test_a_signature_that_is_not_believed(house: House, change: dict[str, str], kind: str) -> None:
    async def story() -> Response:
        return await send(house, sign(await house.key(), **change))

    answer = asyncio.run(story())
    assert error_of(answer)[:2] == (403, kind)
    assert answer.headers["x-amzn-requestid"]
    assert house.invoker.asked == []


def test_an_old_signature_is_not_believed(house: House) -> None:
    async def story() -> Response:
        made = sign(await house.key())
        await send(house, made)
        house.clock.advance(15 * 60 + 2)
        return await send(house, made)

    status, kind, body = error_of(asyncio.run(story()))
    assert (status, kind) == (403, "InvalidSignatureException")
    assert body["message"].startswith("Signature expired: ")


def test_no_signature_and_no_key(house: House) -> None:
    answer = asyncio.run(house.call("POST", INVOKE, key=""))
    assert error_of(answer) == (
        403, "MissingAuthenticationTokenException", {"message": "Missing Authentication Token"},
    )  # fmt: skip


def test_an_unknown_bearer_key(house: House) -> None:
    answer = asyncio.run(house.call("POST", INVOKE, key="lk_00000000_" + "A" * 43))
    assert error_of(answer)[:2] == (403, "UnrecognizedClientException")


def test_a_key_that_may_only_read(house: House) -> None:
    async def story() -> Response:
        return await send(house, sign(await house.key(Role.READ)))

    assert error_of(asyncio.run(story()))[:2] == (403, "AccessDeniedException")


def test_an_event_is_accepted_once_however_often_it_is_sent(house: House) -> None:
    async def story() -> None:
        key = (await house.key()).api_key
        asked = {"key": key, "x_amz_invocation_type": "Event", "amz_sdk_invocation_id": "sdk-1"}
        answers = [await house.call("POST", INVOKE, b"{}", **asked) for _ in range(2)]
        assert [(answer.status, answer.body) for answer in answers] == [(202, b""), (202, b"")]
        assert answers[0].headers["x-amzn-requestid"] == answers[1].headers["x-amzn-requestid"]
        assert len(house.queue.tickets) == 1
        assert house.invoker.asked == []

    asyncio.run(story())


def test_a_dry_run_runs_nothing(house: House) -> None:
    async def story() -> None:
        there = await house.call("POST", INVOKE, x_amz_invocation_type="DryRun")
        assert (there.status, there.body) == (204, b"")
        gone = await house.call("POST", f"{FUNCTIONS}/nobody/invocations", x_amz_invocation_type="DryRun")
        assert gone.status == 404
        assert house.invoker.asked == []

    asyncio.run(story())


def test_an_invocation_type_that_does_not_exist(house: House) -> None:
    answer = asyncio.run(house.call("POST", INVOKE, x_amz_invocation_type="Later"))
    assert error_of(answer)[:2] == (400, "ValidationException")


def test_the_tail_of_the_log(house: House) -> None:
    async def story() -> None:
        timing = msgspec.structs.replace(outcome().timing, wake_ms={"fork": 2.0, "load": 43.6})
        house.invoker.next = outcome(log_tail=b"printed", timing=timing, temperature=Temperature.PRIMED)
        answer = await house.call("POST", INVOKE, x_amz_log_type="Tail")
        told = answer.headers["x-amzn-requestid"]
        assert base64.b64decode(answer.headers["x-amz-log-result"]).decode() == (
            f"START RequestId: {told} Version: $LATEST\nprinted\nEND RequestId: {told}\n"
            f"REPORT RequestId: {told}\tDuration: 1.50 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t"
            "Max Memory Used: 30 MB\tInit Duration: 45.60 ms\t\n"
        )
        house.invoker.next = outcome(log_tail=b"x" * 4096)
        answer = await house.call("POST", INVOKE, x_amz_log_type="Tail")
        assert len(base64.b64decode(answer.headers["x-amz-log-result"])) == 4096
        assert "x-amz-log-result" not in (await house.call("POST", INVOKE)).headers

    asyncio.run(story())


def test_the_client_context_reaches_the_function(house: House) -> None:
    async def story() -> None:
        context = base64.b64encode(b'{"custom": {"a": 1}}').decode()
        await house.call("POST", INVOKE, x_amz_client_context=context)
        assert house.invoker.asked[0].client_context == '{"custom": {"a": 1}}'
        for wrong in ("***", base64.b64encode(b"[]").decode(), base64.b64encode(b"\xff").decode()):
            answer = await house.call("POST", INVOKE, x_amz_client_context=wrong)
            assert error_of(answer)[:2] == (400, "InvalidRequestContentException")

    asyncio.run(story())


def function_error(answer: Response) -> Any:
    assert (answer.status, answer.headers["x-amz-function-error"]) == (200, "Unhandled")
    return answer.json()


def test_a_handler_that_raises(house: House) -> None:
    error = FunctionError("Handler fails", "Exception", "some-id", ("  File ...",))
    house.invoker.next = outcome(msgspec.json.encode(error), status=Status.FAILED, error=error)
    assert function_error(asyncio.run(house.call("POST", INVOKE))) == {
        "errorMessage": "Handler fails", "errorType": "Exception", "requestId": "some-id",
        "stackTrace": ["  File ..."],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (Status.EXITED, "Runtime.ExitError", "Runtime exited without providing a reason"),
        (Status.TIMED_OUT, "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    ],
)
def test_a_process_that_ends(house: House, status: Status, kind: str, message: str) -> None:
    house.invoker.next = outcome(b"{}", status=status, error=FunctionError(message, kind))
    answer = asyncio.run(house.call("POST", INVOKE))
    text = f"RequestId: {answer.headers['x-amzn-requestid']} Error: {message}"
    assert function_error(answer) == {"errorType": kind, "errorMessage": text}


def test_code_that_does_not_load_is_the_functions_error(house: House) -> None:
    house.invoker.next = LoadFailed("Unable to import module 'bad'", kind="Runtime.ImportModuleError")
    assert function_error(asyncio.run(house.call("POST", INVOKE))) == {
        "errorMessage": "Unable to import module 'bad'", "errorType": "Runtime.ImportModuleError",
        "requestId": "", "stackTrace": [],
    }  # fmt: skip


def test_a_result_that_is_too_large(house: House) -> None:
    house.invoker.next = outcome(b"1" * 6_291_557)
    answer = asyncio.run(house.call("POST", INVOKE))
    text = "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
    assert function_error(answer)["errorMessage"] == text


@pytest.mark.parametrize(
    ("error", "status", "kind", "reason"),
    [
        (
            QueueFull("full", retry_after_s=2), 429, "TooManyRequestsException",
            "ReservedFunctionConcurrentInvocationLimitExceeded",
        ),
        (HoldExpired("held"), 429, "TooManyRequestsException", "ConcurrentInvocationLimitExceeded"),
        (Draining("bye"), 503, "ServiceException", None),
    ],
)  # fmt: skip
def test_what_the_client_may_try_again(
    house: House, error: LambentError, status: int, kind: str, reason: str | None
) -> None:
    house.invoker.next = error
    answer = asyncio.run(house.call("POST", INVOKE))
    assert error_of(answer)[:2] == (status, kind)
    assert answer.json().get("Reason") == reason
    assert answer.headers.get("retry-after") == ("2" if error.retry_after_s else None)


def test_a_retry_of_a_slow_call_gets_the_answer_of_the_first(house: House) -> None:
    async def story() -> None:
        key, go = (await house.key()).api_key, asyncio.Event()

        async def slow(_: Invocation) -> Outcome:
            await go.wait()
            return outcome(b"[42]")

        house.invoker.next = slow
        asked = {"key": key, "amz_sdk_invocation_id": "sdk-1"}
        calls = [asyncio.create_task(house.call("POST", INVOKE, **asked)) for _ in range(2)]
        await house.invoker.called.wait()
        go.set()
        answers = [*(await asyncio.gather(*calls)), await house.call("POST", INVOKE, **asked)]
        assert {answer.body for answer in answers} == {b"[42]"}
        assert {answer.headers["x-amzn-requestid"] for answer in answers} == {house.invoker.asked[0].id}
        assert len(house.invoker.asked) == 1

    asyncio.run(story())


def test_a_retry_after_a_throttle_is_tried_again(house: House) -> None:
    async def story() -> None:
        asked = {"key": (await house.key()).api_key, "amz_sdk_invocation_id": "sdk-1"}
        house.invoker.next = QueueFull("full")
        assert (await house.call("POST", INVOKE, **asked)).status == 429
        house.invoker.next = outcome()
        assert (await house.call("POST", INVOKE, **asked)).status == 200

    asyncio.run(story())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", FUNCTIONS),
        ("DELETE", f"{FUNCTIONS}/hello"),
        ("GET", "/2018-10-31/layers"),
        ("GET", "/2015-03-31/"),
    ],
)
def test_other_operations_are_told_to_be_missing(house: House, method: str, path: str) -> None:
    status, kind, body = error_of(asyncio.run(house.call(method, path)))
    assert (status, kind) == (404, "UnknownOperationException")
    assert path in body["message"]
