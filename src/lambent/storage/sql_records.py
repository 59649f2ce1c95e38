"""Runs and keys, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, Table, Text, cast, delete, select
from sqlalchemy.dialects.sqlite import insert

from lambent.core.errors import NotFound
from lambent.storage.base import Key, Run, RunState, RunsWanted
from lambent.storage.sql_database import Database, columns, one
from lambent.storage.tables import KEYS, RUNS

UNFINISHED: Final = (RunState.QUEUED, RunState.RUNNING)
EVERY_RUN: Final = RunsWanted()


class SqlRuns:
    """Runs of jobs; implements `storage.base.Runs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, run: Run) -> None:
        """Insert or replace by id."""
        self.put_all([run])

    def put_all(self, runs: Sequence[Run]) -> None:
        """Insert or replace each by its id, all in one transaction."""
        query = insert(RUNS)
        changed = {name: query.excluded[name] for name in Run.__struct_fields__}
        # Not INSERT OR REPLACE, which deletes the row first and would give it a new place in the sequence.
        upsert = query.on_conflict_do_update(index_elements=["id"], set_=changed)
        with self._database.writing() as connection:
            connection.execute(upsert, [columns(run) for run in runs])

    def find(self, run: str) -> Run | None:
        """The run of that id, or None."""
        with self._database.reading() as connection:
            row = connection.execute(_fields(RUNS).where(RUNS.c.id == run)).mappings().first()
        return None if row is None else one(row, Run)

    def all(self, project: str, wanted: RunsWanted = EVERY_RUN) -> Sequence[Run]:
        """Newest first; from before a run where one is named, however old that is."""
        # By the order in which they came: the clock that stamped them may have been set back meanwhile.
        query = _fields(RUNS).order_by(RUNS.c.sequence.desc()).limit(wanted.limit)
        query = query.where(RUNS.c.project == project)
        for name in ("job", "for_deployment", "state", "parent"):
            if value := getattr(wanted, name):
                query = query.where(RUNS.c[name] == value)
        if wanted.before:
            than = select(RUNS.c.sequence).where(RUNS.c.id == wanted.before).scalar_subquery()
            query = query.where(RUNS.c.sequence < than)
        return self._read(query)

    def unfinished(self) -> Sequence[Run]:
        """What is queued or running, oldest first."""
        return self._read(_fields(RUNS).where(RUNS.c.state.in_(UNFINISHED)).order_by(RUNS.c.sequence))

    def waiting_for(self, run: str) -> Sequence[Run]:
        """The runs that are to start after this one, oldest first, whatever has become of them."""
        named = cast(RUNS.c.after, Text).contains(f'"{run}"', autoescape=True)
        return self._read(_fields(RUNS).where(named).order_by(RUNS.c.sequence))

    def ended_before(self, unix_ms: int, *, limit: int) -> Sequence[Run]:
        """Runs that ended before then, those that came first at the head."""
        ended = RUNS.c.ended_unix_ms < unix_ms, RUNS.c.state.not_in(UNFINISHED)
        return self._read(_fields(RUNS).where(*ended).order_by(RUNS.c.sequence).limit(limit))

    def remove(self, run: str) -> None:
        """Forget a run. Harmless where there is none of that id."""
        with self._database.writing() as connection:
            connection.execute(delete(RUNS).where(RUNS.c.id == run))

    def _read(self, query: Select[Any]) -> Sequence[Run]:
        with self._database.reading() as connection:
            return [one(row, Run) for row in connection.execute(query).mappings()]


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
