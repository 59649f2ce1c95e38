"""The ledger: what the journal says, summed by hour in SQL, each record exactly once.

How far a segment has been read is stored in the transaction that adds what was read. So an import may be
killed, repeated or run twice at once, and changes nothing that is there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.sqlite import insert

from lambent.core.errors import LambentError
from lambent.core.invocation import Status
from lambent.core.pricing import METERS, Meter
from lambent.metering.journal import Entry, UsageRecord
from lambent.metering.segment import MAGIC, frames, segments_in
from lambent.storage.sql_database import Database, columns, one
from lambent.storage.tables import USAGE_HOURS, USAGE_SEGMENTS
from lambent.wire.typed import from_fields, unpacker

IMPORT_EVERY_S: Final = 5.0
# In the background it computes for less than a millisecond at a time: a request needs the interpreter several
# times, and would wait for it each time that it comes back from the kernel.
BREATH_RECORDS: Final = 64
BREATH_S: Final = 0.004
HOUR_MS: Final = 3_600_000
# A gibibyte of journal that has been imported is kept for those who want to see single invocations.
SEGMENTS_KEPT_MAX: Final = 128

log: Final = logging.getLogger(__name__)


class UsageHour(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment used within one hour at one size of memory.

    `billed_ms` is what its users were told; `readings` is the billed time in milliseconds as each meter of
    `core.pricing` reads it, by the meter's label.
    """

    project: str
    deployment: str
    hour_unix_ms: int
    memory_bytes: int
    invocations: int = 0
    failed: int = 0
    cold_starts: int = 0
    run_us: int = 0
    cpu_us: int = 0
    billed_ms: int = 0
    billed_init_ms: int = 0
    readings: dict[str, int] = {}
    request_bytes: int = 0
    response_bytes: int = 0


BY_LABEL: Final[Mapping[str, Meter]] = {meter.label: meter for meter in METERS}
KEY: Final = ("project", "deployment", "hour_unix_ms", "memory_bytes")
SUMS: Final = tuple(name for name in UsageHour.__struct_fields__ if name not in (*KEY, "readings"))


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What one import brought in; `torn_records` counts stretches of the journal that could not be read."""

    records: int = 0
    torn_records: int = 0


class Ledger:
    """Reads the journal in `folder` into the database. Methods block and may be called from any thread."""

    def __init__(
        self, database: Database, folder: Path, *, segments_kept_max: int = SEGMENTS_KEPT_MAX
    ) -> None:
        self._database = database
        self._folder = folder
        self._segments_kept_max = segments_kept_max
        self._decoder: Final[msgspec.msgpack.Decoder[Entry]] = unpacker(Entry)
        self._stopping: Final = threading.Event()

    async def run(self, *, every_s: float = IMPORT_EVERY_S) -> None:
        """Import again and again until cancelled. What fails is logged, and tried again."""
        try:
            while True:
                await self._import()
                await asyncio.sleep(every_s)
        finally:
            self._stopping.set()

    async def _import(self) -> None:
        try:
            imported = await asyncio.to_thread(self.catch_up, self._breathe)
            if imported.torn_records:
                log.warning("usage_unreadable", extra={"records": imported.torn_records})
        except LambentError as error:
            log.warning("usage_import_failed", extra={"reason": error.message})
        except Exception:
            log.exception("usage_import_failed")

    def _breathe(self) -> None:
        self._stopping.wait(BREATH_S)

    def catch_up(self, breathe: Callable[[], object] | None = None) -> Imported:
        """Bring in whatever has been appended since the last time. Raises `StorageFull`, `PlatformFault`.

        `breathe` is called after every few records, for who has time.
        """
        segments = segments_in(self._folder) if self._folder.is_dir() else []
        offsets = self._offsets()
        records = torn_records = 0
        for segment in segments:
            offset = offsets.get(segment.name, 0)
            if segment.stat().st_size <= offset:
                continue
            stretch = self._read(segment, offset, breathe)
            if segment != segments[-1]:
                stretch = stretch.closed()
            if self._store(segment, offset, stretch):
                records += stretch.records
                torn_records += stretch.torn_records
        self._let_go(segments[: -self._segments_kept_max])
        return Imported(records=records, torn_records=torn_records)

    def hours(self, project: str, *, since_unix_ms: int, until_unix_ms: int) -> Sequence[UsageHour]:
        """The hours of a project that begin in the period, by deployment and time."""
        query = (
            select(USAGE_HOURS)
            .where(
                USAGE_HOURS.c.project == project,
                USAGE_HOURS.c.hour_unix_ms >= since_unix_ms,
                USAGE_HOURS.c.hour_unix_ms < until_unix_ms,
            )
            .order_by(*(USAGE_HOURS.c[name] for name in KEY))
        )
        with self._database.reading() as connection:
            return [one(row, UsageHour) for row in connection.execute(query).mappings()]

    def end_unix_ms(self, project: str) -> int:
        """When the last hour ends in which a project used anything; 0 if it never did."""
        query = select(func.max(USAGE_HOURS.c.hour_unix_ms)).where(USAGE_HOURS.c.project == project)
        with self._database.reading() as connection:
            newest: int | None = connection.execute(query).scalar_one()
            return 0 if newest is None else newest + HOUR_MS

    def torn_records(self) -> int:
        """How many stretches of the journal could not be read, ever."""
        with self._database.reading() as connection:
            query = select(func.coalesce(func.sum(USAGE_SEGMENTS.c.torn_records), 0))
            torn: int = connection.execute(query).scalar_one()
            return torn

    def _let_go(self, old: Sequence[Path]) -> None:
        """Remove old segments, each only if all of it is in the ledger."""
        offsets = self._offsets() if old else {}
        for segment in old:
            if offsets.get(segment.name, 0) >= segment.stat().st_size:
                segment.unlink()

    def _offsets(self) -> dict[str, int]:
        with self._database.reading() as connection:
            query = select(USAGE_SEGMENTS.c.segment, USAGE_SEGMENTS.c.offset_bytes)
            return {row.segment: row.offset_bytes for row in connection.execute(query)}

    def _read(self, segment: Path, offset: int, breathe: Callable[[], object] | None) -> _Stretch:
        content = _durable(segment, offset)
        end = len(MAGIC) if offset == 0 and content.startswith(MAGIC) else 0
        tallies: dict[tuple[str, str, int, int], _Tally] = {}
        records = torn_records = 0
        for frame in frames(content, end):
            end = frame.end
            torn_records += frame.after_damage
            if breathe is not None and records % BREATH_RECORDS == 0:
                breathe()
            match self._entry(frame.payload):
                case UsageRecord() as record:
                    key = _key(record)
                    if key not in tallies:
                        tallies[key] = _Tally()
                    tallies[key].add(record)
                    records += 1
                case _:
                    torn_records += 1
        return _Stretch(
            hours=tuple(tally.hour(key) for key, tally in tallies.items()),
            records=records,
            torn_records=torn_records,
            end=end,
            size_bytes=len(content),
        )

    def _entry(self, payload: memoryview) -> Entry | None:
        try:
            return self._decoder.decode(payload)
        except msgspec.DecodeError:
            return None  # whole, but written by something else: counted as unreadable

    def _store(self, segment: Path, offset: int, stretch: _Stretch) -> bool:
        """Add a stretch, unless another import has been faster: then nothing, and the answer is False."""
        with self._database.writing() as connection:
            if _offset(connection, segment.name) != offset:
                return False
            for hour in stretch.hours:
                _add(connection, hour)
            _advance(connection, segment.name, offset + stretch.end, stretch.torn_records)
        return True


class _Tally:
    """The sums of one hour while they grow: a value for each of a backlog's records would be slow."""

    def __init__(self) -> None:
        self._sums: Final = Counter[str]()
        self._readings: Final = Counter[str]()

    def add(self, record: UsageRecord) -> None:
        sums = self._sums
        sums["invocations"] += 1
        sums["failed"] += record.status is not Status.OK
        sums["cold_starts"] += record.cold_start
        sums["run_us"] += record.run_us
        sums["cpu_us"] += record.cpu_us
        sums["billed_ms"] += record.billed_ms
        sums["billed_init_ms"] += record.billed_init_ms
        sums["request_bytes"] += record.request_bytes
        sums["response_bytes"] += record.response_bytes
        for label, meter in BY_LABEL.items():
            self._readings[label] += meter.read(run_us=record.run_us, init_us=record.billed_init_ms * 1000)

    def hour(self, key: tuple[str, str, int, int]) -> UsageHour:
        fields = dict(zip(KEY, key, strict=True))
        return from_fields({**fields, **self._sums, "readings": dict(self._readings)}, UsageHour)


