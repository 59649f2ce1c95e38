"""A store for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lambent.storage import sql_database
from lambent.storage.sql import SqlStore
from tests.unit.jobs.durable import open_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    # Hours of virtual time are thousands of transactions. What a kill leaves is tested elsewhere.
    fast = [pragma.replace("synchronous=FULL", "synchronous=OFF") for pragma in sql_database.PRAGMAS]
    monkeypatch.setattr(sql_database, "PRAGMAS", fast)
    opened = open_store(tmp_path)
    yield opened
    opened.close()
