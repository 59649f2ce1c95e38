"""An invocation as the spans of a trace: the whole, and in it the wait, the wake with its parts, and the run.

Names and attributes are those of OpenTelemetry's semantic conventions (1.43) for FaaS and for errors; what
they have no word for begins with `lambent.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Final

import msgspec

from lambent.core.invocation import Status, Timing, Trigger
from lambent.core.spec import Temperature
from lambent.core.tracing import Trace, span_of, trace_id_of
from lambent.core.waking import Part

Value = str | bool | int | float

WAIT_MS_MIN: Final = 0.1  # a wait that is shorter is no wait, and not worth a span
STEP: Final = 0x9E3779B97F4A7C15  # odd, so that multiples of it modulo 2**64 differ
IDS: Final = 2**64
PARTS: Final = tuple(part.value for part in Part if part not in (Part.QUEUE, Part.OTHER, Part.FIRST_RUN))


class SpanKind(IntEnum):
    """OTLP's numbers."""

    INTERNAL = 1
    SERVER = 2
    CONSUMER = 5


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an invocation that ended. `arrived_s` is monotonic; `message` says what went wrong.

    `error` is the kind of what went wrong, empty where nothing did; `instance` the worker, empty without one.
    `operation` is what a model that talks was asked for, in the words of the conventions for GenAI.
    """

    invocation_id: str
    trace: Trace | None
    trigger: Trigger
    project: str
    deployment: str
    alias: str
    revision: str
    instance: str = ""
    temperature: str = ""
    status: Status | None = None
    error: str = ""
    message: str = ""
    operation: str = ""
    arrived_s: float
    timing: Timing
    billed_ms: int = 0


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span. Times are nanoseconds since 1970, `flags` those of its parent's context as OTLP has them.

    `attributes` are its own, `shared` those that other spans have in common with it, which are written once.
    """

    trace_id: str
    span_id: str
    parent_id: str
    state: str
    flags: int
    name: str
    kind: SpanKind
    start_unix_ns: int
    end_unix_ns: int
    attributes: Mapping[str, Value] = {}
    shared: tuple[tuple[str, str], ...] = ()
    error: str | None = None


def is_sampled(trace: Trace | None) -> bool:
    """Whether who asked wants it recorded. Where nobody asked in a trace, it is."""
    return trace is None or bool(int(trace.flags, 16) & 1)


def spans_of(
    facts: Facts, *, origin_unix_ns: int, beside: Mapping[str, Value] | None = None
) -> Iterator[Span]:
    """The spans, the whole one first. `origin_unix_ns` is the wall time at monotonic second 0.

    `beside` is what its door has noted of it.
    """
    timing = facts.timing
    trace_id, own_id = trace_id_of(facts.invocation_id, facts.trace), span_of(facts.invocation_id)
    state = facts.trace.state if facts.trace else ""
    arrived_ns = origin_unix_ns + round(facts.arrived_s * 1e9)
    started_ns = arrived_ns + round(timing.queue_ms * 1e6)
    ended_ns = arrived_ns + round(timing.total_ms * 1e6)
    yield Span(
        trace_id=trace_id,
        span_id=own_id,
        parent_id=facts.trace.parent_id if facts.trace else "",
        state=state,
        flags=_flags(facts.trace, 0x300 if facts.trace else 0x100),
        name=facts.deployment,
        kind=SpanKind.CONSUMER if facts.trigger is Trigger.PUBSUB else SpanKind.SERVER,
        start_unix_ns=arrived_ns,
        end_unix_ns=ended_ns,
        attributes={**_own(facts), **beside} if beside else _own(facts),
        shared=_shared(facts),
        error=(facts.message or facts.error) if facts.error else None,
    )
    if facts.status is None:  # it never ran
        return
    parts = [("queue", arrived_ns, started_ns)] if timing.queue_ms >= WAIT_MS_MIN else []
    parts.append(("run", started_ns, min(ended_ns, started_ns + round(timing.run_ms * 1e6))))
    if timing.wake_ms:
        parts.extend(_wake(timing.wake_ms, started_ns))
    ids = _ids(own_id)
    parent_id = own_id
    for name, from_ns, to_ns in parts:
        span_id = next(ids)
        yield Span(
            trace_id=trace_id,
            span_id=span_id,
            parent_id=parent_id,
            state=state,
            flags=_flags(facts.trace, 0x100),
            name=name,
            kind=SpanKind.INTERNAL,
            start_unix_ns=from_ns,
            end_unix_ns=to_ns,
        )
        if name == "wake":  # it is followed by its parts
            parent_id = span_id


def _wake(wake_ms: Mapping[str, float], ready_ns: int) -> Iterator[tuple[str, int, int]]:
    """The wake, and its parts in the order of time.

    A wake is told by how long its parts took. It ended when the first call could begin, and may have begun
    before that call came: a load that was under way was joined.
    """
    now_ns = ready_ns - round(sum(wake_ms.values()) * 1e6)
    yield "wake", now_ns, ready_ns
    for part in PARTS:
        if took_ms := wake_ms.get(part):
            end_ns = now_ns + round(took_ms * 1e6)
            yield f"wake.{part}", now_ns, end_ns
            now_ns = end_ns


def _own(facts: Facts) -> Mapping[str, Value]:
    if facts.status is None:
        return {"faas.invocation_id": facts.invocation_id}
    return {
        "faas.invocation_id": facts.invocation_id,
        "faas.coldstart": facts.temperature != Temperature.HOT,
        "lambent.billed_ms": facts.billed_ms,
    }


def _shared(facts: Facts) -> tuple[tuple[str, str], ...]:
    """An empty one is none."""
    return (
        ("faas.name", facts.deployment),
        ("faas.version", facts.revision),
        ("faas.instance", facts.instance),
        ("faas.trigger", facts.trigger),
        ("lambent.project", facts.project),
        ("lambent.alias", facts.alias),
        ("lambent.temperature", facts.temperature),
        ("lambent.status", facts.status or ""),
        ("error.type", facts.error),
        *(_of_model(facts) if facts.operation else ()),
    )


def _of_model(facts: Facts) -> tuple[tuple[str, str], ...]:
    return (
        ("gen_ai.operation.name", facts.operation),
        ("gen_ai.provider.name", "lambent"),
        ("gen_ai.request.model", facts.deployment),
    )


def _flags(trace: Trace | None, context: int) -> int:
    """The trace's flags, and whether the parent is known to be, or not to be, of another process."""
    return context | (int(trace.flags, 16) if trace else 3)


def _ids(own_id: str) -> Iterator[str]:
    """Ids for the spans within: they follow from the invocation's, which is random."""
    place = int(own_id, 16)
    while True:
        place = (place + STEP) % IDS
        yield f"{place or 1:016x}"
