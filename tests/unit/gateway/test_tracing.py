"""The headers of a trace at the doors: what comes in, what goes on, what the answer says."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from lambent.core.invocation import Invocation, Outcome
from lambent.core.tracing import Trace, span_of
from lambent.gateway.tracing import trace_of
from tests.unit.gateway.asgi import House, outcome

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-03"
XRAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
DOORS = ["/invoke/hello", "/2015-03-31/functions/hello/invocations"]


async def run(invocation: Invocation) -> Outcome:
    return msgspec.structs.replace(outcome(), trace=invocation.trace)


@pytest.mark.parametrize("door", DOORS)
def test_a_trace_that_comes_goes_on_and_is_told_with_the_invocations_own_span(
    house: House, door: str
) -> None:
    house.invoker.next = run
    answer = asyncio.run(house.call("POST", door, b"{}", traceparent=PARENT, tracestate="a=1"))
    (asked,) = house.invoker.asked
    assert asked.trace == Trace(TRACE, SPAN, "03", "a=1")
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{span_of(asked.id)}-03"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("headers", [{}, {"traceparent": "00-nonsense"}, {"tracestate": "a=1"}])
def test_where_none_comes_or_none_that_is_valid_one_begins_here(
    house: House, door: str, headers: dict[str, str]
) -> None:
    house.invoker.next = run
    answer = asyncio.run(house.call("POST", door, b"{}", **headers))
    (asked,) = house.invoker.asked
    assert asked.trace is None
    began = asked.id.replace("-", "")
    assert answer.headers["traceresponse"] == f"00-{began}-{span_of(asked.id)}-03"


def test_x_rays_header_is_handed_on_as_it_is_and_told_at_awss_door(house: House) -> None:
    house.invoker.next = run
    answer = asyncio.run(house.call("POST", DOORS[1], b"{}", x_amzn_trace_id=XRAY))
    (asked,) = house.invoker.asked
    assert asked.trace == Trace("5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8", "01", "", XRAY)
    assert answer.headers["x-amzn-trace-id"] == XRAY


def test_two_different_parents_are_none_and_states_in_parts_are_one_list() -> None:
    parent, other = (b"traceparent", PARENT.encode()), (b"traceparent", PARENT.replace("03", "01").encode())
    states = [(b"tracestate", b"a=1"), (b"tracestate", b"b=2 ")]
    listed = [parent, *states, parent]
    assert trace_of(dict(listed), listed) == Trace(TRACE, SPAN, "03", "a=1,b=2")
    listed = [parent, other, *states]
    assert trace_of(dict(listed), listed) is None
