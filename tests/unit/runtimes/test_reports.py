"""Errors that programs report: passed on as they are where that can be, and always readable."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.runtimes.lambda_api.reports import as_fault, as_payload
from lambent.wire.frames import read_error


@pytest.mark.parametrize(
    "body",
    [
        {"errorMessage": "no", "errorType": "A", "requestId": "", "stackTrace": ["x"]},
        {"errorMessage": "", "errorType": "A", "trace": ["as Node does"]},
        {"errorType": "A", "errorMessage": "as Go does", "stackTrace": [{"path": "a.go", "line": 1}]},
        {"errorType": "A", "errorMessage": "odd", "stackTrace": "one text", "requestId": 7},
    ],
)
def test_what_says_what_it_must_is_not_touched(body: dict[str, object]) -> None:
    text = json.dumps(body).encode()
    assert as_payload(text, "Other", "id") == text
    read = read_error(text)
    assert (read.error_type, read.error_message) == ("A", body["errorMessage"])


@pytest.mark.parametrize(
    ("body", "header", "kind", "message"),
    [
        (b"plain text", "Own", "Own", "plain text"),
        (b"", "", "Runtime.Unknown", ""),
        (b"[1]", "Own", "Own", "[1]"),
        (b"\xff\xfe", "Own", "Own", "\ufffd\ufffd"),
        (b'{"errorMessage": "no"}', "Own", "Own", "no"),
        (b'{"errorType": "A"}', "Own", "A", '{"errorType": "A"}'),
        (b'{"errorType": 3, "errorMessage": []}', "Own", "Own", '{"errorType": 3, "errorMessage": []}'),
    ],
)
def test_what_is_missing_is_added(body: bytes, header: str, kind: str, message: str) -> None:
    read = read_error(as_payload(body, header, "id"))
    assert (read.error_type, read.error_message) == (kind, message)


def test_frames_of_a_stack_may_have_any_shape() -> None:
    fault = as_fault(b'{"errorMessage":"m","errorType":"A","stackTrace":["x",{"line":1},null]}', "")
    assert (fault.error_type, str(fault), fault.trace) == ("A", "m", ("x", '{"line":1}', "null"))


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_whatever_is_reported_can_be_read(body: bytes) -> None:
    assert read_error(as_payload(body, "Own", "id")).error_type
    as_fault(body, "Own")
