"""A record of an asynchronous invocation's end, as AWS Lambda's destinations get it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from lambent.core.invocation import Called, called_as_text
from lambent.core.retrying import DeadReason
from lambent.core.spec import DeploymentSpec, Kind
from lambent.jobs.destinations import RECORD_BYTES_MAX, dead_letter_of, follow_of, letter_of, letters_of
from lambent.storage.tickets import Ticket, TicketState

ARN = "arn:aws:lambda:eu-central-1:000000000000:function:hello"
SPEC = DeploymentSpec(name="hello", kind=Kind.FUNCTION, on_success="pleased", on_failure="worried:live")
BEFORE = Ticket(
    id="11111111-2222-4333-8444-555555555555",
    project="default",
    deployment="hello",
    body=b'{"x": 1}',
    content_type="application/json",
    state=TicketState.RUNNING,
    attempts=1,
    created_unix_ms=1,
    called=called_as_text(Called(ARN, "$LATEST")),
)


def ended(state: TicketState, **changes: Any) -> Ticket:
    return msgspec.structs.replace(BEFORE, state=state, body=b"", **changes)


def told(follow: Ticket | None) -> Any:
    assert follow is not None
    return json.loads(follow.body)


def test_success_is_told_to_whom_it_pleases() -> None:
    after = ended(TicketState.SUCCEEDED, result=b'{"y": 2}', result_type="application/json")
    follow = follow_of(SPEC, BEFORE, after, now_unix_ms=1_700_000_000_123)
    assert follow is not None
    assert (follow.deployment, follow.alias, follow.state) == ("pleased", "", TicketState.QUEUED)
    assert told(follow) == {
        "version": "1.0",
        "timestamp": "2023-11-14T22:13:20.123Z",
        "requestContext": {
            "requestId": BEFORE.id,
            "functionArn": f"{ARN}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"x": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"y": 2},
    }


@pytest.mark.parametrize(
    ("reason", "attempts", "condition", "response"),
    [
        (DeadReason.ATTEMPTS, 3, "RetriesExhausted", {"functionError": "Unhandled"}),
        (DeadReason.AGE, 1, "EventAgeExceeded", {"functionError": "Unhandled"}),
        (DeadReason.AGE, 0, "EventAgeExceeded", None),
        (DeadReason.NOTHING_RESERVED, 0, "ZeroReservedConcurrency", None),
    ],
)
def test_failure_is_told_with_its_reason(
    reason: DeadReason, attempts: int, condition: str, response: dict[str, str] | None
) -> None:
    after = ended(
        TicketState.DEAD,
        attempts=attempts,
        error=f"boom ({reason})",
        result=b'{"errorMessage": "boom"}',
        result_type="application/json",
    )
    follow = follow_of(SPEC, BEFORE, after, now_unix_ms=1)
    assert follow is not None
    assert (follow.deployment, follow.alias) == ("worried", "live")
    said = told(follow)
    assert said["requestContext"]["condition"] == condition
    if response is None:
        assert not said.keys() & {"responseContext", "responsePayload"}
    else:
        assert response.items() <= said["responseContext"].items()
        assert said["responsePayload"] == {"errorMessage": "boom"}


@pytest.mark.parametrize("state", [TicketState.QUEUED, TicketState.CANCELLED, TicketState.RUNNING])
def test_only_an_end_is_told(state: TicketState) -> None:
    assert follow_of(SPEC, BEFORE, ended(state), now_unix_ms=1) is None


def test_nobody_is_told_where_nobody_wants_to_be() -> None:
    bare = DeploymentSpec(name="hello", kind=Kind.FUNCTION)
    assert follow_of(bare, BEFORE, ended(TicketState.DEAD), now_unix_ms=1) is None


def test_it_is_the_same_invocation_however_often_it_is_made() -> None:
    after = ended(TicketState.SUCCEEDED)
    one, two = (follow_of(SPEC, BEFORE, after, now_unix_ms=now) for now in (1, 2))
    assert one is not None
    assert two is not None
    assert one.id == two.id != BEFORE.id


def test_what_is_not_json_is_text_and_what_is_too_large_is_left_out() -> None:
    after = ended(TicketState.SUCCEEDED, result=b"\xff", result_type="application/octet-stream")
    assert told(follow_of(SPEC, BEFORE, after, now_unix_ms=1))["responsePayload"] == "�"
    large = ended(TicketState.SUCCEEDED, result=b" " * RECORD_BYTES_MAX, result_type="application/json")
    said = told(follow_of(SPEC, BEFORE, large, now_unix_ms=1))
    assert (said["requestPayload"], said["responsePayload"]) == (None, None)


def test_an_end_is_told_to_a_queue_where_its_arn_is_named() -> None:
    spec = msgspec.structs.replace(SPEC, on_success="arn:aws:sqs:eu-central-1:000000000000:ends")
    after = ended(TicketState.SUCCEEDED, result=b"2", result_type="application/json")
    assert follow_of(spec, BEFORE, after, now_unix_ms=1) is None
    assert letter_of(SPEC, BEFORE, after, now_unix_ms=1) is None
    letter = letter_of(spec, BEFORE, after, now_unix_ms=1)
    assert letter is not None
    assert (letter.project, letter.queue, letter.message.group) == ("default", "ends", "")
    assert json.loads(letter.message.body)["responsePayload"] == 2
    assert letter == letter_of(spec, BEFORE, after, now_unix_ms=1)
    ordered = msgspec.structs.replace(spec, on_success=f"{spec.on_success}.fifo")
    letter = letter_of(ordered, BEFORE, after, now_unix_ms=1)
    assert letter is not None
    assert letter.message.group == "hello"


def test_a_dead_event_goes_to_the_queue_as_it_was_sent() -> None:
    arn = "arn:aws:sqs:us-east-1:000000000000:dead"
    spec = msgspec.structs.replace(SPEC, dead_letters=arn, on_failure=arn)
    after = ended(TicketState.DEAD, attempts=3, error="E: x", result=b'{"errorMessage": "boom"}')
    letter = dead_letter_of(spec, BEFORE, after, now_unix_ms=1)
    assert letter is not None
    assert letter.queue == "dead"
    assert letter.message.body.encode() == BEFORE.body
    assert letter.message.attributes == {
        "RequestID": {"DataType": "String", "StringValue": after.id},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "boom"},
    }
    assert len(letters_of(spec, BEFORE, after, now_unix_ms=1)) == 2
    never_ran = dead_letter_of(spec, BEFORE, ended(TicketState.DEAD, attempts=0, error="old"), now_unix_ms=1)
    assert never_ran is not None
    assert sorted(never_ran.message.attributes) == ["ErrorMessage", "RequestID"]
    assert dead_letter_of(spec, BEFORE, ended(TicketState.SUCCEEDED), now_unix_ms=1) is None
