"""Datasets, in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, tuple_, update

from lambent.core.errors import NotFound
from lambent.storage.datasets import DatasetVersion
from lambent.storage.sql_database import Database, columns, one
from lambent.storage.sql_records import UNFINISHED
from lambent.storage.tables import DATASETS, RUNS


class SqlDatasets:
    """Implements `storage.datasets.Datasets`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, wanted: DatasetVersion) -> tuple[DatasetVersion, bool]:
        """Store content as the next version of its name, or give the version that it is already."""
        named = (DATASETS.c.project == wanted.project, DATASETS.c.name == wanted.name)
        with self._database.writing() as connection:
            same = select(DATASETS).where(*named, DATASETS.c.digest == wanted.digest)
            if row := connection.execute(same).mappings().first():
                found = one(row, DatasetVersion)
                if found.removed:
                    back = update(DATASETS).where(*named, DATASETS.c.number == found.number)
                    connection.execute(back.values(removed=False))
                return msgspec.structs.replace(found, removed=False), found.removed
            highest = select(func.coalesce(func.max(DATASETS.c.number), 0)).where(*named)
            number: int = connection.execute(highest).scalar_one() + 1
            made = msgspec.structs.replace(wanted, number=number)
            connection.execute(insert(DATASETS).values(columns(made)))
        return made, True

    def find(self, project: str, name: str, number: int | None = None) -> DatasetVersion | None:
        """A version, or the newest of a name; None where it is not there or removed."""
        found = self._there(*_named(project, name, number), limit=1)
        return found[0] if found else None

    def versions(self, project: str, name: str = "") -> Sequence[DatasetVersion]:
        """Those of a name, or of every name; by name, newest first. None that is removed."""
        return self._there(*(_named(project, name, None) if name else (DATASETS.c.project == project,)))

    def remove(self, project: str, name: str, number: int | None = None) -> Sequence[DatasetVersion]:
        """Remove a version, or all of a name, and return them. Raises `NotFound`."""
        where = (*_named(project, name, number), DATASETS.c.removed.is_(False))
        with self._database.writing() as connection:
            rows = connection.execute(select(DATASETS).where(*where)).mappings().all()
            connection.execute(update(DATASETS).where(*where).values(removed=True))
        if not rows:
            what = name if number is None else f"{name}@{number}"
            raise NotFound(f"there is no dataset {what!r}; `lambent data ls` lists what there is")
        return [one(row, DatasetVersion) for row in rows]

    def newest(self, project: str) -> dict[str, int]:
        """The number of the newest version of each."""
        query = (
            select(DATASETS.c.name, func.max(DATASETS.c.number).label("newest"))
            .where(DATASETS.c.project == project, DATASETS.c.removed.is_(False))
            .group_by(DATASETS.c.name)
        )
        with self._database.reading() as connection:
            return {row.name: row.newest for row in connection.execute(query)}

    def held(self, project: str, numbers: Mapping[str, int]) -> Sequence[DatasetVersion]:
        """The versions of these names and numbers, also those that were removed meanwhile."""
        with self._database.reading() as connection:
            return _held(connection, project, numbers)

    def digests(self) -> frozenset[str]:
        """Of all that is there, and of what was removed while a run that has not ended is held to it."""
        there = select(DATASETS.c.digest).where(DATASETS.c.removed.is_(False)).distinct()
        runs = select(RUNS.c.project, RUNS.c.datasets).where(RUNS.c.state.in_(UNFINISHED))
        with self._database.reading() as connection:
            digests = {*connection.execute(there).scalars()}
            for project, numbers in connection.execute(runs):
                digests.update(version.digest for version in _held(connection, project, numbers))
        return frozenset(digests)

    def _there(self, *where: Any, limit: int | None = None) -> Sequence[DatasetVersion]:
        query = (
            select(DATASETS)
            .where(*where, DATASETS.c.removed.is_(False))
            .order_by(DATASETS.c.name, DATASETS.c.number.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [one(row, DatasetVersion) for row in connection.execute(query).mappings()]


def _held(connection: Connection, project: str, numbers: Mapping[str, int]) -> Sequence[DatasetVersion]:
    if not numbers:
        return []
    wanted = tuple_(DATASETS.c.name, DATASETS.c.number).in_([*numbers.items()])
    query = select(DATASETS).where(DATASETS.c.project == project, wanted)
    return [one(row, DatasetVersion) for row in connection.execute(query).mappings()]


def _named(project: str, name: str, number: int | None) -> tuple[Any, ...]:
    named = (DATASETS.c.project == project, DATASETS.c.name == name)
    return named if number is None else (*named, DATASETS.c.number == number)
