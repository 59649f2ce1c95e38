"""Pages of logs, and filter patterns."""

from __future__ import annotations

import pytest

from lambent.wire.aws.faults import Fault
from lambent.wire.aws.filterpatterns import BadPattern, read_pattern
from lambent.wire.aws.logs import page_after, page_before, position_of, read_lines, token_of

LINES = [
    "2026-11-23T15:00:00.001Z w-aaaaaaaaaaaa one",
    "2026-11-23T15:00:00.001Z w-bbbbbbbbbbbb two",
    "2026-11-23T15:00:00.001Z w-aaaaaaaaaaaa ",
    "2026-11-23T15:00:02.000Z w-aaaaaaaaaaaa four",
    "2026-11-23T15:00:01.000Z w-aaaaaaaaaaaa three, which was stamped before",
    "no line of ours",
]


def test_lines_are_events_in_order_of_time() -> None:
    events = read_lines(LINES, {"w-aaaaaaaaaaaa": "2026/11/23/[$LATEST]0123aaaaaaaaaaaa"})
    assert [(one.unix_ms % 100_000, one.ordinal, one.message) for one in events] == [
        (1, 0, "one\n"),
        (1, 1, "two\n"),
        (1, 2, "\n"),
        (1000, 0, "three, which was stamped before\n"),
        (2000, 0, "four\n"),
    ]
    assert events[0].stream == "2026/11/23/[$LATEST]0123aaaaaaaaaaaa"
    assert events[1].stream == "2026/11/23/[$LATEST]00000000000000000000bbbbbbbbbbbb"
    assert len({one.event_id for one in events}) == 5


def test_pages_forward_and_back_meet_each_event_once() -> None:
    events = read_lines(LINES, {})
    seen, after = [], None
    while (page := page_after(events, after, 2)).events:
        seen += page.events
        after = position_of(token_of("f", page.events[-1].position))[1]
    assert seen == events
    seen, before = [], None
    while (page := page_before(events, before, 2)).events:
        seen = [*page.events, *seen]
        before = position_of(token_of("b", page.events[0].position))[1]
    assert seen == events


def test_a_page_has_a_megabyte_at_most_and_an_event_at_least() -> None:
    long = "x" * 600_000
    events = read_lines([f"2026-11-23T15:00:00.00{n}Z w-a {long}" for n in range(3)], {})
    assert [len(page_after(events, None, limit).events) for limit in (3, 1)] == [1, 1]
    assert page_after(events, None, 3).more
    huge = read_lines([f"2026-11-23T15:00:00.000Z w-a {long * 3}"], {})
    assert len(page_before(huge, None, 3).events) == 1


@pytest.mark.parametrize("token", ["", "f/", "x/1:1", "f/1", "f/1:" + "9" * 99, "nonsense"])
def test_a_token_that_is_none(token: str) -> None:
    with pytest.raises(Fault):
        position_of(token)


@pytest.mark.parametrize(
    ("pattern", "message", "matches"),
    [
        ("", "anything", True),
        ("ERROR", "[ERROR] x", True),
        ("ERROR", "[error] x", False),
        ("ERROR Exception", "ERROR: an Exception", True),
        ("ERROR Exception", "ERROR", False),
        ('"an Exception"', "ERROR: an Exception", True),
        ('"Exception an"', "ERROR: an Exception", False),
        ('"a \\"b\\""', 'a "b"', True),
        ("?one ?two", "only two", True),
        ("?one ?two", "only three", False),
        ("ERROR -timeout", "ERROR: boom", True),
        ("ERROR -timeout", "ERROR: timeout", False),
        ('-"a b"', "a b", False),
        ("%4[0-9]{2}%", "status 404", True),
        ("%4[0-9]{2}%", "status 504", False),
        ('{ $.level = "ERROR" }', '{"level": "ERROR"}', True),
        ('{ $.level = "ERROR" }', '{"level": "INFO"}', False),
        ('{ $.level = "ERROR" }', "no JSON", False),
        ('{ $.level = "E*" }', '{"level": "ERROR"}', True),
        ("{ $.level = ERROR }", '{"level": "ERROR"}', True),
        ('{ $.level != "ERROR" }', '{"level": "INFO"}', True),
        ('{ $.level != "ERROR" }', '{"other": 1}', False),
        ("{ $.ms > 100 }", '{"ms": 101}', True),
        ("{ $.ms > 100 }", '{"ms": "101"}', False),
        ("{ $.ms >= 1 && $.ms<2 }", '{"ms": 1.5}', True),
        ("{ $.a = 1 || $.b = 2 && $.c = 3 }", '{"a": 1}', True),
        ("{ ($.a = 1 || $.b = 2) && $.c = 3 }", '{"a": 1}', False),
        ("{ $.a.b[0] = 1 }", '{"a": {"b": [1]}}', True),
        ("{ $.a[*].b = 2 }", '{"a": [{"b": 1}, {"b": 2}]}', True),
        ("{ $.a NOT EXISTS }", '{"b": 1}', True),
        ("{ $.a IS NULL }", '{"a": null}', True),
        ("{ $.a IS TRUE }", '{"a": true}', True),
        ("{ $.a = %^x% }", '{"a": "xy"}', True),
    ],
)
def test_filter_patterns(pattern: str, message: str, matches: bool) -> None:  # noqa: FBT001 a column of the table
    assert read_pattern(pattern)(message) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        "{ $.a }",
        "{ a = 1 }",
        "{ $.a = }",
        "{ ($.a = 1 }",
        "{ $.a = 1 $.b }",
        "{ $.a > x }",
        "[ip, user]",
        "%(a+)+%",
        "%(%",
        "{" + "(" * 100 + "}",
    ],
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(BadPattern):
        read_pattern(pattern)
