"""Usage records for tests: one invocation with what a test does not care about filled in."""

from pathlib import Path

import msgspec

from lambent.core.invocation import Status
from lambent.core.spec import Kind, Temperature
from lambent.metering.journal import UsageRecord
from lambent.metering.segment import frames, segments_in

HOUR_MS = 3_600_000
NOON_UNIX_MS = 472_222 * HOUR_MS
MIB = 1 << 20

TYPICAL = UsageRecord(
    invocation="11111111-2222-4333-a444-555555555555",
    project="default",
    deployment="digits",
    revision="0123456789abcdef",
    kind=Kind.MODEL,
    status=Status.OK,
    started_unix_ms=NOON_UNIX_MS,
    run_us=2_500,
    billed_ms=3,
    billed_init_ms=0,
    memory_bytes=512 * MIB,
    memory_used_bytes=90 * MIB,
    cpu_us=2_000,
    temperature=Temperature.HOT,
    request_bytes=1_000,
    response_bytes=200,
)


def used(**fields: object) -> UsageRecord:
    """A typical record with these fields changed."""
    return msgspec.structs.replace(TYPICAL, **fields)


def records_of(state_dir: Path) -> list[UsageRecord]:
    """All records in the journal of a server, in their order."""
    contents = [segment.read_bytes() for segment in segments_in(state_dir / "usage")]
    return [
        msgspec.msgpack.decode(frame.payload, type=UsageRecord)
        for content in contents
        for frame in frames(content, 0)
    ]
