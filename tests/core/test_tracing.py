"""What the headers of a trace mean, and what is written into them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.invocation import id_from
from lambent.core.tracing import (
    STATE_CHARACTERS_MAX,
    Trace,
    asked_by,
    parent_from,
    read_parent,
    span_of,
    trace_as_text,
    trace_from,
    trace_id_of,
    xray_from,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
ID = "9f7c2a10-1b2c-4d3e-a456-0123456789ab"
XRAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"

VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")

ids = st.binary(min_size=16, max_size=16).map(id_from)


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        pytest.param(f"00-{TRACE}-{SPAN}-01", "01", id="sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-00", "00", id="not sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-03", "03", id="sampled with a random id, as of level 2"),
        pytest.param(f"00-{TRACE}-{SPAN}-ff", "03", id="flags that nobody knows are not handed on"),
        pytest.param(f"01-{TRACE}-{SPAN}-01", "01", id="a later version"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-more-of-it", "01", id="a later version with more fields"),
        pytest.param(f"  00-{TRACE}-{SPAN}-01\t", "01", id="white space around it"),
    ],
)
def test_a_valid_parent_is_taken(header: str, flags: str) -> None:
    assert read_parent(header, ["a=1", "b=2"]) == Trace(TRACE, SPAN, flags, "a=1,b=2")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"0x-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_parent_that_is_not_valid_is_replaced_and_its_state_forgotten(header: str) -> None:
    assert read_parent(header, ["a=1"]) is None


@pytest.mark.parametrize("state", ["a=" + "x" * STATE_CHARACTERS_MAX, "a=\x00", "a=ü"])
def test_a_state_that_is_damaged_or_too_long_is_left_out_and_the_trace_kept(state: str) -> None:
    assert read_parent(f"00-{TRACE}-{SPAN}-01", [state]) == Trace(TRACE, SPAN, "01")


# The cases of the test suite of W3C's trace-context repository, in its words.
@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param(["foo=1", "bar=2"], "foo=1,bar=2", id="multiple headers different keys"),
        pytest.param(["foo=1", ""], "foo=1", id="empty header behind"),
        pytest.param(["", "foo=1"], "foo=1", id="empty header before"),
        pytest.param(["foo=1,foo=2"], "foo=1,foo=2", id="duplicated keys are kept"),
        pytest.param(["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3", id="ows handling"),
        pytest.param(["foo=1,,,bar=2"], "foo=1,bar=2", id="empty members"),
        pytest.param(
            ["".join(map(chr, range(97, 123))) + "0123456789_-*/=" + VALUE], ..., id="all allowed characters"
        ),
        pytest.param([f"0123456789_-*/@a-z0-9_-*/={VALUE}"], ..., id="all allowed characters with a tenant"),
        pytest.param(["foo =1"], "", id="key with a space"),
        pytest.param(["FOO=1"], "", id="key in capitals"),
        pytest.param(["foo.bar=1"], "", id="key with a dot"),
        pytest.param(["foo@=1,bar=2"], "", id="vendor missing"),
        pytest.param(["@foo=1,bar=2"], "", id="tenant missing"),
        pytest.param(["foo@@bar=1,bar=2"], "", id="two ats together"),
        pytest.param(["foo@bar@baz=1,bar=2"], "", id="two ats"),
        pytest.param([",".join(f"bar{n:02}={n}" for n in range(32))], ..., id="32 members"),
        pytest.param([",".join(f"bar{n:02}={n}" for n in range(33))], "", id="33 members"),
        pytest.param(["z" * 256 + "=1"], ..., id="key of 256"),
        pytest.param(["z" * 257 + "=1"], "", id="key of 257"),
        pytest.param(["t" * 241 + "@" + "v" * 14 + "=1"], ..., id="tenant of 241, vendor of 14"),
        pytest.param(["t" * 242 + "@v=1"], "", id="tenant of 242"),
        pytest.param(["t@" + "v" * 15 + "=1"], "", id="vendor of 15"),
        pytest.param(["foo=bar=baz"], "", id="value with an equals sign"),
        pytest.param(["foo=,bar=3"], "", id="value missing"),
    ],
)
def test_a_state_is_passed_on_where_it_is_valid_and_left_out_where_it_is_not(
    states: list[str], expected: str
) -> None:
    found = read_parent(f"00-{TRACE}-{SPAN}-01", states)
    assert found is not None
    assert found.state == (states[0] if expected is ... else expected)


def test_a_state_of_512_characters_is_passed_on() -> None:
    state = ",".join(f"k{number:02}={'x' * 28}" for number in range(16))
    assert len(state) >= 512
    found = read_parent(f"00-{TRACE}-{SPAN}-01", [state])
    assert found is not None
    assert found.state == state


@pytest.mark.parametrize(
    ("xray", "expected"),
    [
        (XRAY, Trace("5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8", "01", "", XRAY)),
        (
            "Self=1-x;Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
            Trace(
                "5759e988bd862e3fe1be46a994272793",
                "e1be46a994272793",
                "00",
                "",
                "Self=1-x;Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
            ),
        ),
        ("Root=nonsense", None),
    ],
)
def test_the_header_of_x_ray_names_the_trace_where_no_other_does(xray: str, expected: Trace | None) -> None:
    assert read_parent("", xray=xray) == expected


def test_of_both_headers_the_standard_one_wins_and_the_other_is_handed_on() -> None:
    assert read_parent(f"00-{TRACE}-{SPAN}-01", xray=XRAY) == Trace(TRACE, SPAN, "01", "", XRAY)


def test_an_invocation_without_a_trace_begins_one_whose_ids_are_its_own() -> None:
    assert parent_from(ID, None) == "00-9f7c2a101b2c4d3ea4560123456789ab-a4560123456789ab-03"
    assert asked_by(ID, None) == Trace("9f7c2a101b2c4d3ea4560123456789ab", "a4560123456789ab", "03")


def test_what_an_invocation_asks_for_is_in_its_trace_and_its_child() -> None:
    trace = Trace(TRACE, SPAN, "01", "a=1", XRAY)
    assert asked_by(ID, trace) == Trace(TRACE, span_of(ID), "01", "a=1", XRAY)
    assert parent_from(ID, trace) == f"00-{TRACE}-{span_of(ID)}-01"


@given(st.lists(ids, min_size=1, max_size=20), st.sampled_from([None, Trace(TRACE, SPAN, "01", "a=1")]))
def test_a_chain_of_calls_is_one_trace_of_spans_that_each_name_the_one_before(
    chain: list[str], first: Trace | None
) -> None:
    trace, parent = first, first.parent_id if first else ""
    for one in chain:
        written = parent_from(one, trace)
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", written)
        again = read_parent(written)
        assert again is not None
        assert again.trace_id == trace_id_of(chain[0], first)
        assert again.parent_id == span_of(one)
        assert parent == (trace.parent_id if trace else "")
        trace, parent = asked_by(one, trace), span_of(one)
        assert trace_from(trace_as_text(trace)) == trace
    assert trace_from(trace_as_text(None)) is None


def test_user_code_is_told_the_xray_header_that_came_or_what_it_would_be() -> None:
    invocation = "01234567-89ab-4def-a123-456789abcdef"
    came = "Root=1-58406520-a006649127e371903a2de979;Parent=4c721bf33e3caf8f;Sampled=1"
    assert xray_from(invocation, read_parent("", xray=came)) == came
    own = "Root=1-01234567-89ab4defa123456789abcdef;Parent=a123456789abcdef;Sampled=1"
    assert xray_from(invocation, None) == own
    asked = read_parent(f"00-{'a' * 32}-{'b' * 16}-00")
    assert xray_from(invocation, asked) == f"Root=1-{'a' * 8}-{'a' * 24};Parent=a123456789abcdef;Sampled=0"
