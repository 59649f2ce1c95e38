"""Event patterns, by AWS's own examples and the corners that they leave."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambent.wire.aws.eventpatterns import BadPattern, read_pattern

EVENT = {
    "body": {
        "state": "running",
        "count": 7,
        "flag": True,
        "none": None,
        "tags": ["a", "b"],
        "ip": "10.0.0.5",
    },
    "items": [{"kind": "x"}, {"kind": "y"}],
    "text": "hello world",
}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ({}, True),
        ({"body": {"state": ["running", "stopped"]}}, True),
        ({"body": {"state": ["stopped"]}}, False),
        ({"body": {"state": ["running"], "count": [8]}}, False),
        ({"body": {"count": [7.0]}}, True),
        ({"body": {"flag": [1]}}, False),
        ({"body": {"none": [None]}}, True),
        ({"body": {"tags": ["b"]}}, True),
        ({"items": {"kind": ["y"]}}, True),
        ({"text": {"inner": ["x"]}}, False),
        ({"text": [{"prefix": "hello"}]}, True),
        ({"text": [{"suffix": "hello"}]}, False),
        ({"text": [{"prefix": {"equals-ignore-case": "HELLO"}}]}, True),
        ({"text": [{"equals-ignore-case": "HELLO world"}]}, True),
        ({"text": [{"wildcard": "h*o w*d"}]}, True),
        ({"text": [{"wildcard": "h*x*d"}]}, False),
        ({"text": [{"anything-but": ["x", "y"]}]}, True),
        ({"text": [{"anything-but": {"prefix": "hello"}}]}, False),
        ({"nothing": [{"anything-but": "x"}]}, False),
        ({"nothing": [{"exists": False}]}, True),
        ({"body": {"none": [{"exists": True}]}}, True),
        ({"body": {"count": [{"numeric": [">", 5, "<=", 7]}]}}, True),
        ({"body": {"state": [{"numeric": [">", 5]}]}}, False),
        ({"body": {"ip": [{"cidr": "10.0.0.0/24"}]}}, True),
        ({"$or": [{"text": ["x"]}, {"body": {"count": [7]}}]}, True),
        ({"$or": [{"text": ["x"]}, {"body": {"count": [8]}}]}, False),
    ],
)
def test_a_pattern_chooses(pattern: Any, matches: bool) -> None:  # noqa: FBT001  a table's column
    assert read_pattern(json.dumps(pattern))(EVENT) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "[]",
        "{",
        '{"a": 1}',
        '{"a": []}',
        '{"a": [[1]]}',
        '{"a": [{"near": 1}]}',
        '{"a": [{"numeric": [">"]}]}',
        '{"a": [{"cidr": "x"}]}',
        '{"a": [{"exists": 1}]}',
        '{"$or": []}',
        '{"a": [{"prefix": "x", "suffix": "y"}]}',
        '{"a":' * 30 + "{}" + "}" * 30,
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        read_pattern(pattern)
