"""CloudEvents of the cloudevents package go in, and come out, in each form that HTTP knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_binary_event,
    from_http_event,
    from_structured_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.compatibility import note
from tests.support.raw_http import Raw
from tests.support.server import Reply, RunningServer

CODE = """
from cloudevents.core.v1.event import CloudEvent


def tell(event, context):
    return {"event": event, "about": context.cloud_event}


def size(event, context):
    return {"kind": type(event).__name__, "length": len(event)}


def reply(event, context):
    return {"specversion": "1.0", "id": "r1", "source": "/here", "type": "com.example.reply",
            "note": "ü \\"x\\" 9%", "data": {"twice": event["n"] * 2}}


def reply_by_package(event, context):
    return CloudEvent({"id": "r2", "source": "/here", "type": "com.example.reply", "specversion": "1.0"},
                      {"thrice": event["n"] * 3})


def fail_on_three(event, context):
    return 6 / (event["n"] - 3)


class Half:
    def predict(self, rows):
        return [row / 2 for row in rows]
"""
ATTRIBUTES: dict[str, Any] = {
    "id": "a b%ü",
    "source": "https://example.com/source",
    "type": "com.example.ask",
    "specversion": "1.0",
    "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "subject": "the subject",
    "myextension": "value",
}
TOLD = {**ATTRIBUTES, "time": "2026-01-02T03:04:05Z"}


@pytest.fixture(scope="module")
def there(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    file = tmp_path_factory.mktemp("code") / "code.py"
    file.write_text(CODE)
    for name in ("tell", "size", "reply", "reply_by_package", "fail_on_three", "Half"):
        server.deploy(f"{file}:{name}", "--name", name)
    return server


def event(data: Any = None, **more: Any) -> CloudEvent:
    return CloudEvent({**ATTRIBUTES, **more}, {"n": 1} if data is None else data)


def send(server: RunningServer, name: str, message: HTTPMessage, **headers: str) -> Reply:
    body = message.body.encode() if isinstance(message.body, str) else message.body
    named = {key.replace("-", "_"): value for key, value in message.headers.items()}
    return server.request("POST", f"/invoke/{name}", body, **named, **headers)


def message_of(reply: Reply) -> HTTPMessage:
    return HTTPMessage(
        headers={name.lower(): value for name, value in reply.headers.items()}, body=reply.body
    )


def told(message: BaseCloudEvent) -> dict[str, Any]:
    """Without what the package makes up where it was not said."""
    return {
        name: value
        for name, value in message.get_attributes().items()
        if name not in ("datacontenttype", "time")
    }


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
def test_a_handler_gets_the_data_and_its_context_the_attributes(there: RunningServer, write: Any) -> None:
    answer = send(there, "tell", write(event())).json()
    assert answer["event"] == {"n": 1}
    about = dict(answer["about"])
    about["time"] = datetime.fromisoformat(about["time"]).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert about == TOLD
    note("cloudevents", "binary" if write is to_binary_event else "structured")


def test_without_an_event_there_are_no_attributes(there: RunningServer) -> None:
    assert there.invoke("tell", {"n": 1}).json() == {"event": {"n": 1}, "about": None}


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
def test_data_that_is_no_json_is_bytes(there: RunningServer, write: Any) -> None:
    sent = event(b"\x00\xff\x01", datacontenttype="application/octet-stream")
    assert send(there, "size", write(sent)).json() == {"kind": "bytes", "length": 3}


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
def test_a_model_is_given_the_data(there: RunningServer, write: Any) -> None:
    assert send(there, "Half", write(event([2, 4]))).json() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("write", "read"), [(to_binary_event, from_binary_event), (to_structured_event, from_structured_event)]
)
def test_an_event_is_answered_by_one_of_its_form(there: RunningServer, write: Any, read: Any) -> None:
    answer = read(message_of(send(there, "reply", write(event({"n": 4})))))
    assert told(answer) == {
        "id": "r1", "source": "/here", "type": "com.example.reply", "specversion": "1.0", "note": 'ü "x" 9%',
    }  # fmt: skip
    assert answer.get_data() == {"twice": 8}
    answer = read(message_of(send(there, "reply_by_package", write(event({"n": 4})))))
    assert (answer.get_id(), answer.get_data()) == ("r2", {"thrice": 12})
    note("cloudevents", "answers")


def test_who_accepts_events_gets_one_and_who_does_not_gets_json(there: RunningServer) -> None:
    plain = there.invoke("reply", {"n": 1})
    assert plain.headers["content-type"] == "application/json"
    accepted = there.invoke("reply", {"n": 1}, Accept="application/cloudevents+json")
    assert from_http_event(message_of(accepted)).get_data() == plain.json()["data"] == {"twice": 2}


def batch(*events: CloudEvent) -> HTTPMessage:
    bodies = [json.loads(to_structured_event(one).body) for one in events]
    return HTTPMessage(
        headers={"content-type": "application/cloudevents-batch+json"}, body=json.dumps(bodies).encode()
    )


def test_a_batch_is_an_invocation_for_each_event(there: RunningServer) -> None:
    answer = send(there, "tell", batch(*(event({"n": n}, id=f"e{n}") for n in range(5))))
    assert answer.headers["content-type"] == "application/cloudevents-batch+json"
    structured = {"content-type": "application/cloudevents+json"}
    read = [from_http_event(HTTPMessage(structured, json.dumps(one).encode())) for one in answer.json()]
    assert [one.get_extension("causeid") for one in read] == [f"e{n}" for n in range(5)]
    assert [one.get_data()["event"]["n"] for one in read] == [*range(5)]
    assert send(there, "tell", batch()).json() == []
    note("cloudevents", "batch")


def test_a_batch_of_which_one_fails_is_told_so_that_it_is_sent_again(there: RunningServer) -> None:
    answer = send(there, "fail_on_three", batch(*(event({"n": n}, id=f"e{n}") for n in range(5))))
    assert answer.status == 500
    assert answer.json()["error_type"] == "ZeroDivisionError"
    assert answer.json()["detail"].startswith("event 4 of 5, 'e3': ")


def test_events_may_be_accepted_for_later(there: RunningServer) -> None:
    accepted = send(there, "reply", to_binary_event(event({"n": 2})), Prefer="respond-async")
    assert accepted.status == 202
    many = send(there, "tell", batch(event({"n": 7}), event({"n": 8})), Prefer="respond-async")
    assert many.status == 202
    ids = [one["id"] for one in many.json()]
    done = [there.request("GET", f"/invocations/{one}", Prefer="wait=60").json() for one in ids]
    assert [one["event"]["n"] for one in done] == [7, 8]
    assert {one["about"]["id"] for one in done} == {ATTRIBUTES["id"]}
    note("cloudevents", "accepted for later (`Prefer: respond-async`)")


@pytest.mark.parametrize(
    ("headers", "body", "text"),
    [
        pytest.param({"ce-specversion": "1.0"}, b"{}", "the event has no 'id'", id="no id"),
        pytest.param({"ce-specversion": "9"}, b"{}", "specversion is '9'", id="version"),
        pytest.param(
            {"content-type": "application/cloudevents+json"}, b"[]", "no event in JSON", id="no object"
        ),
        pytest.param(
            {"content-type": "application/cloudevents-batch+json"}, b"{}", "no list of events", id="list"
        ),
        pytest.param({"content-type": "application/cloudevents+avro"}, b"", "is not read here", id="format"),
        pytest.param(
            {"content-type": "application/cloudevents-batch+json", "idempotency-key": "k"},
            b"[]",
            "for one event",
            id="key",
        ),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(
    there: RunningServer, headers: dict[str, str], body: bytes, text: str
) -> None:
    answer = send(there, "tell", HTTPMessage(headers, body))
    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
    assert text in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content_type", "part"),
    [
        ("application/json", b'{"n": '),
        ("application/cloudevents+json", b'{"specversion": "1.0", "id": '),
        ("application/cloudevents-batch+json", b'[{"specversion": "1.0"}, '),
    ],
)
def test_a_body_that_stops_in_the_middle_harms_nobody(
    there: RunningServer, content_type: str, part: bytes
) -> None:
    told = [f"ce-{name}: x" for name in ("id", "source", "type")] + ["ce-specversion: 1.0"]
    for _ in range(3):
        with Raw(there) as raw:
            raw.head("POST", "/invoke/tell", "Content-Length: 1000", f"Content-Type: {content_type}", *told)
            raw.socket.sendall(part)
    answer = send(there, "tell", to_binary_event(event({"n": 1})))
    assert (answer.status, answer.json()["event"]) == (200, {"n": 1})


HEADERS = st.dictionaries(
    st.sampled_from(["ce-id", "ce-type", "ce-source", "ce-specversion", "ce-x", "ce-UPPER"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8) | st.just("1.0"),
    max_size=5,
)
TYPES = st.sampled_from(
    ["application/cloudevents+json", "application/cloudevents-batch+json", "application/json", "image/png"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    headers=HEADERS,
    content_type=TYPES,
    body=st.binary(max_size=20) | st.just(b'{"id": 1, "specversion": "1.0"}'),
)
def test_whatever_is_sent_no_fault_of_ours_comes_back(
    there: RunningServer, headers: dict[str, str], content_type: str, body: bytes
) -> None:
    answer = send(there, "tell", HTTPMessage({**headers, "content-type": content_type}, body))
    # What the function was given as bytes it cannot give back as JSON.
    assert answer.status < 500 or answer.json()["error_type"] == "Runtime.MarshalError"
