"""The ledger counts every record once, however often and however interrupted it reads the journal."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from lambent.core.errors import StorageFull
from lambent.core.invocation import Status
from lambent.core.pricing import METERS
from lambent.core.spec import Kind, Temperature
from lambent.metering.journal import Journal, UsageRecord
from lambent.metering.ledger import BREATH_RECORDS, Imported, Ledger, UsageHour
from lambent.metering.segment import framed, segments_in
from lambent.storage.sql import SqlStore
from lambent.storage.sql_database import Database
from tests.support.full_disk import fill, is_mounted, small_disk
from tests.support.patience import PATIENT_S
from tests.support.usage import HOUR_MS, MIB, NOON_UNIX_MS, used
from tests.support.virtual_time import ManualClock

Write = Callable[..., None]

records = st.builds(
    used,
    project=st.sampled_from(["default", "second"]),
    deployment=st.sampled_from(["digits", "hello"]),
    started_unix_ms=st.integers(NOON_UNIX_MS - HOUR_MS, NOON_UNIX_MS + HOUR_MS),
    run_us=st.integers(0, 3_000_000),
    billed_ms=st.integers(1, 3_000),
    billed_init_ms=st.integers(0, 5_000),
    memory_bytes=st.sampled_from([128 * MIB, 512 * MIB]),
    status=st.sampled_from(Status),
    temperature=st.sampled_from(Temperature),
    kind=st.sampled_from(Kind),
)


def all_hours(ledger: Ledger, project: str = "default") -> Sequence[UsageHour]:
    return ledger.hours(project, since_unix_ms=0, until_unix_ms=2**52)


def test_a_record_is_counted_in_its_hour_with_all_that_it_used(ledger: Ledger, write: Write) -> None:
    write(
        used(started_unix_ms=NOON_UNIX_MS + HOUR_MS - 1, run_us=120_001, billed_ms=121),
        used(
            started_unix_ms=NOON_UNIX_MS,
            run_us=1_000,
            billed_ms=1,
            billed_init_ms=200,
            status=Status.TIMED_OUT,
            temperature=Temperature.PRIMED,
        ),
    )
    assert ledger.catch_up() == Imported(records=2)
    (hour,) = all_hours(ledger)
    assert hour == UsageHour(
        project="default",
        deployment="digits",
        hour_unix_ms=NOON_UNIX_MS,
        memory_bytes=512 * MIB,
        invocations=2,
        failed=1,
        cold_starts=1,
        run_us=121_001,
        cpu_us=4_000,
        billed_ms=122,
        billed_init_ms=200,
        readings={
            meter.label: meter.read(run_us=120_001) + meter.read(run_us=1_000, init_us=200_000)
            for meter in METERS
        },
        request_bytes=2_000,
        response_bytes=400,
    )
    assert hour.readings["1ms"] == 122
    assert hour.readings["1ms+init"] == 322
    assert hour.readings["100ms"] == 300


def test_hours_deployments_and_sizes_of_memory_are_kept_apart(ledger: Ledger, write: Write) -> None:
    write(
        used(),
        used(deployment="hello"),
        used(memory_bytes=MIB),
        used(started_unix_ms=NOON_UNIX_MS - 1),
        used(project="second"),
        used(),
    )
    ledger.catch_up()
    assert [
        (hour.deployment, hour.hour_unix_ms, hour.memory_bytes, hour.invocations)
        for hour in all_hours(ledger)
    ] == [
        ("digits", NOON_UNIX_MS - HOUR_MS, 512 * MIB, 1),
        ("digits", NOON_UNIX_MS, MIB, 1),
        ("digits", NOON_UNIX_MS, 512 * MIB, 2),
        ("hello", NOON_UNIX_MS, 512 * MIB, 1),
    ]
    period = ledger.hours("default", since_unix_ms=NOON_UNIX_MS - HOUR_MS, until_unix_ms=NOON_UNIX_MS)
    assert [hour.hour_unix_ms for hour in period] == [NOON_UNIX_MS - HOUR_MS]
    assert [hour.invocations for hour in all_hours(ledger, "second")] == [1]


def test_a_run_of_a_job_is_no_cold_start(ledger: Ledger, write: Write) -> None:
    write(used(kind=Kind.JOB, temperature=Temperature.COLD))
    ledger.catch_up()
    assert all_hours(ledger)[0].cold_starts == 0


def test_importing_again_changes_nothing(ledger: Ledger, write: Write, store: SqlStore, folder: Path) -> None:
    write(*[used(invocation=str(number)) for number in range(40)], segment_bytes_max=1000)
    ledger.catch_up()
    before = all_hours(ledger)
    assert ledger.catch_up() == Imported()
    assert Ledger(store.database, folder).catch_up() == Imported()
    assert all_hours(ledger) == before
    assert before[0].invocations == 40


def test_an_import_in_the_background_gives_way_after_every_few_records(ledger: Ledger, write: Write) -> None:
    write(*[used(invocation=str(number)) for number in range(3 * BREATH_RECORDS)])
    breaths: list[None] = []
    assert ledger.catch_up(lambda: breaths.append(None)) == Imported(records=3 * BREATH_RECORDS)
    assert len(breaths) == 3
    assert all_hours(ledger)[0].invocations == 3 * BREATH_RECORDS


def test_what_is_appended_later_is_added(ledger: Ledger, folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes_max=1000)
    for number in range(1, 30):
        journal.append(used())
        assert ledger.catch_up() == Imported(records=1)
        assert all_hours(ledger)[0].invocations == number
    journal.close()


def test_two_imports_at_once_count_every_record_once(store: SqlStore, folder: Path, write: Write) -> None:
    write(*[used() for _ in range(500)], segment_bytes_max=2000)
    ledgers = [Ledger(store.database, folder) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda ledger: ledger.catch_up(), ledgers))
    assert all_hours(ledgers[0])[0].invocations == 500
    assert sum(imported.records for imported in found) == 500
    assert ledgers[0].torn_records() == 0


def test_a_killed_import_counts_every_record_once(
    ledger: Ledger, write: Write, tmp_path: Path, folder: Path
) -> None:
    story = """
