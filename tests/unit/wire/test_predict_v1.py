"""What a body of V1 asks, and nothing but `BadRequest` for one that is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.wire import predict_v1
from lambent.wire.predict_v1 import Asked, BadRequest, Key, Verb


@pytest.mark.parametrize(
    ("verb", "body", "asked", "value"),
    [
        pytest.param(
            Verb.PREDICT, b'{"instances": [1, 2]}', Asked(Verb.PREDICT, Key.INSTANCES), b"[1, 2]", id="rows"
        ),
        pytest.param(
            Verb.PREDICT, b'{"inputs":{"a":1}}', Asked(Verb.PREDICT, Key.INPUTS), b'{"a":1}', id="columns"
        ),
        pytest.param(
            Verb.PREDICT,
            b'{"signature_name":"s","instances":[1]}',
            Asked(Verb.PREDICT, Key.INSTANCES, "s"),
            b"[1]",
            id="signature",
        ),
        pytest.param(
            Verb.CLASSIFY,
            b'{"examples":[{"a":1}]}',
            Asked(Verb.CLASSIFY, Key.EXAMPLES),
            b'[{"a":1}]',
            id="examples",
        ),
        pytest.param(
            Verb.REGRESS,
            b'{"examples":[{}],"context":{}}',
            Asked(Verb.REGRESS, Key.WHOLE),
            b'{"examples":[{}],"context":{}}',
            id="context",
        ),
        pytest.param(
            Verb.PREDICT,
            b'{"instances":[NaN]}',
            Asked(Verb.PREDICT, Key.WHOLE),
            b'{"instances":[NaN]}',
            id="NaN",
        ),
    ],
)
def test_a_body_is_what_is_asked_and_a_value(verb: Verb, body: bytes, asked: Asked, value: bytes) -> None:
    assert predict_v1.read(verb, body) == (asked, value)
    assert predict_v1.asked_of(predict_v1.content_type_of(asked)) == asked


@given(verb=st.sampled_from(Verb), body=st.binary(max_size=60) | st.dictionaries(
    st.sampled_from(["instances", "inputs", "examples", "context", "signature_name"]),
    st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_is_sent_it_is_read_or_a_bad_request(verb: Verb, body: bytes) -> None:
    try:
        asked, _ = predict_v1.read(verb, body)
    except BadRequest:
        return
    assert predict_v1.asked_of(predict_v1.content_type_of(asked)) == asked


@pytest.mark.parametrize(
    "content_type", ["application/json; v1=", "application/json; v1=cook; key=inputs; signature="]
)
def test_a_type_that_a_caller_has_made_up_is_no_question(content_type: str) -> None:
    assert predict_v1.asked_of(content_type) is None


def test_an_event_is_known_by_its_members() -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": {"instances": [1]}}
    found = predict_v1.event_of(json.dumps(event).encode())
    assert found is not None
    assert json.loads(found.data) == {"instances": [1]}
    assert predict_v1.event_of(b'{"instances": ["specversion"]}') is None
