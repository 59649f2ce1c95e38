"""A batch on a real worker's stream: several bodies in one frame, several ends in its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lambent.core.invocation import JSON, FunctionError, Status
from lambent.wire.frames import Batch, Call, encode
from tests.support.templates import Worker


def together(worker: Worker, bodies: Sequence[object], *, content_type: str = JSON) -> list[Any]:
    """What each of them came to when they were sent as one: a decoded result, or its `FunctionError`."""
    raw = [body if isinstance(body, bytes) else msgspec.json.encode(body) for body in bodies]
    calls = tuple(Call(1, f"call-{place}", 60_000.0, content_type) for place, _ in enumerate(raw))
    worker.write(encode(Batch(1, calls, tuple(map(len, raw))), b"".join(raw)))
    answer, said = worker.answer()
    assert (answer.status, len(answer.each)) == (Status.OK, len(raw))
    ends, start = [], 0
    for each in answer.each:
        end = said[start : start + each.size_bytes]
        start += each.size_bytes
        kind: Any = Any if each.status is Status.OK else FunctionError
        ends.append(msgspec.json.decode(end, type=kind) if each.content_type == JSON else end)
    assert start == len(said)
    return ends
