"""User code that makes spans with OpenTelemetry finds the invocation as their parent.

Nothing is imported for that: where user code has not imported OpenTelemetry's API, there is nothing to do.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from lambent.core.tracing import parent_from
from lambent.wire.frames import Call


def enter(call: Call) -> None:
    """Make the call's span the current one, in this context and until the next call enters it."""
    trace, context = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.context")
    if trace is None or context is None:
        return
    _, trace_id, span_id, flags = parent_from(call.invocation_id, call.trace).split("-")
    state = [call.trace.state] if call.trace is not None and call.trace.state else []
    # It is the user's package, of whatever version: one that is no API of ours costs the parent alone.
    with suppress(AttributeError, TypeError, ValueError):
        parent = trace.SpanContext(
            trace_id=int(trace_id, 16),
            span_id=int(span_id, 16),
            is_remote=True,
            trace_flags=trace.TraceFlags(int(flags, 16)),
            trace_state=trace.TraceState.from_header(state),
        )
        span = trace.NonRecordingSpan(parent)
        context.attach(trace.set_span_in_context(span, context.Context()))