class _Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a segment: up to `end`, of the `size_bytes` that are there."""

    hours: tuple[UsageHour, ...]
    records: int
    torn_records: int
    end: int
    size_bytes: int

    def closed(self) -> _Stretch:
        """The same of a segment to which nothing will be added: what stands behind the end is torn."""
        if self.end == self.size_bytes:
            return self
        return msgspec.structs.replace(self, end=self.size_bytes, torn_records=self.torn_records + 1)


def _durable(segment: Path, offset: int) -> bytes:
    """What a segment holds from `offset` on, and will still hold after a power cut.

    The journal brings its records to the disk in its own time. Were one counted before, and then lost, the
    ledger would be ahead of the journal and pass over what is written in its place.
    """
    file = os.open(segment, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes = os.fstat(file).st_size - offset
        os.fdatasync(file)
        return os.pread(file, size_bytes, offset)
    finally:
        os.close(file)


def _sum(left: UsageHour, right: UsageHour) -> UsageHour:
    """Two sums of the same hour as one. A meter that only one has read keeps that one's time."""
    labels = left.readings.keys() | right.readings.keys()
    return msgspec.structs.replace(
        left,
        readings={label: left.readings.get(label, 0) + right.readings.get(label, 0) for label in labels},
        **{name: getattr(left, name) + getattr(right, name) for name in SUMS},
    )


def _key(record: UsageRecord) -> tuple[str, str, int, int]:
    """Values of `KEY`."""
    hour_unix_ms = record.started_unix_ms - record.started_unix_ms % HOUR_MS
    return (record.project, record.deployment, hour_unix_ms, record.memory_bytes)


def _add(connection: Connection, hour: UsageHour) -> None:
    same = [USAGE_HOURS.c[name] == getattr(hour, name) for name in KEY]
    before = connection.execute(select(USAGE_HOURS).where(*same)).mappings().first()
    fields = columns(hour if before is None else _sum(one(before, UsageHour), hour))
    connection.execute(
        insert(USAGE_HOURS).values(fields).on_conflict_do_update(index_elements=KEY, set_=fields)
    )


def _offset(connection: Connection, segment: str) -> int:
    query = select(USAGE_SEGMENTS.c.offset_bytes).where(USAGE_SEGMENTS.c.segment == segment)
    return connection.execute(query).scalar_one_or_none() or 0


def _advance(connection: Connection, segment: str, offset: int, torn_records: int) -> None:
    new = insert(USAGE_SEGMENTS).values(segment=segment, offset_bytes=offset, torn_records=torn_records)
    connection.execute(
        new.on_conflict_do_update(
            index_elements=["segment"],
            set_={
                "offset_bytes": offset,
                "torn_records": USAGE_SEGMENTS.c.torn_records + torn_records,
            },
        )
    )