import os, signal, sys
from pathlib import Path
from lambent.clock import SystemClock
from lambent.metering import ledger
from lambent.storage.sql import SqlStore
from lambent.storage.sql_database import Database
advance, turns = ledger._advance, 0
def killed(*arguments):
    global turns
    turns += 1
    if turns == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # the sums are written, the offset is not, nothing is committed
    advance(*arguments)
ledger._advance = killed
ledger.Ledger(SqlStore.open(sys.argv[1], SystemClock()).database, Path(sys.argv[2])).catch_up()
"""
    write(*[used() for _ in range(100)], segment_bytes_max=1000)
    done = subprocess.run(
        [sys.executable, "-c", story, str(tmp_path / "lambent.db"), str(folder)],
        timeout=PATIENT_S,
        check=False,
    )
    assert done.returncode == -9
    assert 0 < all_hours(ledger)[0].invocations < 100
    ledger.catch_up()
    assert all_hours(ledger)[0].invocations == 100


def test_what_cannot_be_read_is_passed_over_and_counted(ledger: Ledger, write: Write, folder: Path) -> None:
    write(*[used(invocation=str(number)) for number in range(30)], segment_bytes_max=1000)
    first, second, *_ = segments_in(folder)
    damaged = bytearray(first.read_bytes())
    damaged[200] ^= 0xFF
    first.write_bytes(damaged)
    second.write_bytes(second.read_bytes()[:-5])
    imported = ledger.catch_up()
    assert imported == Imported(records=28, torn_records=2)
    assert ledger.torn_records() == 2
    assert ledger.catch_up() == Imported()


def test_the_end_of_the_last_segment_is_not_torn_but_unfinished(ledger: Ledger, folder: Path) -> None:
    journal = Journal.open(folder)
    journal.append(used())
    (segment,) = segments_in(folder)
    whole = framed(msgspec.msgpack.encode(used(invocation="second")))
    with segment.open("ab") as file:
        file.write(whole[:20])
        file.flush()
        assert ledger.catch_up() == Imported(records=1)
        file.write(whole[20:])
    assert ledger.catch_up() == Imported(records=1)
    assert ledger.torn_records() == 0
    journal.close()


def test_a_torn_end_that_the_journal_cut_off_is_counted_once(
    ledger: Ledger, write: Write, folder: Path
) -> None:
    write(used(), used())
    (segment,) = segments_in(folder)
    segment.write_bytes(segment.read_bytes()[:-5])
    write(used())
    assert ledger.catch_up() == Imported(records=2, torn_records=1)
    write(used())
    assert ledger.catch_up() == Imported(records=1)
    assert ledger.torn_records() == 1


def test_a_whole_frame_of_another_make_is_counted_as_unreadable(ledger: Ledger, folder: Path) -> None:
    Journal.open(folder).close()
    journal = Journal.open(folder)
    journal.append(used())
    (segment,) = segments_in(folder)
    with segment.open("ab") as file:
        file.write(framed(msgspec.msgpack.encode(["of tomorrow", 1])))
    journal.append(used())
    assert ledger.catch_up() == Imported(records=2, torn_records=1)
    journal.close()


def test_a_record_with_fields_of_tomorrow_is_read(ledger: Ledger, folder: Path) -> None:
    journal = Journal.open(folder)
    journal.append(used())
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(used()))
    (segment,) = segments_in(folder)
    with segment.open("ab") as file:
        file.write(framed(msgspec.msgpack.encode([*fields, "a field of tomorrow"])))
    assert ledger.catch_up() == Imported(records=2)
    journal.close()


def test_a_journal_that_was_wiped_is_not_taken_for_the_old_one(
    ledger: Ledger, write: Write, folder: Path
) -> None:
    write(*[used() for _ in range(9)])
    ledger.catch_up()
    for segment in segments_in(folder):
        segment.unlink()
    write(used())
    assert ledger.catch_up() == Imported(records=1)
    assert all_hours(ledger)[0].invocations == 10


def test_only_old_segments_that_are_in_the_ledger_go(store: SqlStore, folder: Path, write: Write) -> None:
    ledger = Ledger(store.database, folder, segments_kept_max=2)
    write(*[used() for _ in range(100)], segment_bytes_max=1000)
    newest = segments_in(folder)[-2:]
    assert ledger.catch_up() == Imported(records=100)
    assert segments_in(folder) == newest
    write(used())
    assert ledger.catch_up() == Imported(records=1)
    assert all_hours(ledger)[0].invocations == 101


def test_no_journal_is_no_usage(ledger: Ledger) -> None:
    assert ledger.catch_up() == Imported()
    assert all_hours(ledger) == []


class Heard(logging.Handler):
    """Sets an event when something is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


