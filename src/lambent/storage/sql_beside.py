"""Records that are kept beside deployments, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert

from lambent.storage.records import Record
from lambent.storage.sql_database import Database, columns, one
from lambent.storage.tables import RECORDS


class SqlBeside:
    """Implements `storage.records.Records`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, *records: Record) -> None:
        """Insert or replace all of them, in one transaction."""
        with self._database.writing() as connection:
            for record in records:
                values = columns(record)
                statement = insert(RECORDS).values(values)
                connection.execute(
                    statement.on_conflict_do_update(index_elements=list(RECORDS.primary_key), set_=values)
                )

    def find(self, project: str, kind: str, name: str, key: str = "") -> Record | None:
        """The record of that name and key, or None."""
        query = select(RECORDS).where(*_known(project, kind, name, key))
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else one(row, Record)

    def all(self, project: str, kind: str, name: str | None = None) -> Sequence[Record]:
        """Those of a kind, or of one name alone, by name and key."""
        query = select(RECORDS).where(RECORDS.c.project == project, RECORDS.c.kind == kind)
        if name is not None:
            query = query.where(RECORDS.c.name == name)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(RECORDS.c.name, RECORDS.c.key)).mappings()
            return [one(row, Record) for row in rows]

    def projects(self) -> Sequence[str]:
        """Whose records there are, by name."""
        query = select(RECORDS.c.project).distinct().order_by(RECORDS.c.project)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def remove(self, project: str, kind: str, name: str, key: str = "") -> bool:
        """Forget one. Whether it was there."""
        with self._database.writing() as connection:
            return bool(connection.execute(delete(RECORDS).where(*_known(project, kind, name, key))).rowcount)

    def forget(self, project: str, name: str, kinds: Sequence[str]) -> None:
        """Forget everything of these kinds that goes by a name."""
        with self._database.writing() as connection:
            connection.execute(
                delete(RECORDS).where(
                    RECORDS.c.project == project, RECORDS.c.name == name, RECORDS.c.kind.in_(kinds)
                )
            )


def _known(project: str, kind: str, name: str, key: str) -> tuple[Any, ...]:
    return (
        RECORDS.c.project == project,
        RECORDS.c.kind == kind,
        RECORDS.c.name == name,
        RECORDS.c.key == key,
    )
