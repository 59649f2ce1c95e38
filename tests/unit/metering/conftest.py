"""A journal, a ledger and the database between them, in a fresh folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambent.metering.journal import Journal, UsageRecord
from lambent.metering.ledger import Ledger
from lambent.storage.sql import SqlStore
from tests.support.virtual_time import ManualClock

Write = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "usage"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore.open(tmp_path / "lambent.db", ManualClock())
    yield store
    store.close()


@pytest.fixture
def ledger(store: SqlStore, folder: Path) -> Ledger:
    return Ledger(store.database, folder)


@pytest.fixture
def write(folder: Path) -> Write:
    """Appends records to the journal and closes it again."""

    def append(*records: UsageRecord, segment_bytes_max: int = 1 << 20) -> None:
        journal = Journal.open(folder, segment_bytes_max=segment_bytes_max)
        for record in records:
            journal.append(record)
        journal.close()

    return append