def test_a_database_that_is_busy_is_logged_and_read_into_later(
    store: SqlStore, tmp_path: Path, folder: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write(used())
    busy = sqlite3.connect(store.database.path, isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")
    database = Database(store.database.path, busy_timeout_ms=20)
    ledger = Ledger(database, folder)

    async def story() -> None:
        heard = Heard()
        logging.getLogger("lambent.metering.ledger").addHandler(heard)
        task = asyncio.create_task(ledger.run())
        await asyncio.wait_for(heard.event.wait(), timeout=PATIENT_S)
        logging.getLogger("lambent.metering.ledger").removeHandler(heard)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    busy.close()
    assert [message.message for message in caplog.records] == ["usage_import_failed"]
    assert all_hours(ledger) == []
    assert ledger.catch_up() == Imported(records=1)
    database.close()


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path: Path, folder: Path, write: Write) -> None:
    write(*[used(deployment=f"d-{number}") for number in range(600)])
    with small_disk(tmp_path / "disk", room_bytes=MIB) as disk:
        store = SqlStore.open(disk / "lambent.db", ManualClock())
        ledger = Ledger(store.database, folder)
        if is_mounted(disk):
            fill(disk)
            with pytest.raises(StorageFull):
                ledger.catch_up()
            assert all_hours(ledger) == []
            (disk / "ballast").unlink()
        assert ledger.catch_up() == Imported(records=600)
        store.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records, min_size=1, max_size=30), st.integers(0, 3), st.integers(300, 3000))
def test_the_ledger_adds_up_to_the_journal(
    tmp_path_factory: pytest.TempPathFactory, written: list[UsageRecord], pauses: int, segment_bytes_max: int
) -> None:
    home = tmp_path_factory.mktemp("law")
    store = SqlStore.open(home / "lambent.db", ManualClock())
    ledger = Ledger(store.database, home / "usage")
    journal = Journal.open(home / "usage", segment_bytes_max=segment_bytes_max)
    for turn, record in enumerate(written):
        journal.append(record)
        if pauses and turn % (4 - pauses) == 0:
            ledger.catch_up()
    ledger.catch_up()
    journal.close()
    hours = [*all_hours(ledger), *all_hours(ledger, "second")]
    store.close()
    assert sum(hour.invocations for hour in hours) == len(written)
    for name in ("run_us", "billed_ms", "billed_init_ms", "cpu_us"):
        assert sum(getattr(hour, name) for hour in hours) == sum(getattr(record, name) for record in written)
    for meter in METERS:
        assert sum(hour.readings[meter.label] for hour in hours) == sum(
            meter.read(run_us=record.run_us, init_us=record.billed_init_ms * 1000) for record in written
        )
