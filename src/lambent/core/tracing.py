"""Where an invocation belongs among all that one request caused: W3C Trace Context, and AWS X-Ray's header.

An invocation is one span, and its name is in its id: the last 64 bits are the span's id, and all 128 are the
trace's id where it begins one. So a call that comes without a header costs nothing, and who knows an
invocation's id knows its span.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

FLAGS: Final = "03"  # of a trace that begins here: recorded, and its id is random (level 2, section 3.2.2.5)
STATE_CHARACTERS_MAX: Final = 4096  # of `tracestate`; 512 must be passed on
STATE_MEMBERS_MAX: Final = 32

# Level 1, section 3.2.2. A later version may add fields to the four that are known, behind another dash.
_PARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# Level 1, section 3.3.1.3, with the keys of level 2, which may begin with a digit.
_MEMBER: Final = re.compile(
    r"(?:[a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_XRAY_ROOT: Final = re.compile(r"(?:^|;)\s*Root=1-([0-9a-f]{8})-([0-9a-f]{24})(?:;|$)")
_XRAY_PARENT: Final = re.compile(r"(?:^|;)\s*Parent=([0-9a-f]{16})(?:;|$)")
_XRAY_SAMPLED: Final = re.compile(r"(?:^|;)\s*Sampled=0(?:;|$)")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


class Trace(msgspec.Struct, frozen=True, array_like=True):
    """The trace that an invocation was asked for in. `parent_id` is the span of who asked.

    `state` is the `tracestate` that came with it, `xray` the `X-Amzn-Trace-Id`; both are handed on untouched.
    """

    trace_id: str
    parent_id: str
    flags: str = FLAGS
    state: str = ""
    xray: str = ""


_traces: Final = msgspec.json.Decoder(Trace)


def read_parent(traceparent: str, tracestate: Iterable[str] = (), *, xray: str = "") -> Trace | None:
    """What the headers of a request say; `None` where nothing, or nothing that is valid.

    `traceparent` wins over `xray`. Without a valid `traceparent`, `tracestate` means nothing (level 1, 3.3).
    """
    found = _PARENT.fullmatch(traceparent.strip(" \t"))
    if found is not None:
        version, trace_id, parent_id, flags, more = found.groups()
        if trace_id != _NO_TRACE and parent_id != _NO_SPAN and not (version == "00" and more):
            # Of the flags two are known, and no others may be set by who writes version 00.
            known = f"{int(flags, 16) & 3:02x}"
            return Trace(trace_id, parent_id, known, _state(tracestate), xray)
    return _read_xray(xray) if xray else None


def asked_by(invocation_id: str, trace: Trace | None) -> Trace:
    """The trace of what the invocation asks for."""
    if trace is None:
        return Trace(trace_id_of(invocation_id, trace), span_of(invocation_id))
    return msgspec.structs.replace(trace, parent_id=span_of(invocation_id))


def span_of(invocation_id: str) -> str:
    """The span of an invocation."""
    return invocation_id[19:23] + invocation_id[24:]


def parent_from(invocation_id: str, trace: Trace | None) -> str:
    """The `traceparent` that the invocation itself writes: whoever reads it is its child."""
    flags = FLAGS if trace is None else trace.flags
    return f"00-{trace_id_of(invocation_id, trace)}-{span_of(invocation_id)}-{flags}"


def xray_from(invocation_id: str, trace: Trace | None) -> str:
    """The `X-Amzn-Trace-Id` that user code is told: the one that came, or what it would be."""
    if trace is not None and trace.xray:
        return trace.xray
    trace_id = trace_id_of(invocation_id, trace)
    sampled = int(FLAGS if trace is None else trace.flags, 16) & 1
    return f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={span_of(invocation_id)};Sampled={sampled}"


def trace_id_of(invocation_id: str, trace: Trace | None) -> str:
    """The trace that an invocation belongs to."""
    return invocation_id.replace("-", "") if trace is None else trace.trace_id


def trace_as_text(trace: Trace | None) -> str:
    """To be kept; empty for none."""
    return msgspec.json.encode(trace).decode() if trace is not None else ""


def trace_from(text: str) -> Trace | None:
    """What was kept."""
    return _traces.decode(text) if text else None


def _state(headers: Iterable[str]) -> str:
    """All of them are one list, which may have empty places. A damaged or long one is left out as a whole."""
    together = ",".join(headers)
    if len(together) > STATE_CHARACTERS_MAX:
        return ""
    members = [member for one in together.split(",") if (member := one.strip(" \t"))]
    is_valid = len(members) <= STATE_MEMBERS_MAX and all(map(_MEMBER.fullmatch, members))
    return ",".join(members) if is_valid else ""


def _read_xray(xray: str) -> Trace | None:
    root = _XRAY_ROOT.search(xray)
    if root is None:
        return None
    parent = _XRAY_PARENT.search(xray)
    trace_id = root[1] + root[2]
    # Where nobody is named, the trace itself stands for who asked, as in other readers of this header.
    return Trace(
        trace_id,
        parent[1] if parent else trace_id[16:],
        "00" if _XRAY_SAMPLED.search(xray) else "01",
        "",
        xray,
    )
