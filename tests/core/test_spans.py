"""An invocation as spans: which there are, how they lie in time, and what they say."""

from __future__ import annotations

import msgspec
import pytest

from lambent.core.invocation import Status, Timing, Trigger
from lambent.core.spans import Facts, Span, SpanKind, is_sampled, spans_of
from lambent.core.tracing import Trace, parent_from

ID = "9f7c2a10-1b2c-4d3e-a456-0123456789ab"
TRACE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "03", "vendor=1")
ORIGIN_NS = 1_700_000_000_000_000_000
MS = 1_000_000

WARM = Facts(
    invocation_id=ID, trace=None, trigger=Trigger.HTTP, project="default", deployment="digits", alias="",
    revision="r1", instance="w7", temperature="hot", status=Status.OK, arrived_s=2.0,
    timing=Timing(queue_ms=0.01, run_ms=3.0, total_ms=4.0), billed_ms=3,
)  # fmt: skip


def spans(facts: Facts) -> dict[str, Span]:
    found = list(spans_of(facts, origin_unix_ns=ORIGIN_NS))
    assert len({span.span_id for span in found}) == len(found)
    return {span.name: span for span in found}


def said(span: Span) -> dict[str, object]:
    return {**span.attributes, **{key: value for key, value in span.shared if value}}


def test_a_call_of_a_hot_worker_is_itself_and_its_run() -> None:
    found = spans(WARM)
    assert list(found) == ["digits", "run"]
    whole, run = found.values()
    assert (whole.start_unix_ns, whole.end_unix_ns) == (ORIGIN_NS + 2000 * MS, ORIGIN_NS + 2004 * MS)
    assert run.end_unix_ns - run.start_unix_ns == 3 * MS
    assert (whole.kind, run.kind) == (SpanKind.SERVER, SpanKind.INTERNAL)
    assert (whole.parent_id, run.parent_id) == ("", whole.span_id)
    assert said(whole) == {
        "faas.name": "digits",
        "faas.version": "r1",
        "faas.instance": "w7",
        "faas.invocation_id": ID,
        "faas.coldstart": False,
        "faas.trigger": "http",
        "lambent.project": "default",
        "lambent.temperature": "hot",
        "lambent.status": "ok",
        "lambent.billed_ms": 3,
    }


def test_a_cold_start_is_told_with_its_wait_and_the_parts_of_its_wake_in_order() -> None:
    wake_ms = {"init": 20.0, "fork": 4.0, "other": 6.0, "load": 10.0}
    facts = msgspec.structs.replace(
        WARM, temperature="warm", timing=Timing(queue_ms=50.0, run_ms=3.0, total_ms=60.0, wake_ms=wake_ms)
    )
    found = spans(facts)
    assert list(found) == ["digits", "queue", "run", "wake", "wake.fork", "wake.load", "wake.init"]
    assert found["digits"].attributes["faas.coldstart"] is True
    wake = found["wake"]
    assert wake.end_unix_ns - wake.start_unix_ns == 40 * MS
    assert wake.end_unix_ns == found["queue"].end_unix_ns == found["run"].start_unix_ns
    assert wake.parent_id == found["digits"].span_id
    parts = [found[f"wake.{name}"] for name in ("fork", "load", "init")]
    assert {part.parent_id for part in parts} == {wake.span_id}
    assert parts[0].start_unix_ns == wake.start_unix_ns
    assert [part.end_unix_ns for part in parts[:2]] == [part.start_unix_ns for part in parts[1:]]
    assert parts[-1].end_unix_ns <= wake.end_unix_ns


def test_the_spans_belong_to_the_trace_that_came_and_to_what_user_code_is_told() -> None:
    found = spans(msgspec.structs.replace(WARM, trace=TRACE))
    whole, run = found.values()
    assert {span.trace_id for span in found.values()} == {TRACE.trace_id}
    assert whole.parent_id == TRACE.parent_id
    assert parent_from(ID, TRACE) == f"00-{TRACE.trace_id}-{whole.span_id}-03"
    assert (whole.flags, run.flags) == (0x303, 0x103)  # the parent of the first is another process
    assert {span.state for span in found.values()} == {"vendor=1"}


def test_a_trace_that_begins_here_has_no_parent() -> None:
    whole = spans(WARM)["digits"]
    assert (whole.parent_id, whole.flags) == ("", 0x103)
    assert parent_from(ID, None) == f"00-{whole.trace_id}-{whole.span_id}-03"


def test_a_failure_is_an_error_with_its_type_and_words() -> None:
    facts = msgspec.structs.replace(WARM, status=Status.FAILED, error="ValueError", message="no such digit")
    whole, run = spans(facts).values()
    assert (whole.error, run.error) == ("no such digit", None)
    assert said(whole)["error.type"] == "ValueError"


def test_one_that_never_ran_is_one_span_as_long_as_it_waited() -> None:
    facts = msgspec.structs.replace(
        WARM,
        status=None,
        instance="",
        temperature="",
        error="hold_expired",
        message="",
        timing=Timing(total_ms=60e3),
    )
    (whole,) = spans(facts).values()
    assert whole.end_unix_ns - whole.start_unix_ns == 60_000 * MS
    assert whole.error == "hold_expired"
    assert not {"faas.coldstart", "faas.instance", "lambent.status"} & said(whole).keys()


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [(Trigger.HTTP, SpanKind.SERVER), (Trigger.OTHER, SpanKind.SERVER), (Trigger.PUBSUB, SpanKind.CONSUMER)],
)
def test_what_was_accepted_for_later_is_consumed(trigger: Trigger, kind: SpanKind) -> None:
    whole = spans(msgspec.structs.replace(WARM, trigger=trigger))["digits"]
    assert (whole.kind, said(whole)["faas.trigger"]) == (kind, trigger.value)


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_what_who_asked_does_not_record_is_not_recorded_here(flags: str, sampled: bool) -> None:  # noqa: FBT001 - a row of a table
    assert is_sampled(msgspec.structs.replace(TRACE, flags=flags)) is sampled
    assert is_sampled(None)
