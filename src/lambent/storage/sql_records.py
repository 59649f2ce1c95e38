"""Runs and keys, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, Table, delete, select
from sqlalchemy.dialects.sqlite import insert

from lambent.core.errors import NotFound
from lambent.storage.base import Key, Run, RunState
from lambent.storage.sql_database import Database, columns, one
from lambent.storage.tables import KEYS, RUNS

UNFINISHED: Final = (RunState.QUEUED, RunState.RUNNING)


class SqlRuns:
    """Runs of jobs; implements `storage.base.Runs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, run: Run) -> None:
        """Insert or replace by id."""
        with self._database.writing() as connection:
            _put(connection, RUNS, run)

    def find(self, run: str) -> Run | None:
        """The run of that id, or None."""
        with self._database.reading() as connection:
            row = connection.execute(_fields(RUNS).where(RUNS.c.id == run)).mappings().first()
        return None if row is None else one(row, Run)

    def all(
        self, project: str, *, job: str = "", for_deployment: str = "", limit: int = 100
    ) -> Sequence[Run]:
        """Newest first, at most `limit`."""
        # By the order in which they came: the clock that stamped them may have been set back meanwhile.
        newest = _fields(RUNS).order_by(RUNS.c.sequence.desc()).limit(limit)
        query = newest.where(RUNS.c.project == project)
        if job:
            query = query.where(RUNS.c.job == job)
        if for_deployment:
            query = query.where(RUNS.c.for_deployment == for_deployment)
        with self._database.reading() as connection:
            return [one(row, Run) for row in connection.execute(query).mappings()]

    def interrupt_unfinished(self, reason: str, *, now_unix_ms: int) -> Sequence[Run]:
        """At start: what was queued or running is marked interrupted, with the reason; returns those."""
        query = _fields(RUNS).where(RUNS.c.state.in_(UNFINISHED)).order_by(RUNS.c.sequence)
        with self._database.writing() as connection:
            unfinished = [one(row, Run) for row in connection.execute(query).mappings()]
            ended = [
                msgspec.structs.replace(
                    run, state=RunState.INTERRUPTED, reason=reason, ended_unix_ms=now_unix_ms
                )
                for run in unfinished
            ]
            for run in ended:
                _put(connection, RUNS, run)
        return ended


class SqlKeys:
    """Keys of projects; implements `storage.base.Keys`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, key: Key) -> None:
        """Insert or replace by id."""
        with self._database.writing() as connection:
            _put(connection, KEYS, key)

    def find(self, key_id: str) -> Key | None:
        """The key of that id, or None."""
        with self._database.reading() as connection:
            row = connection.execute(select(KEYS).where(KEYS.c.id == key_id)).mappings().first()
        return None if row is None else one(row, Key)

    def all(self, project: str) -> Sequence[Key]:
        """Oldest first."""
        query = select(KEYS).where(KEYS.c.project == project).order_by(KEYS.c.created_unix_ms, KEYS.c.id)
        with self._database.reading() as connection:
            return [one(row, Key) for row in connection.execute(query).mappings()]

    def remove(self, project: str, key_id: str) -> None:
        """Forget a key: it opens nothing from now on. Raises `NotFound`."""
        with self._database.writing() as connection:
            gone = connection.execute(delete(KEYS).where(KEYS.c.project == project, KEYS.c.id == key_id))
            if not gone.rowcount:
                raise NotFound(f"no key {key_id!r}")


def _put(connection: Connection, table: Table, value: msgspec.Struct) -> None:
    # Not INSERT OR REPLACE, which deletes the row first and would give it a new place in the sequence.
    fields = columns(value)
    connection.execute(insert(table).values(fields).on_conflict_do_update(index_elements=["id"], set_=fields))


def _fields(table: Table) -> Select[Any]:
    """A query of every column that is a field of the struct."""
    return select(*(column for column in table.c if column.name != "sequence"))
