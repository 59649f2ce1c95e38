"""The trace that a request says it belongs to, in its headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lambent.core.tracing import Trace, read_parent
from lambent.gateway.responses import Header

PARENT: Final = b"traceparent"
STATE: Final = b"tracestate"
XRAY: Final = b"x-amzn-trace-id"


def trace_of(headers: Mapping[bytes, bytes], listed: Iterable[Header]) -> Trace | None:
    """What `headers` say, of which `listed` has those that come twice. `None` for nothing that is valid.

    Two different parents are none (Trace Context level 1, section 3.2), a list of states may come in parts.
    """
    if PARENT not in headers and XRAY not in headers:
        return None
    parents, states = set[bytes](), list[str]()
    for name, value in listed:
        if name == PARENT:
            parents.add(value)
        elif name == STATE:
            states.append(value.decode("latin-1"))
    parent = parents.pop().decode("latin-1") if len(parents) == 1 else ""
    return read_parent(parent, states, xray=headers.get(XRAY, b"").decode("latin-1"))
