"""What was accepted in the words of another API: tried once, and told in these words."""

from __future__ import annotations

import json

import msgspec
import pytest

from lambent.core.invocation import Called, Head, Status, called_as_text
from lambent.core.spec import DeploymentSpec, Kind
from lambent.jobs.endings import FULL, after_try, delivery_of
from lambent.storage.tickets import Ticket, TicketState
from lambent.wire.faces import Face, FaceKind, face_as_text
from tests.unit.jobs.durable import BROKEN, outcome

SPEC = DeploymentSpec(name="f", kind=Kind.FUNCTION)
HTTP = Face(FaceKind.REPLICATE, "me/f", "rev", "http://here", wraps=True)
PLAIN = msgspec.structs.replace(HTTP, wraps=False)


def ticket(face: Face | None, body: bytes = b'{"x":1}') -> Ticket:
    return Ticket(
        id="i", project="default", deployment="f", body=body, content_type="application/json",
        state=TicketState.RUNNING, attempts=1, created_unix_ms=1_000, queued_unix_ms=1_000,
        webhook="http://there/", face=face_as_text(face),
    )  # fmt: skip


def tried(face: Face | None, body: bytes = b"1", *, status: Status = Status.OK, said: int = 0) -> Ticket:
    head = Head(said, (("content-type", "application/json"),)) if said else None
    ended = msgspec.structs.replace(outcome(status, body), head=head)
    return after_try(SPEC, ticket(face), ended, jitter=0.5, now_unix_ms=2_000)


def told(after: Ticket) -> dict[str, object]:
    delivery = delivery_of(after, "msg", now_unix_ms=2_000)
    assert delivery is not None
    said: dict[str, object] = json.loads(delivery.body)
    return said


def test_what_fails_is_tried_again_unless_it_came_by_another_api() -> None:
    again = after_try(SPEC, ticket(None), BROKEN, jitter=0.5, now_unix_ms=2_000)
    final = after_try(SPEC, ticket(PLAIN), BROKEN, jitter=0.5, now_unix_ms=2_000)
    assert (again.state, final.state) == (TicketState.QUEUED, TicketState.DEAD)


@pytest.mark.parametrize(("said", "state"), [
    (200, TicketState.SUCCEEDED), (302, TicketState.SUCCEEDED), (404, TicketState.SUCCEEDED),
    (408, TicketState.QUEUED), (429, TicketState.QUEUED), (500, TicketState.QUEUED),
    (503, TicketState.QUEUED),
])  # fmt: skip
def test_an_application_that_could_not_do_it_is_asked_again(said: int, state: TicketState) -> None:
    after = tried(None, b"said", said=said)
    assert (after.state, after.attempts) == (state, 1)
    assert ("the status" in after.error) is (state is TicketState.QUEUED)


def test_what_a_container_of_an_endpoint_refuses_has_failed_and_is_not_tried_again() -> None:
    called = called_as_text(Called("arn:aws:sagemaker:eu-central-1:000000000000:endpoint/f", ""))
    asked = msgspec.structs.replace(ticket(None), called=called)
    ends = {}
    for said in (200, 400, 404, 503):
        ended = msgspec.structs.replace(outcome(body=b"why"), head=Head(said))
        ends[said] = after_try(SPEC, asked, ended, jitter=0.5, now_unix_ms=2_000)
    states = [ends[said].state for said in (200, 400, 404, 503)]
    assert states == [TicketState.SUCCEEDED, TicketState.DEAD, TicketState.DEAD, TicketState.QUEUED]
    assert (ends[400].result, "status 400" in ends[400].error) == (b"why", True)


@pytest.mark.parametrize("said", [409, 429, 503])
def test_a_program_that_is_busy_is_asked_again_soon_and_that_was_no_try(said: int) -> None:
    after = tried(HTTP, b'{"detail": "At capacity"}', said=said)
    assert (after.state, after.attempts, after.error) == (TicketState.QUEUED, 0, FULL)
    assert 2_000 < after.due_unix_ms < 3_000


def test_a_program_that_refuses_has_failed_and_says_why() -> None:
    after = tried(HTTP, b'{"detail": [{"msg": "times is too small"}]}', said=422)
    assert after.state is TicketState.DEAD
    said = told(after)
    assert (said["status"], said["error"]) == ("failed", '[{"msg":"times is too small"}]')


def test_the_end_is_told_in_the_words_of_the_api_with_what_was_asked() -> None:
    said = told(tried(PLAIN, b'{"y": 2}'))
    assert (said["id"], said["status"], said["input"], said["output"]) == (
        "i",
        "succeeded",
        {"x": 1},
        {"y": 2},
    )
    assert (said["model"], said["version"]) == ("me/f", "rev")
    assert said["urls"] == {
        "get": "http://here/v1/predictions/i",
        "cancel": "http://here/v1/predictions/i/cancel",
    }
    runpods = told(tried(msgspec.structs.replace(PLAIN, kind=FaceKind.RUNPOD), b'{"y": 2}'))
    assert runpods == {"id": "i", "status": "COMPLETED", "output": {"y": 2}}
    ours = told(tried(None))
    assert ours["type"] == "invocation.succeeded"


def test_what_cogs_server_answers_is_taken_apart() -> None:
    answer = {"status": "succeeded", "output": [1], "logs": "said", "metrics": {"predict_time": 0.5}}
    said = told(tried(HTTP, json.dumps(answer).encode(), said=200))
    assert (said["output"], said["logs"], said["metrics"]) == ([1], "said", {"predict_time": 0.5})
    failed = told(tried(HTTP, b'{"status": "failed", "error": "nobody", "output": null}', said=200))
    assert (failed["status"], failed["error"]) == ("failed", "nobody")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 100_000, b'"text"', b'{"status": 7, "output": 1}']
)
@pytest.mark.parametrize("face", [HTTP, PLAIN])
@pytest.mark.parametrize("said", [0, 200, 422])
def test_whatever_a_worker_says_can_be_told(face: Face, body: bytes, said: int) -> None:
    assert told(tried(face, body, said=said))["status"] in ("succeeded", "failed")
