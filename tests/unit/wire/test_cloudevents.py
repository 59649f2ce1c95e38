"""Events are read and written as CloudEvents 1.0 says, and nothing but `BadEvent` comes of what is none."""

import contextlib
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.wire import cloudevents
from lambent.wire.cloudevents import BATCH_EVENTS_MAX, BadEvent, Event, Mode

NEEDED = {"specversion": "1.0", "id": "1", "source": "/here", "type": "t"}
BINARY = {b"ce-" + name.encode(): value.encode() for name, value in NEEDED.items()}
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NEEDED, "data", "data_base64"]), inner)
    ),
    max_leaves=10,
)
NAMES = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20).filter(
    lambda name: name not in ("data", "datacontenttype", "specversion")
)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("headers", "mode"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({b"content-type": b"application/json"}, None, id="json"),
        pytest.param(BINARY, Mode.BINARY, id="headers"),
        pytest.param(
            {b"content-type": b"application/cloudevents+json; charset=utf-8"}, Mode.STRUCTURED, id="one"
        ),
        pytest.param({b"content-type": b"Application/CloudEvents-Batch+json"}, Mode.BATCHED, id="batch"),
        pytest.param(
            {**BINARY, b"content-type": b"application/cloudevents+json"}, Mode.STRUCTURED, id="both"
        ),
    ],
)
def test_how_events_lie_in_a_message_is_read_off_its_headers(
    headers: dict[bytes, bytes], mode: Mode | None
) -> None:
    assert cloudevents.mode_of(headers) is mode


def test_another_format_is_refused() -> None:
    with pytest.raises(BadEvent, match="application/cloudevents\\+avro"):
        cloudevents.mode_of({b"content-type": b"application/cloudevents+avro"})


@given(extensions=st.dictionaries(NAMES, TEXTS, max_size=4), data=st.binary(max_size=50))
def test_an_event_survives_headers(extensions: dict[str, str], data: bytes) -> None:
    event = Event({**NEEDED, **extensions}, data, "application/octet-stream")
    headers = dict(cloudevents.headers_of(event))
    assert all(0x20 <= byte < 0x7F for value in headers.values() for byte in value)
    # A value in quotes is one that somebody has quoted.
    if not any(len(value) > 1 and value[0] == value[-1] == '"' for value in extensions.values()):
        assert cloudevents.from_binary(headers, data) == event


@given(extensions=st.dictionaries(NAMES, TEXTS, max_size=4), data=st.binary(min_size=1, max_size=50))
def test_an_event_survives_json(extensions: dict[str, str], data: bytes) -> None:
    event = Event({**NEEDED, **extensions}, data, "application/octet-stream")
    assert cloudevents.from_structured(cloudevents.as_structured(event)) == event


@pytest.mark.parametrize(
    ("members", "data"),
    [
        pytest.param({"data": {"a": 1}}, b'{"a":1}', id="json"),
        pytest.param({"data": "text"}, b'"text"', id="text that is json"),
        pytest.param({"data": "text", "datacontenttype": "text/plain"}, b"text", id="text"),
        pytest.param({"data": "<a/>", "datacontenttype": "application/xml"}, b"<a/>", id="xml"),
        pytest.param({"data_base64": "AAE="}, b"\0\1", id="bytes"),
        pytest.param({}, b"", id="none"),
    ],
)
def test_data_is_as_it_would_be_a_body(members: dict[str, object], data: bytes) -> None:
    body = json.dumps({**NEEDED, **members}, separators=(",", ":")).encode()
    assert cloudevents.from_structured(body).data == data


@pytest.mark.parametrize(
    ("members", "text"),
    [
        pytest.param({"specversion": "0.3"}, "specversion is '0.3'", id="version"),
        pytest.param({"id": ""}, "has no 'id'", id="id"),
        pytest.param({"type": None}, "has no 'type'", id="type"),
        pytest.param({"Upper": "x"}, "'Upper' is no attribute's name", id="name"),
        pytest.param({"x": {}}, "'x' is no text, number or boolean", id="value"),
        pytest.param({"x": 1.5}, "'x' is no text, number or boolean", id="fraction"),
        pytest.param({"x": "y" * 5000}, "more than 4096 characters", id="length"),
        pytest.param({"id": "a\n"}, "'id' holds U\\+000A", id="control"),
        pytest.param({"x": "a\x9fb"}, "'x' holds U\\+009F", id="C1 control"),
        pytest.param({"x": "\ud800"}, "in JSON", id="half a character"),
        pytest.param({"x": "\U0001ffff"}, "'x' holds U\\+1FFFF", id="no character"),
        pytest.param({"datacontenttype": "a\0"}, "'datacontenttype' holds U\\+0000", id="type"),
        pytest.param({"subject": ""}, "'subject' is empty", id="subject"),
        pytest.param({"time": ""}, "'time' is empty", id="no time"),
        pytest.param({"data": 1, "data_base64": ""}, "not both", id="both"),
        pytest.param({"data_base64": "%"}, "base64", id="base64"),
    ],
)
def test_what_is_no_event_is_told(members: dict[str, object], text: str) -> None:
    with pytest.raises(BadEvent, match=text):
        cloudevents.from_structured(json.dumps({**NEEDED, **members}).encode())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(b"%FF", "no text in UTF-8", id="percent"),
        pytest.param(b"a%C3", "no text in UTF-8", id="half"),
        pytest.param(b"\xff", "no text in UTF-8", id="raw"),
        pytest.param(b"a%00", "'id' holds U\\+0000", id="null"),
        pytest.param(b"a%0D%0Ax: y", "'id' holds U\\+000D", id="line"),
        pytest.param(b'"a%7F"', "'id' holds U\\+007F", id="delete"),
        pytest.param(b"%EF%BF%BE", "'id' holds U\\+FFFE", id="no character"),
    ],
)
def test_an_attribute_in_a_header_is_text(value: bytes, text: str) -> None:
    with pytest.raises(BadEvent, match=text):
        cloudevents.from_binary({**BINARY, b"ce-id": value}, b"")


@pytest.mark.parametrize(
    "time",
    ["2018-04-05T17:31:00Z", "2018-04-05t17:31:00.123456789z", "2016-12-31T23:59:60+00:00",
     "2024-02-29T00:00:00-12:30"],
)  # fmt: skip
def test_a_time_is_one_of_rfc_3339(time: str) -> None:
    event = cloudevents.from_binary({**BINARY, b"ce-time": time.encode()}, b"")
    assert event.attributes["time"] == time


@pytest.mark.parametrize(
    "time",
    ["yesterday", "1522949460", "2018-04-05", "2018-04-05T17:31:00", "2018-04-05 17:31:00Z",
     "2018-04-05T24:00:00Z", "2018-13-05T17:31:00Z", "2023-02-29T00:00:00Z", "2018-04-05T17:31:00+01",
     "2018-04-05T17:31:00Z ", "٢018-04-05T17:31:00Z"],
)  # fmt: skip
def test_what_is_no_time_is_told(time: str) -> None:
    with pytest.raises(BadEvent, match="no time of RFC 3339"):
        cloudevents.from_structured(json.dumps({**NEEDED, "time": time}).encode())


def test_attributes_of_other_types_are_text() -> None:
    event = cloudevents.from_structured(json.dumps({**NEEDED, "n": 7, "b": True}).encode())
    assert (event.attributes["n"], event.attributes["b"]) == ("7", "true")


def test_a_batch_has_a_bound() -> None:
    body = json.dumps([NEEDED] * BATCH_EVENTS_MAX).encode()
    assert len(cloudevents.from_batch(body)) == BATCH_EVENTS_MAX
    with pytest.raises(BadEvent, match=f"{BATCH_EVENTS_MAX} are read at once"):
        cloudevents.from_batch(json.dumps([NEEDED] * (BATCH_EVENTS_MAX + 1)).encode())


@given(body=st.binary(max_size=60) | JSONS.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_sent_it_is_an_event_or_a_bad_one(body: bytes) -> None:
    for read in (cloudevents.from_structured, cloudevents.from_batch):
        with contextlib.suppress(BadEvent):
            read(body)
    cloudevents.answered(body)


def test_nesting_without_end_is_a_bad_event() -> None:
    with pytest.raises(BadEvent):
        cloudevents.from_structured(b'{"data":' + b"[" * 100_000)
